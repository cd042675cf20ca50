from __future__ import annotations

import os
import signal

from hypothesis import settings

# no timing is asserted; in CI the same examples every time, elsewhere new ones
settings.register_profile("here", deadline=None)
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

# started in the background of a shell this has Ctrl-C ignored, and every process it starts inherits that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
