"""Takes secrets out of text before anybody sees it."""

from __future__ import annotations

import re

_SECRETS = re.compile(
    r"""((?<![A-Za-z])(?:SharedAccessKey|PrimaryKey|SecondaryKey|sig)["']?\s*(?:=|:|%3D)\s*["']?)[^&;,\s"']+""",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with keys and signatures masked, as connection strings, URLs, JSON and ``repr`` spell them."""
    return _SECRETS.sub(r"\1***", text)
