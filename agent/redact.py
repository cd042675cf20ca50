"""Takes secrets out of text before anybody sees it.

``redact`` is for a line of the log: it knows secrets by their names. ``scrub`` is for whole files that a
person gives away: it also masks what merely looks like a secret, and rather masks too much.
Thread safety: any thread; nothing is kept here.
"""

from __future__ import annotations

import re
import string

_MASK = "***"
_QUOTE = r"""(?:\\*["']|%(?:25)*2[27])?"""
_IS = r"(?:=|:|%(?:25)*3[ad]|\\{1,15}u003[ad])"
_VALUE = r"""[^&;,\s"']+"""
# a quoted phrase, which may hold any letter and blanks; to the end of the line where that has cut it off
_PHRASE = r"""(?:"(?:[^"\\\n]|\\.)+"?|'(?:[^'\\\n]|\\.)+'?|\\+"[^"\n]+"?|\\+'[^'\n]+'?)"""
_SECRETS = re.compile(
    rf"""((?<![A-Za-z])(?:Shared_?Access_?Key|Primary_?Key|Secondary_?Key|sig){_QUOTE}\s*{_IS}\s*{_QUOTE}){_VALUE}""",
    re.IGNORECASE,
)

_WRAPPED = re.compile(  # a key that the end of a line, perhaps of the journal, has cut in two
    rf"""((?:Shared_?Access_?Key|Primary_?Key|Secondary_?Key){_QUOTE}\s*{_IS}\s*{_QUOTE})[^&;,\s"']{{1,500}}"""
    r"""\r?\n((?:[^\n]*?\]: )?\s*)[\w+/%]+(?:={1,2}|%3D)(?![\w=])""",
    re.IGNORECASE,
)
_NAMED = re.compile(
    rf"((?:secret|token|api[-_]?key)\w{{0,64}}{_QUOTE}\s*{_IS}\s*)(?:{_PHRASE}|{_QUOTE}{_VALUE})"
    rf"|(key{_QUOTE}\s*{_IS}\s*{_QUOTE})[\w+/=%-]{{12,}}"
    r"|(\b(?:bearer|basic)\s+|--[\w-]{0,64}(?:secret|token|key)\s+)\S{8,}",
    re.IGNORECASE,
)
_PASSWORD = re.compile(  # which may hold any letter, and spaces between quotes
    rf"((?:pass(?:word|wd|phrase|code)|(?<![A-Za-z])(?:pass|psk|pwd))\b{_QUOTE}(?:\s*{_IS}\s*|\s+is\s+|(?<=--password)\s+))"
    rf"""(?:{_PHRASE}|""|''|\S+)""",
    re.IGNORECASE,
)
_GAP = r"(?:[ \t]|\\\n)*+"
_OF_UNITS = re.compile(  # systemd.exec(5); a line that ends with a backslash goes on in the next
    rf"""((?:SetCredential(?:Encrypted)?{_GAP}={_GAP}[^:\n]{{0,255}}:|Environment{_GAP}={_GAP}["']?\w+=))"""
    r"(?:[^\n]*\\\n)*[^\n]*"
)
_IN_URL = re.compile(r"""(://)[^/\s@]+(?:@[^/\s@"']*)*(@)""")  # a password may have an @ in it
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_LETTER = r"(?:[A-Za-z0-9+/_-]|%(?:25)*2[bBfF]|\\{1,15}/|\\{1,15}u002[bBfF])"
_PADDING = r"(?:=|%(?:25)*3[dD]|\\{1,15}u003[dD])"
_BASE64 = re.compile(rf"{_LETTER}{{20,}}{_PADDING}{{1,2}}(?![\w/])|{_LETTER}{{36,}}")


_LEAST = 4  # letters of a piece
_ROUND = " \t\r#;\"'\\"  # what comment marks, quotes and continued lines put round a piece of a key
_KEYS_LETTERS = string.ascii_letters + string.digits + "+/-_"


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
    text = _without_cut_keys(_WRAPPED.sub(rf"\1{_MASK}\n\2{_MASK}", text))
    text = _PASSWORD.sub(rf"\1{_MASK}", text)
    text = _NAMED.sub(lambda found: f"{found[1] or found[2] or found[3]}{_MASK}", text)
    text = _IN_URL.sub(rf"\1{_MASK}\2", redact(text))
    return _BASE64.sub(lambda found: _MASK if _like_a_key(found[0]) else found[0], text)


def _without_cut_keys(text: str) -> str:
    """Keys that ends of lines have cut into pieces, of which each is too short to look like one."""
    lines = text.split("\n")
    pieces: list[tuple[int, int, int]] = []
    for number, line in enumerate([*lines, ""]):
        start, end = _last_run(line)
        if pieces and (not _is_all(line, start, end) or lines[number - 1][: pieces[-1][2]].endswith("=")):
            run = "".join(lines[n][a:b] for n, a, b in pieces)
            if len(pieces) > 1 and len(run) >= (20 if run.endswith("=") else 36) and _like_a_key(run):
                for n, a, b in pieces:
                    lines[n] = f"{lines[n][:a]}{_MASK}{lines[n][b:]}"
            pieces = []
        if end - start >= _LEAST:
            pieces.append((number, start, end))
    return "\n".join(lines)


def _last_run(line: str) -> tuple[int, int]:
    """Begin and end of the letters of base64 at the end of ``line``."""
    end = len(line.rstrip(_ROUND))
    return len(line[:end].rstrip("=").rstrip(_KEYS_LETTERS)), end


def _is_all(line: str, start: int, end: int) -> bool:
    """Whether they are all that there is on it, but for what the journal or a comment puts before."""
    return end - start >= _LEAST and not line[:start].rpartition("]: ")[2].strip(_ROUND)


def _like_a_key(run: str) -> bool:
    """Names and hexadecimal numbers are all of one case, or without figures and padding."""
    plain = re.sub(r"%(?:25)*[0-9A-Fa-f]{2}|\\+u[0-9a-fA-F]{4}", "=", run)
    return all(re.search(kind, plain) for kind in ("[A-Z]", "[a-z]", "[0-9=]"))
