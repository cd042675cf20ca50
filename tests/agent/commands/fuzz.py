"""Bodies that nobody should send: mutations of good commands, and everything else. Seeded.

As a program, ``python -m tests.agent.commands.fuzz SEED COUNT``, it sends so many of them, half of them
methods, all the way from the hub's thread to the outbox, and ends with 0 if each has one outcome and memory
stays flat.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from agent.cloud import CloudMessage, MethodCall
from agent.reading import Entry, Row, build_body
from agent.timekeeping import BootClock

from .rig import Rig

BATCH = 100
NUMBERS = {200: "done", 400: "refused", 404: "refused", 408: "expired", 500: "failed", 503: "interrupted"}
KEYS = {"commandId", "command", "actuator", "status", "reason", "value"}
COMMANDS = ("set", "pulse", "stop", "stop-all", "hold", "release", "ping")
_ACTUATORS = ("beacon", "vent", "becon", "", "b" * 200, "\x00", "ü")
_WORDS = ("command", "actuator", "value", "for", "id", "expires", "vaule", "", "é", "\ud800", "deviceId")
_TIMES = (
    "2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2026-09-21T14:14:00.0000000Z",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "20261120", "2026-W01-1", "soon", "",
    "2026-11-20T17:34:00+99:99", "1e9",
)  # fmt: skip
_NUMBERS = (
    "0", "-0", "1", "40", "1e308", "1e309", "-1e999", "5e-324", "1E400", "0.1", "-1", "9" * 400, "1" * 5000,
    "1e-400", "NaN", "Infinity", "-Infinity", "0x10", "01", "+1", "1.", ".5", "1e",
)  # fmt: skip


class Fuzzer:
    """``bodies`` never ends; equal seeds give equal bodies. Ids are few, so that they are met again."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._kinds: tuple[tuple[Callable[[], bytes], int], ...] = (
            (self.command, 40), (self._mutated, 25), (self._wrong, 18), (self._random_json, 6),
            (self._random_bytes, 4), (self._deep, 2), (self._long, 2), (self._spliced, 3),
        )  # fmt: skip

    def bodies(self) -> Iterator[bytes]:
        kinds, weights = zip(*self._kinds, strict=True)
        while True:
            yield from (kind() for kind in self.rng.choices(kinds, weights, k=1000))

    def name(self) -> str:
        """What a direct method might be called."""
        rng = self.rng
        if rng.random() < 0.9:
            return rng.choice((*COMMANDS, *["command"] * 15))
        return rng.choice(("", "Set", "reboot", "stop_all", "x" * 5000, "é", "\n", "{", "null", "command "))

    def message_id(self) -> str | None:
        """What the SDK makes of a message's id: any text that UTF-8 carries."""
        rng = self.rng
        return rng.choice(
            (None, "", f"m-{rng.randrange(10**9)}", f"m-{rng.randrange(50)}", "m" * 200, "a\nb", "ü")
        )

    def expires(self) -> str | None:
        """The same of its expiry."""
        return self.rng.choice((None, *_TIMES, _TIMES[0], _TIMES[0], _TIMES[0]))

    def command(self) -> bytes:
        """A command in order, as far as its form goes; most of them can be executed."""
        return json.dumps(self._command(), ensure_ascii=self.rng.random() < 0.9).encode()

    def _command(self) -> dict[str, Any]:
        rng = self.rng
        name = rng.choice(COMMANDS)
        body: dict[str, Any] = {"command": name}
        if name in ("set", "pulse", "stop"):
            body["actuator"] = rng.choice(("beacon", "vent"))
        if name == "set" or (name == "pulse" and rng.random() < 0.5):
            body["value"] = (
                rng.random() < 0.5 if body["actuator"] == "beacon" else round(rng.uniform(-10, 120), 2)
            )
        if name in ("set", "pulse", "hold") and rng.random() < 0.5:
            body["for"] = rng.choice((0.1, 1, 30, 3600, 1e300))
        if rng.random() < 0.7:
            body["id"] = f"c-{rng.randrange(10**9)}" if rng.random() < 0.7 else f"c-{rng.randrange(50)}"
        if rng.random() < 0.3:
            body["expires"] = rng.choice(_TIMES[:3])
        return body

    def _mutated(self) -> bytes:
        rng = self.rng
        body = bytearray(self.command())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(body) + 1)
            match rng.randrange(6):
                case 0:
                    body[at : at + 1] = rng.randbytes(1)
                case 1:
                    del body[at : at + rng.randrange(1, 9)]
                case 2:
                    body[at:at] = rng.randbytes(rng.randrange(1, 5))
                case 3:
                    body[at:at] = body[at : at + rng.randrange(1, 40)]
                case 4:
                    body[at:at] = rng.choice(
                        (b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b'"', b"{", b"]")
                    )
                case _:
                    del body[at:]
        return bytes(body)

    def _wrong(self) -> bytes:
        """One of its values is of another kind, or spelt as no number is."""
        rng = self.rng
        body = self._command()
        key = rng.choice((*body, *_WORDS))
        body[key] = "@"
        text = json.dumps(body)
        if rng.random() < 0.3:
            return text.replace('"@"', rng.choice(_NUMBERS)).encode()
        wrong = rng.choice(
            (None, True, [], {}, [[]], {"a": 1}, "on", "", "\ud800", -1, rng.choice(_ACTUATORS), "set")
        )
        return text.replace('"@"', json.dumps(wrong)).encode()

    def _random_json(self) -> bytes:
        return json.dumps(self._value(3)).encode()

    def _value(self, depth: int) -> Any:
        rng = self.rng
        match rng.randrange(8 if depth else 5):
            case 0:
                return rng.choice((None, True, False))
            case 1:
                return rng.choice((rng.randrange(-(10**20), 10**20), rng.uniform(-1e9, 1e9), 1e308))
            case 2:
                return rng.choice((*_WORDS, *_ACTUATORS, *_TIMES, *COMMANDS))
            case 3:
                return "".join(chr(rng.randrange(0x11_0000)) for _ in range(rng.randrange(9)))
            case 4:
                return rng.randrange(100)
            case 5:
                return [self._value(depth - 1) for _ in range(rng.randrange(4))]
            case _:
                return {rng.choice(_WORDS): self._value(depth - 1) for _ in range(rng.randrange(6))}

    def _random_bytes(self) -> bytes:
        return self.rng.randbytes(self.rng.randrange(300))

    def _deep(self) -> bytes:
        rng = self.rng
        depth = rng.choice((10, 500, 990, 1100, 30_000))
        opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"command":', b"}")))
        nested = opening * depth + b"1" + closing * rng.choice((depth, 0))
        return rng.choice((nested, b'{"command": "set", "value": ' + nested + b"}"))

    def _long(self) -> bytes:
        rng = self.rng
        text = rng.choice(("x", "é", "\\ud800", "\\u2028", " ", "9", "0")) * rng.choice((129, 5000, 70_000))
        key = rng.choice(_WORDS[:7])
        return (
            rng.choice(('{"command": "set", "%s": "%s"}', '{"%s": 1, "command": "%s"}', '{"%s": %s}'))
            .__mod__((key, text))
            .encode()
        )

    def _spliced(self) -> bytes:
        """Two commands in one, so that keys are there twice."""
        return self.command()[:-1] + b", " + self.command()[1:]


class Way(Rig):
    """The rig with outcomes stored as the outbox writer does it, many a commit, and confirmed at once."""

    def __init__(self, folder: Path) -> None:
        self.outcome_count = 0
        self._waiting: list[tuple[Entry, Any]] = []
        super().__init__(folder)
        self.guard.link(True, self.clock.monotonic())

    def start(self, run: str = "run00001") -> None:
        """In memory there is nothing to wait for: what a commit costs is another test's."""
        super().start(run)
        assert self.journal is not None
        for db in (self.journal._db, self.outbox._rows.db):
            db.execute("PRAGMA synchronous = OFF")

    def restart(self) -> None:
        """A crash, and the next process on the same files."""
        self.store()
        self.crash()
        self.start()
        self.guard.link(True, self.clock.monotonic())

    def _put(self, entry: Entry, when_durable: Any = None) -> None:
        self.outcome_count += 1
        check(entry)
        self._waiting.append((entry, when_durable))
        if len(self._waiting) >= BATCH:
            self.store()

    def store(self) -> None:
        rows = self.outbox.append([entry for entry, _ in self._waiting])
        assert len(rows) == len(self._waiting), "each outcome is a row of its own"
        for _, when_durable in self._waiting:
            when_durable()
        self.outbox.confirm(rows, self.clock.wall())
        self._waiting.clear()
        self.events.clear()
        self.beacon.driven.clear()
        self.vent.driven.clear()


def check(entry: Entry) -> None:
    """An outcome can be stored, logged and sent."""
    outcome = entry.body
    assert outcome.keys() - {"repeat"} == KEYS
    assert outcome["status"] in NUMBERS.values()
    reason = outcome["reason"]
    assert (reason is None) is (outcome["status"] == "done")
    assert reason is None or (len(reason) < 500 and reason.isprintable()), reason
    build_body(Row(1, "run00001", "boot-1", entry), "mast-1", BootClock(0.0, True)).decode()


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fuzz(rig: Way, fuzzer: Fuzzer, count: int) -> dict[str, int]:
    """``count`` arrivals, half of them methods; how often each status was answered. Now and then a crash cuts
    off what has arrived."""
    rng, seen = fuzzer.rng, dict.fromkeys(NUMBERS.values(), 0)
    answers: list[tuple[int, Mapping[str, Any]]] = []
    open_calls = cut_off = 0

    def answer(number: int, body: bytes) -> None:
        answers.append((number, json.loads(body, parse_constant=_no_json)))

    for body in islice(fuzzer.bodies(), count):
        before = rig.outcome_count
        open_calls += arrive(rig, fuzzer, body, answer)
        if rng.random() < 0.01:
            cut_off += 1
            continue
        if cut_off and rng.random() < 0.3:
            rig.restart()
            open_calls = 0
            assert rig.outcome_count == before + cut_off + 1, "recovery answers each"
            cut_off = 0
            continue
        now = rig.clock.monotonic()
        while rig.executor.step(now) <= now:
            pass
        if rng.random() < 0.1:
            rig.guard.step(now)
        assert rig.outcome_count == before + cut_off + 1, body
        assert len(answers) == open_calls
        open_calls = cut_off = 0
        while answers:
            number, outcome = answers.pop()
            assert NUMBERS[number] == outcome["status"]
            seen[outcome["status"]] += 1
    rig.restart()
    return seen


def arrive(rig: Way, fuzzer: Fuzzer, body: bytes, answer: Callable[[int, bytes], None]) -> bool:
    """A message or a method, which came a while ago, at any time; whether it was a method."""
    rng = fuzzer.rng
    rig.clock.advance(rng.choice((0.0, 0.1, 2.0, 20.0)))
    rig.beacon.broken = rng.random() < 0.1
    received = rig.clock.monotonic() - rng.choice((0.0, 0.0, 5.0, 40.0))
    if rng.random() < 0.5:
        rig.executor.call(MethodCall(fuzzer.name(), body, received, answer))
        return True
    message = CloudMessage(body, received, fuzzer.message_id(), expires=fuzzer.expires())
    rig.executor.receive(message)
    return False


def assert_flat(rig: Way, seed: int, count: int) -> None:
    """The second half takes less than a leak of a hundred bytes an arrival: the first may fill caches."""
    fuzzer = Fuzzer(seed)
    rig.synchronised = False
    first = fuzz(rig, fuzzer, count // 2)
    middle = resident_bytes()
    rig.synchronised = True
    second = fuzz(rig, fuzzer, count // 2)
    grown = resident_bytes() - middle
    print(f"{first}, {second}; {grown / 1e6:.1f} MB more")
    assert grown < max(100 * count // 2, 2_000_000)
    for status in ("done", "refused", "failed"):
        assert first[status] > count / 1000, "the fuzzer reaches every kind of outcome"
        assert second[status] > count / 1000
    assert second["expired"] > count / 1000


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def strict_log() -> None:
    """Every line of the log must be one line that UTF-8 carries; none is shown."""

    def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
        line = record.getMessage()
        line.encode()
        assert "\n" not in line, line

    logging.Logger.callHandlers = handle  # type: ignore[method-assign]
    logging._srcfile = None  # nobody asks who said it, or where, and looking for it takes long
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("agent").setLevel(logging.INFO)


def main() -> None:
    seed, count = map(int, sys.argv[1:])
    memory = Path("/dev/shm")  # every commit is waited for: a disk would take an hour
    strict_log()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        rig = Way(Path(folder))
        assert_flat(rig, seed, count)
        assert rig.outcome_count == count
        rig.crash()


if __name__ == "__main__":
    main()
