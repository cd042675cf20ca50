"""Takes secrets out of text before anybody sees it.

``redact`` is for a line of the log: it knows secrets by their names. ``scrub`` is for whole files that a
person gives away: it also masks what merely looks like a secret, and rather masks too much.
Thread safety: any thread; nothing is kept here.
"""

from __future__ import annotations

import re

_MASK = "***"
_QUOTE = r"""(?:\\*["']|%(?:25)*2[27])?"""
_IS = r"(?:=|:|%(?:25)*3[ad]|\\+u003[ad])"
_VALUE = r"""[^&;,\s"']+"""
_SECRETS = re.compile(
    rf"""((?<![A-Za-z])(?:Shared_?Access_?Key|Primary_?Key|Secondary_?Key|sig){_QUOTE}\s*{_IS}\s*{_QUOTE}){_VALUE}""",
    re.IGNORECASE,
)

_WRAPPED = re.compile(  # a key that the end of a line, perhaps of the journal, has cut in two
    rf"""((?:Shared_?Access_?Key|Primary_?Key|Secondary_?Key){_QUOTE}\s*{_IS}\s*{_QUOTE}){_VALUE}"""
    r"""\r?\n((?:[^\n]*?\]: )?\s*)[\w+/%]+(?:={1,2}|%3D)(?![\w=])""",
    re.IGNORECASE,
)
_NAMED = re.compile(
    rf"((?:password|passwd|passphrase|secret|token|api_?key)\w*{_QUOTE}\s*{_IS}\s*{_QUOTE}){_VALUE}",
    re.IGNORECASE,
)
_OF_UNITS = re.compile(  # systemd.exec(5); a line that ends with a backslash goes on in the next
    r"""((?:SetCredential(?:Encrypted)?=[^:\n]*:|Environment=["']?\w+=))(?:[^\n]*\\\n)*[^\n]*"""
)
_IN_URL = re.compile(r"(://)[^/\s:@]+:[^/\s@]+(@)")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_LETTER = r"(?:[A-Za-z0-9+/_-]|%(?:25)*2[bBfF]|\\+/|\\+u002[bBfF])"
_PADDING = r"(?:=|%(?:25)*3[dD]|\\+u003[dD])"
_BASE64 = re.compile(rf"{_LETTER}{{20,}}{_PADDING}{{1,2}}(?![\w/])|{_LETTER}{{36,}}")


def redact(text: str) -> str:
    """``text`` with keys and signatures masked, as connection strings, URLs, JSON and ``repr`` spell them."""
    return _SECRETS.sub(rf"\1{_MASK}", text)


def scrub(text: str) -> str:
    """``text`` without whatever may be a secret.

    Besides what ``redact`` masks that is private keys, passwords, what a unit sets, and long runs of base64
    with capitals, small letters and figures in them.
    """
    text = _PRIVATE_KEY.sub(f"{_MASK} (a private key)", text)
    text = _OF_UNITS.sub(rf"\1{_MASK}", text)
    text = _WRAPPED.sub(rf"\1{_MASK}\n\2{_MASK}", text)
    text = _IN_URL.sub(rf"\1{_MASK}\2", redact(_NAMED.sub(rf"\1{_MASK}", text)))
    return _BASE64.sub(lambda found: _MASK if _like_a_key(found[0]) else found[0], text)


def _like_a_key(run: str) -> bool:
    """Names and hexadecimal numbers are all of one case, or without figures and padding."""
    plain = re.sub(r"%(?:25)*[0-9A-Fa-f]{2}|\\+u[0-9a-fA-F]{4}", "=", run)
    return all(re.search(kind, plain) for kind in ("[A-Z]", "[a-z]", "[0-9=]"))
