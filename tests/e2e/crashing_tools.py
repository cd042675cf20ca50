"""An operator's command that dies by SIGKILL between reading feedback and settling it.

python crashing_tools.py feedback …
"""

from __future__ import annotations

import os
import signal
from typing import Any

from agent.cli import main
from agent.operator.amqp import FeedbackReader


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    FeedbackReader.settle = die  # type: ignore[method-assign]
    main()
