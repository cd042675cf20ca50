"""A walk-through in README.md: what is to be typed where, and what is to be seen then."""

from __future__ import annotations

import re
from dataclasses import dataclass

# what is another each time; of that, what stays the same all through
VOLATILE = re.compile(
    r"(?P<omitted>…)"
    r"|(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?)"
    r"|(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<object>\b[0-9a-f]{8}-\d+)"
    r"|(?P<run>\b[0-9a-f]{8}\b)"
    r"|(?P<measured>(?<![\d.])\d+\.\d+(?![\d.]))"
    r"|(?P<total>\d+(?= in all))"
    r"|(?P<port>\b8443\b)"
    r"|(?P<address>localhost|127\.0\.0\.1(:8080)?)"
)
LOOKS = {
    "omitted": r".*",
    "time": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?",
    "uuid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "object": r"[0-9a-f]{8}-\d+",
    "run": r"[0-9a-f]{8}",
    "measured": r"-?\d+\.\d+",
    "total": r"\d+",
    "port": r"\d+",
    "address": r"(?:localhost|127\.0\.0\.\d+)(?::\d+)?",
}
LASTING = ("uuid", "run", "port")


@dataclass
class Step:
    """A command typed and what it shows; without a command: what the terminal shows further."""

    terminals: list[int]
    command: str | None
    shown: list[str]
    stays: bool = False

    def __str__(self) -> str:
        return f"terminal {self.terminals}: {self.command or 'shows further'}"


def section(text: str, title: str) -> str:
    """The part of README.md below a heading."""
    [found] = re.findall(rf"^## {re.escape(title)}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    return str(found)


def steps(text: str) -> list[Step]:
    """Of each fenced block, with the terminals that the paragraph before it names in bold."""
    found: list[Step] = []
    blocks = re.findall(r"([^\n].*?)\n\n```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```") / 2
    for before, language, block in blocks:
        assert language == "console", block
        named = re.findall(r"\*\*terminals? ([\d, and]+)\*\*", before.split("\n\n")[-1], re.IGNORECASE)
        assert named, f"which terminal? {block}"
        terminals = [int(number) for number in re.findall(r"\d+", named[-1])]
        if not block.startswith(("$ ", "^C")):
            found.append(Step(terminals, None, [], stays=True))
        for line in block.splitlines():
            if line == "^C" or line.startswith("$ "):
                found.append(Step(terminals, line.removeprefix("$ "), []))
            else:
                found[-1].shown.append(line)
    for step in (step for step in found if step.command == "^C"):
        for terminal in step.terminals:
            before_it = [s for s in found[: found.index(step)] if terminal in s.terminals and s.command]
            before_it[-1].stays = True
    return found


class Reader:
    """Compares what is shown with what README.md says, and remembers which id stands for which."""

    def __init__(self) -> None:
        self._lasting: dict[str, str] = {}

    def matches(self, line: str, shown: str) -> bool:
        names: list[str] = []
        pattern, end = "", 0
        for volatile in VOLATILE.finditer(line):
            kind, text = str(volatile.lastgroup), volatile[0]
            pattern += re.escape(line[end : volatile.start()])
            if text in self._lasting:
                pattern += re.escape(self._lasting[text])
            elif kind in LASTING:
                names.append(text)
                pattern += f"(?P<lasting{len(names)}>{LOOKS[kind]})"
            else:
                pattern += LOOKS[kind]
            end = volatile.end()
        match = re.fullmatch(pattern + re.escape(line[end:]), shown)
        if match is not None:
            self._lasting |= {text: match[f"lasting{n}"] for n, text in enumerate(names, 1)}
        return match is not None

    def meant(self, command: str) -> str:
        """A command with the ids and ports that README.md's stand for."""
        for text, found in self._lasting.items():
            command = command.replace(text, found)
        return command

    def is_all(self, expected: list[str], shown: list[str]) -> bool:
        """Whether nothing else is shown; a line ``…`` stands for any number of them."""
        if not expected:
            return not shown
        if expected[0].strip() == "…":
            return any(self.is_all(expected[1:], shown[n:]) for n in range(len(shown) + 1))
        return bool(shown) and self.matches(expected[0], shown[0]) and self.is_all(expected[1:], shown[1:])

    def find(self, expected: list[str], shown: list[str]) -> int | None:
        """How many lines it takes until all of ``expected`` came, in order, others between them."""
        at = 0
        for line in (line for line in expected if line.strip() != "…"):
            at = next((n for n in range(at, len(shown)) if self.matches(line, shown[n])), len(shown)) + 1
        return at if at <= len(shown) else None
