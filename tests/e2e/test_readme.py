"""README.md's walk-through, line by line as it stands there: typed, and compared with what is shown."""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from .harness import MASTHEAD, wait_for
from .terminal import CTRL_C, Terminal
from .walk_through import LOOKS, Reader, Step, section, steps

ROOT = Path(__file__).parents[2]
SECTION = "The tutorials, on a laptop"


class Person:
    """Who reads README.md and does what it says."""

    def __init__(self, terminals: dict[int, Terminal]) -> None:
        self._terminals = terminals
        self._seen = dict.fromkeys(terminals, 0)
        self._reader = Reader()

    def do(self, step: Step) -> None:
        for number in step.terminals:
            terminal = self._terminals[number]
            if step.command == "^C":
                terminal.enter(CTRL_C)
                assert terminal.finish() in (0, 130), f"{step}\n{terminal.lines[-20:]}"
                self._seen[number] = len(terminal.lines)
                continue
            if step.command is not None:
                self._seen[number] = len(terminal.lines)
                terminal.enter(self._pasted(self._reader.meant(step.command)) + "\n")
            if step.stays:
                self._watch(step, number)
            else:
                status = terminal.finish()
                assert status == 0, f"{step}\nended with {status}: {terminal.lines[self._seen[number] :]}"
                self._compare(step, terminal.lines[self._seen[number] :])

    def _pasted(self, command: str) -> str:
        """``…`` in a command is what a terminal has shown in that place."""

        def found(word: re.Match[str]) -> str:
            before, after = map(re.escape, word[0].split("…"))
            lines = [line for terminal in self._terminals.values() for line in terminal.lines]
            pattern = re.compile(before.replace("localhost", LOOKS["address"]) + r"[^\s']+" + after)
            shown = {hit[0] for line in lines for hit in pattern.finditer(line)}
            assert len(shown) == 1, f"nothing, or more than one thing, to paste for {word[0]}: {shown}"
            return shown.pop()

        return re.sub(r"[^\s']*…[^\s']*", found, command)

    def _compare(self, step: Step, shown: list[str]) -> None:
        # its stages come in the order in which they are reached
        ways = permutations(step.shown) if "--wait" in (step.command or "") else [tuple(step.shown)]
        assert any(self._reader.is_all(list(way), shown) for way in ways), "\n".join(
            [str(step), "README.md:", *step.shown, "shown:", *shown]
        )

    def _watch(self, step: Step, number: int) -> None:
        terminal, seen = self._terminals[number], self._seen[number]
        try:
            taken = wait_for(lambda: self._reader.find(step.shown, terminal.lines[seen:]), str(step))
        except AssertionError as error:
            shown = "\n".join(["README.md:", *step.shown, "shown:", *terminal.lines[seen:]])
            raise AssertionError(f"{error}\n{shown}") from None
        self._seen[number] = seen + taken


@contextlib.contextmanager
def an_address_of_its_own() -> Iterator[None]:
    """The hub is led away from 127.0.0.1, where other tests are, to one whose port 443 it may not have.

    An ordinary user of Linux may not. What others hold is taken as soon as they let go of it.
    """
    wanted = {("127.0.0.1", 8883), *((f"127.0.0.{n}", 443) for n in range(2, 20))}
    held: dict[tuple[str, int], socket.socket] = {}
    stop = threading.Event()

    def hold() -> None:
        for address in wanted - held.keys():
            with contextlib.suppress(OSError):
                held[address] = socket.create_server(address)

    def hold_on() -> None:
        while not stop.wait(0.02):
            hold()

    hold()
    thread = threading.Thread(target=hold_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for taken in held.values():
            taken.close()


def test_the_walk_through_does_what_it_says() -> None:
    """Each command of README.md, typed as it stands there, shows what stands there."""
    walk = steps(section((ROOT / "README.md").read_text(), SECTION))
    assert {"hub", "device", "run", "monitor", "send", "feedback", "method", "twin"} <= {
        step.command.split()[1] for step in walk if step.command and step.command.startswith("masthead ")
    }
    with tempfile.TemporaryDirectory(prefix="home-") as home, contextlib.ExitStack() as terminals:
        surroundings = {
            "HOME": home,
            "PATH": f"{Path(MASTHEAD).parent}:/usr/local/bin:/usr/bin:/bin",
            "XDG_DATA_HOME": "",
            "STATE_DIRECTORY": f"{home}/state",  # root's own would be /var/lib/masthead
        }
        person = Person(
            {
                number: terminals.enter_context(Terminal(ROOT, surroundings))
                for number in sorted({n for step in walk for n in step.terminals})
            }
        )
        with an_address_of_its_own():
            person.do(walk[0])
        for step in walk[1:]:
            person.do(step)


@pytest.mark.parametrize(
    ("line", "shown", "same"),
    [
        ("status 200", "status 404", False),
        ("primaryKey                …", "primaryKey                abc=", True),
        ("primaryKey                …", "secondaryKey              abc=", False),
        ("hub link up", "hub link down", False),
        ('"windSpeed":6.22,…', '"windSpeed":7.1,"windGust":8.0}', True),
        ('"version": "0.1.0"', '"version": "0.1.1"', False),
        ("  2026-11-20T17:34:15.332Z  mast-1", "  2027-01-01T00:00:00Z  mast-1", True),
        ("confirmed 46be5257-3, 3 in all", "confirmed 11111111-12, 12 in all", True),
    ],
)
def test_only_what_is_another_each_time_may_differ(line: str, shown: str, same: bool) -> None:
    """Times, ids, what is measured and what is left out; no word."""
    assert Reader().matches(line, shown) is same


def test_an_id_stays_the_same_id() -> None:
    """What stood for one has to stand for it further on."""
    reader = Reader()
    assert reader.matches("run 46be5257", "run 11111111")
    assert not reader.matches("run 46be5257 ends", "run 22222222 ends")
