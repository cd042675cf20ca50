"""The control socket: one JSON line each way, with a real socket."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent import control
from agent.control import ControlClient, ControlError, ControlServer, NoDaemon

KILLED = """
import os, signal, sys
from pathlib import Path
from agent.control import ControlServer
ControlServer(Path(sys.argv[1])).start({})
os.kill(os.getpid(), signal.SIGKILL)
"""


def status(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"up": True}


def actuate(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request["value"] is None:
        raise ValueError("bad-value: expected true or false")
    return {"value": request["value"]}


def broken(request: Mapping[str, Any]) -> Mapping[str, Any]:
    raise RuntimeError("a fault of the agent's own")


HANDLERS = {"status": status, "actuate": actuate, "broken": broken}


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        yield Path(folder)


@pytest.fixture
def state(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return tmp_path


@pytest.fixture
def server(state: Path) -> Iterator[ControlServer]:
    server = ControlServer(state)
    server.start(HANDLERS)
    yield server
    server.stop()


def socket_of(state: Path) -> Path:
    return Path((state / "control").read_text().strip())


def raw(state: Path, sent: bytes) -> list[dict[str, Any]]:
    """What the server answers to these bytes, until it or we have nothing more to say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(socket_of(state)))
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            return [json.loads(line) for line in stream]


def test_a_request_is_answered(server: ControlServer, state: Path) -> None:
    """Several on one connection, arguments included."""
    with ControlClient(state) as client:
        assert client.ask("status") == {"up": True}
        assert client.ask("actuate", value=0.5) == {"value": 0.5}
    client.close()


def test_errors_are_told_in_words(
    server: ControlServer, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal with its reason, an unknown operation with the known ones, a fault with where to look."""
    with ControlClient(state) as client:
        for op, reason in (
            ("actuate", "bad-value: expected true or false"),
            ("stop", r"unknown request \(known: status, actuate, broken\)"),
            ("broken", "the agent failed on this request; its log says how"),
        ):
            with pytest.raises(ControlError, match=reason):
                client.ask(op, value=None)
    assert "a fault of the agent's own" in caplog.text


def test_between_two_runs_one_is_told_to_try_again(server: ControlServer, state: Path) -> None:
    """Also on a connection from before, which is answered by the next run; nothing is done later."""
    done: list[object] = []
    with ControlClient(state) as client:
        assert client.ask("status") == {"up": True}
        server.pause()
        for late in (client, ControlClient(state)):
            with pytest.raises(ControlError, match="takes its configuration anew: try again in some seconds"):
                late.ask("status")
        server.start({"status": lambda request: done.append(request) or {"up": "again"}})
        assert done == []
        assert client.ask("status") == {"up": "again"}
        late.close()


@pytest.mark.parametrize("line", [b"garbage", b"\xff\xfe", b"[]", b"{}", b'{"op": []}', b"[" * 60_000, b""])
def test_garbage_is_answered_and_harms_nobody(server: ControlServer, state: Path, line: bytes) -> None:
    """The connection goes on."""
    answers = raw(state, line + b'\n{"op": "status"}\n')
    assert [list(answer) for answer in answers] == [["error"], ["result"]]


def test_a_line_without_end_is_cut_off(server: ControlServer, state: Path) -> None:
    """One error, and the connection is closed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(socket_of(state)))
        client.sendall(b"x" * 65536)
        with client.makefile("rb") as stream:
            assert [list(json.loads(line)) for line in stream] == [["error"]]


def test_a_client_that_hangs_is_let_go(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the connection is closed; the others are answered meanwhile."""
    monkeypatch.setattr(control, "_CLIENT_TIMEOUT_S", 0.2)
    server = ControlServer(state)
    server.start(HANDLERS)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.settimeout(30)
            silent.connect(str(socket_of(state)))
            silent.sendall(b'{"op": "sta')
            with ControlClient(state) as client:
                assert client.ask("status")
            assert silent.recv(100) == b""
    finally:
        server.stop()


def test_many_clients_are_answered_and_too_many_are_told(server: ControlServer, state: Path) -> None:
    """Sixteen at once; whoever comes then hears why, and is served when one has left."""
    clients = [ControlClient(state) for _ in range(16)]
    try:
        assert all(client.ask("status") for client in clients)
        message = "too many others are asking already"
        with pytest.raises(ControlError, match=message), ControlClient(state) as late:
            late.ask("status")
    finally:
        for client in clients:
            client.close()
    threads = [t for t in threading.enumerate() if t.name == "control-client"]
    for thread in threads:
        thread.join(30)
    with ControlClient(state) as client:
        assert client.ask("status")


def test_no_daemon_is_said_with_what_to_do(state: Path) -> None:
    """No pointer, a garbled one, one to nowhere."""
    for content in (None, "", "\0", "/nowhere/control.sock\n", "/x" * 300):
        if content is not None:
            (state / "control").write_text(content)
        with pytest.raises(NoDaemon, match=r"no agent is running on .*: start one with `masthead run`"):
            ControlClient(state)


@pytest.mark.parametrize("locked", ["lock", "."])
def test_an_agent_that_cannot_be_asked_is_not_said_to_be_none(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    """It started on a full disk, say: its lock tells of it, on a file or, for want of one, on the folder."""
    (state / "lock").touch()
    at = (state / locked).stat()
    place = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    locks = tmp_path / "locks"
    monkeypatch.setattr("agent.state._LOCKS", locks)
    for kind in ("POSIX ", "FLOCK "):
        locks.write_text(
            f"1: {kind} ADVISORY  WRITE 4711 {place} 0 EOF\n2: FLOCK  ADVISORY  WRITE 9 00:01:2 0 EOF\n"
        )
        with pytest.raises(NoDaemon) as told:
            ControlClient(state)
        assert ("no agent is running" in str(told.value)) is (kind == "POSIX ")
    assert str(told.value) == (
        f"{state} is in use by a masthead (process 4711) that cannot be asked: "
        "it starts or stops, or else its log says where its control socket is"
    )


def test_asking_in_vain_turns_no_agent_away(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that starts meanwhile gets its lock: the client tries none."""
    (state / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a lock was tried"))
    with pytest.raises(NoDaemon):
        ControlClient(state)


def test_what_a_killed_daemon_left_is_cleared_away(state: Path, runtime: Path) -> None:
    """A stale pointer means no daemon; the next start removes the folder and is found."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(state)], check=False)
    assert killed.returncode == -9
    left = socket_of(state)
    assert left.is_socket()
    with pytest.raises(NoDaemon):
        ControlClient(state)
    server = ControlServer(state)
    server.start(HANDLERS)
    try:
        assert not left.parent.exists()
        with ControlClient(state) as client:
            assert client.ask("status")
    finally:
        server.stop()
    assert list(runtime.iterdir()) == []


def test_a_pointer_to_something_else_removes_nothing(state: Path, server: ControlServer) -> None:
    """Only sockets are cleared away."""
    server.stop()
    precious = state / "masthead-notes"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (state / "control").write_text(str(precious / "file"))
    server.start(HANDLERS)
    server.stop()
    assert (precious / "file").read_text() == "mine"


def test_the_socket_is_for_owner_and_group(server: ControlServer, state: Path, runtime: Path) -> None:
    """0660 in a folder 0700 below XDG_RUNTIME_DIR."""
    path = socket_of(state)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.parent.parent == runtime


def test_systemds_folder_is_used_and_kept(
    state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUNTIME_DIRECTORY goes first; a socket from before is replaced, the folder stays."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:/other")
    for _ in range(2):
        server = ControlServer(state)
        server.start(HANDLERS)
        assert socket_of(state) == runtime / "control.sock"
        with ControlClient(state) as client:
            assert client.ask("status")
        server.stop()
        server.stop()
    assert list(runtime.iterdir()) == []


def test_an_agent_started_on_a_full_disk_is_found(
    state: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there is may be written, but nothing new."""
    server.stop()
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777, **more: int | None) -> int:
        if flags & os.O_CREAT and not Path(path).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", full)
    server.start(HANDLERS)
    with ControlClient(state) as client:
        assert client.ask("status")


@pytest.mark.parametrize("given", [None, "/nowhere/at/all"])
def test_without_a_runtime_folder_the_temporary_one_serves(
    state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """As where nobody is logged in."""
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    if given is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    server = ControlServer(state)
    server.start(HANDLERS)
    try:
        assert socket_of(state).parent.parent == runtime
    finally:
        server.stop()


def lengthen(runtime: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    deep = runtime / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    return "AF_UNIX path too long"


def crowd(runtime: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    (runtime / "control.sock").mkdir()
    return "Is a directory"


@pytest.mark.parametrize("spoil", [lengthen, crowd])
def test_a_socket_that_cannot_be_had_is_no_end(
    state: Path,
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path, Path, pytest.MonkeyPatch], str],
) -> None:
    """The log says where and why, nothing is left behind, and the agent goes on."""
    reason = spoil(runtime, state, monkeypatch)
    server = ControlServer(state)
    server.start(HANDLERS)
    assert "no control socket at" in caplog.text
    assert reason in caplog.text
    server.stop()
    assert not list(runtime.rglob("masthead-*"))


@pytest.fixture
def read_only(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's runtime folder, while nothing can be written to its card; where its socket will be."""

    def write(path: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    monkeypatch.setattr(control, "_write", write)
    monkeypatch.setattr(control, "_SERVICE_SOCKET", str(runtime / "control.sock"))
    return runtime / "control.sock"


def test_a_card_that_has_become_read_only_takes_nobodys_controls_away(
    state: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The socket is there and the log says where; `masthead` looks where the service has it."""
    monkeypatch.setattr(control, "_SERVICE_STATE", state)
    server = ControlServer(state)
    server.start(HANDLERS)
    try:
        assert (
            f"{state / 'control'} cannot be written (Read-only file system): ask at {read_only}"
            in caplog.text
        )
        with ControlClient(state) as client:
            assert client.ask("status") == {"up": True}
    finally:
        server.stop()
    assert not read_only.exists()
    with pytest.raises(NoDaemon):
        ControlClient(state)


def test_only_the_services_own_state_is_looked_for_there(state: Path, read_only: Path) -> None:
    """Whoever runs an agent on another folder is not answered by the service."""
    assert Path("/var/lib/masthead") == control._SERVICE_STATE
    server = ControlServer(state)
    server.start(HANDLERS)
    try:
        assert read_only.is_socket()
        with pytest.raises(NoDaemon, match="no agent is running"):
            ControlClient(state)
    finally:
        server.stop()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may do anything, so root becomes somebody else for a while."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield
    os.seteuid(was)


def test_who_may_not_ask_is_told_how_to(server: ControlServer, state: Path, nobody: None) -> None:
    """Permission is not absence."""
    if os.geteuid() != 65534:
        socket_of(state).chmod(0)
    with pytest.raises(ControlError, match="use sudo, or join the group masthead"):
        ControlClient(state)


def test_a_pointer_that_may_not_be_read_is_told_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user meets it."""

    def forbidden(self: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(ControlError, match="use sudo, or join the group masthead") as refused:
        ControlClient(state)
    assert not isinstance(refused.value, NoDaemon)


def test_a_daemon_that_ends_in_between_is_an_error(state: Path) -> None:
    """One line, no traceback."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        listener.bind(str(state / "s"))
        listener.listen()
        (state / "control").write_text(str(state / "s"))
        client = ControlClient(state)
        listener.accept()[0].close()
    with client, pytest.raises(ControlError, match="did not answer: it may be stopping"):
        client.ask("status")


def test_a_machine_without_unix_sockets(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent runs without, and the client says why it cannot ask."""
    monkeypatch.delattr(socket, "AF_UNIX")
    server = ControlServer(state)
    server.start(HANDLERS)
    server.stop()
    with pytest.raises(NoDaemon, match="no Unix sockets"):
        ControlClient(state)
