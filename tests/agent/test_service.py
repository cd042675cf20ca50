"""Talking to the service manager, and a log that a person can read."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import service

SECRET = "HostName=h;SharedAccessKey=c2VjcmV0;DeviceId=d"


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end of sd_notify(3)."""
    monkeypatch.setitem(sys.modules, "systemd", None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(30)
        yield receiver


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_notify_is_one_datagram(
    bus: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """To a path, or to an abstract address."""
    path = str(tmp_path / "notify")
    abstract = f"masthead-test-{os.getpid()}"
    bus.bind(path if kind == "path" else f"\0{abstract}")
    monkeypatch.setenv("NOTIFY_SOCKET", path if kind == "path" else f"@{abstract}")
    assert service.notify("READY=1")
    assert service.notify("WATCHDOG=1\nSTATUS=7.0 m/s")
    assert [bus.recv(100), bus.recv(100)] == [b"READY=1", b"WATCHDOG=1\nSTATUS=7.0 m/s"]


def test_without_a_service_manager_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where none is named, nor where none listens, nor where no such sockets are."""
    monkeypatch.setitem(sys.modules, "systemd", None)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not service.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not service.notify("READY=1")
    monkeypatch.delattr(socket, "AF_UNIX")
    assert not service.notify("READY=1")


def test_systemd_python_does_the_talking_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same text."""
    told: list[str] = []
    daemon = types.ModuleType("systemd.daemon")
    daemon.notify = lambda state: told.append(state) or True  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "systemd", types.ModuleType("systemd"))
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    monkeypatch.setenv("NOTIFY_SOCKET", "/anywhere")
    assert service.notify("READY=1")
    assert told == ["READY=1"]


def test_a_service_manager_that_does_not_take_it_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be starting anew itself: sd_notify(3) fails then, and systemd-python raises that."""

    def fail(state: str) -> bool:
        raise ConnectionRefusedError(111, "Connection refused")

    daemon = types.ModuleType("systemd.daemon")
    daemon.notify = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", types.ModuleType("systemd"))
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    monkeypatch.setenv("NOTIFY_SOCKET", "/anywhere")
    assert not service.notify("WATCHDOG=1")


@pytest.mark.parametrize("line", ["\N{SNOWMAN}" * 9000, "x" * 9000, "\udcff" * 9000])
def test_a_status_leaves_room_for_what_else_is_told(line: str) -> None:
    """systemd takes no notice of more than 4096 bytes: neither of a READY=1 nor of a WATCHDOG=1 in them."""
    assert len(service.status_assignment(line).encode()) < 4000


def test_a_status_is_one_line() -> None:
    """What it quotes assigns nothing."""
    said = service.status_assignment("not taken (a\nSTOPPING=1\r\n b \udcff)")
    assert said == "STATUS=not taken (a STOPPING=1 b ?)"


def test_without_standard_error_nothing_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed one is none at all for Python; the agent runs."""
    root = logging.getLogger()
    before = root.handlers, root.level
    monkeypatch.setattr(sys, "stderr", None)
    try:
        service.setup_logging()
        logging.getLogger("agent").error("heard by nobody")
        service.flush_logging()
    finally:
        root.handlers, root.level = before[0], before[1]
    assert not service.under_journald()


def test_a_reload_is_told_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager tells one that began before it asked from the one that it asked for."""
    told: list[str] = []
    monkeypatch.setattr(service, "notify", lambda state: bool(told.append(state)) or True)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert service.notify_reloading()
    first, second = told[0].split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) >= before


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("90000000", None, 45.0),
        ("90000000", "ours", 45.0),
        ("90000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    """If it is meant for this process."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "ours" else value)
    assert service.watchdog_interval_s() == expected


def formatted(message: str, *, under_journald: bool = False, error: Exception | None = None) -> str:
    record = logging.LogRecord("agent", logging.WARNING, "f", 1, message, None, None)
    if error is not None:
        try:
            raise error
        except type(error):
            record.exc_info = sys.exc_info()
    return service.LineFormatter(under_journald).format(record)


def test_a_record_is_one_line() -> None:
    """With its time and level, however many lines its message has."""
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING hub link down"
    assert re.fullmatch(pattern, formatted("hub link down"))
    assert formatted("one\n  two\r\n\nthree\u2028four").endswith("WARNING one | two | three | four")


def test_journald_reads_the_priority_from_each_line() -> None:
    """It has the time itself; a traceback follows with the same priority."""
    assert formatted("hub link down", under_journald=True) == "<4>hub link down"
    lines = formatted("it failed", under_journald=True, error=ValueError("a\nb")).splitlines()
    assert lines[:2] == ["<4>it failed", "<4>Traceback (most recent call last):"]
    assert all(line.startswith("<4>") for line in lines)


@pytest.mark.parametrize("under_journald", [True, False])
def test_secrets_are_in_no_line(under_journald: bool) -> None:
    """Neither in a message nor in an exception."""
    text = formatted(f"a\n{SECRET}\nb", under_journald=under_journald, error=ValueError(SECRET))
    assert "c2VjcmV0" not in text
    assert text.count("SharedAccessKey=***") == 2


def test_journald_gets_entries_with_fields(monkeypatch: pytest.MonkeyPatch, logs: Callable[[], str]) -> None:
    """What happened, how bad it is and who says it; one line, no secret; an entry that it does not take is
    shown to nobody."""
    entries: list[tuple[str, dict[str, object]]] = []
    journal = types.ModuleType("systemd.journal")
    journal.send = lambda text, **fields: entries.append((text, fields))  # type: ignore[attr-defined]
    systemd = types.ModuleType("systemd")
    systemd.journal = journal  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", systemd)
    monkeypatch.setitem(sys.modules, "systemd.journal", journal)
    monkeypatch.setattr(service, "under_journald", lambda: True)
    service.setup_logging()
    log = logging.getLogger("agent.uplink")
    log.warning("hub link\ndown: %s", SECRET, extra=service.event("link-down"))
    log.info("nothing special")
    service.flush_logging()
    assert entries == [
        (
            "hub link | down: HostName=h;SharedAccessKey=***;DeviceId=d",
            {
                "SYSLOG_IDENTIFIER": "masthead",
                "PRIORITY": 4,
                "LOGGER": "agent.uplink",
                "MASTHEAD_EVENT": "link-down",
            },
        ),
        ("nothing special", {"SYSLOG_IDENTIFIER": "masthead", "PRIORITY": 6, "LOGGER": "agent.uplink"}),
    ]
    monkeypatch.setattr(logging, "raiseExceptions", False)
    journal.send = lambda *_, **__: 1 / 0  # type: ignore[attr-defined]
    service.setup_logging()
    log.info("lost")
    service.flush_logging()
    assert logs() == ""


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Standard error since it was asked for last; the logging of the tests is put back."""
    root, names = logging.getLogger(), ("agent", "azure", "paho")
    before = root.handlers, root.level, {name: logging.getLogger(name).level for name in names}
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    def read() -> str:
        service.flush_logging()
        return capsys.readouterr().err

    yield read
    root.handlers, root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


def test_the_sdks_log_is_shown_masked_and_only_if_asked_for(logs: Callable[[], str]) -> None:
    """Otherwise not even its errors: the agent says what they mean."""
    service.setup_logging()
    logging.getLogger("azure.iot").error("connect %s", SECRET)
    logging.getLogger("paho").critical("lost")
    assert logs() == ""
    service.setup_logging(sdk=True)
    logging.getLogger("azure.iot").debug("connect %s", SECRET)
    assert "connect HostName=h;SharedAccessKey=***;DeviceId=d" in logs()


def test_a_log_that_nobody_reads_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, logs: Callable[[], str]
) -> None:
    """With standard error blocked, logging goes on at once; what does not fit is not logged."""
    released = threading.Event()
    written: list[str] = []

    class Blocked(io.StringIO):
        def write(self, text: str) -> int:
            released.wait(30)
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Blocked())
    service.setup_logging()
    for _ in range(20_000):
        logging.getLogger("agent.x").error("no use")
    assert written == []
    released.set()
    service.flush_logging()
    assert 0 < len([text for text in written if "no use" in text]) < 20_000


def test_verbose_shows_the_agents_details(logs: Callable[[], str]) -> None:
    """And nobody else's."""
    for verbose in (False, True):
        service.setup_logging(verbose=verbose)
        logging.getLogger("agent.x").debug("detail %s", verbose)
        logging.getLogger("other").debug("other's detail")
    assert [line.split("DEBUG", 1)[1].strip() for line in logs().splitlines()] == ["detail True"]


def test_journald_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program started from a service's terminal inherits the variable, and is not under journald."""
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert service.under_journald()
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        assert not service.under_journald()
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not service.under_journald()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not service.under_journald()
