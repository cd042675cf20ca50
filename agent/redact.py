"""Takes secrets out of text before anybody sees it."""

from __future__ import annotations

import re

_SECRETS = re.compile(r"((?:SharedAccessKey|PrimaryKey|SecondaryKey|sig)\s*[=:]\s*[\"']?)[^&;,\s\"']+", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` with keys and signatures masked."""
    return _SECRETS.sub(r"\1***", text)
