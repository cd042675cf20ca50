"""The daemon's Unix socket and its client: one JSON object a line, each way.

The socket lies in $RUNTIME_DIRECTORY, else in a fresh folder of our own; its path stands in the file
``control`` beside the state lock, where clients look it up. The file stays and is written in place, which a
full disk allows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import state

log = logging.getLogger(__name__)

_POINTER = "control"
_FOLDER_PREFIX = "masthead-"
_MAX_LINE = 65536
_CLIENT_TIMEOUT_S = 10.0
_MAX_CLIENTS = 16
_GROUP = "masthead"
_SERVICE_STATE = Path("/var/lib/masthead")
_SERVICE_SOCKET = (
    "/run/masthead/control.sock"  # where its unit has it, also if that could not be written down
)

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlError(Exception):
    """The daemon could not be asked, or did not do it. The text says why."""


class NoDaemon(ControlError):
    """No daemon holds this state directory."""


class ControlServer:
    """Answers requests on threads of its own. Thread safety: every method on one and the same thread."""

    def __init__(self, state_directory: Path) -> None:
        """The caller holds the state lock."""
        self._pointer = state_directory / _POINTER
        self._handlers: Mapping[str, Handler] | None = None
        self._path: Path | None = None
        self._socket: socket.socket | None = None
        self._slots = threading.BoundedSemaphore(_MAX_CLIENTS)

    def start(self, handlers: Mapping[str, Handler]) -> None:
        """Listen, and answer by ``handlers``: operation -> function of the request; what they raise as
        ValueError, LookupError or ControlError becomes the client's error message.

        Where one cannot listen the log says so, and the agent works without.
        """
        self._handlers = dict(handlers)
        if self._socket is not None:
            return
        if not hasattr(socket, "AF_UNIX"):
            log.warning("no Unix sockets here: `masthead status` and the like will not reach this agent")
            return
        self._clear_away()
        try:
            self._socket = self._listen()
        except OSError as error:
            where = self._path or "a temporary folder"
            log.warning(
                "no control socket at %s: %s: `masthead status` will not reach this agent", where, error
            )
            self.stop()
            return
        threading.Thread(target=self._accept, args=(self._socket,), name="control", daemon=True).start()

    def pause(self) -> None:
        """Until the next ``start`` whoever asks is told to try again; none of it is done later."""
        self._handlers = None

    def stop(self) -> None:
        """Stop listening and remove the socket. May be called twice."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        if self._path is not None:
            _remove(self._path)
            self._path = None

    def _listen(self) -> socket.socket:
        self._path = path = _place() / "control.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o660)
            with contextlib.suppress(ImportError, LookupError, OSError):
                shutil.chown(path, group=_GROUP)  # the group may ask without being root
            listener.listen(_MAX_CLIENTS)
            try:
                _write(self._pointer, f"{path}\n")
            except OSError as error:  # a card that has become read-only takes nobody's controls away
                log.warning("%s cannot be written (%s): ask at %s", self._pointer, error.strerror, path)
        except BaseException:
            listener.close()
            raise
        return listener

    def _clear_away(self) -> None:
        """What an agent left that was killed: nobody else can be behind it while we hold the lock."""
        with contextlib.suppress(OSError, ValueError):
            _remove(Path(self._pointer.read_text().partition("\n")[0]))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._socket is None:
                    return
                time.sleep(0.1)  # out of descriptors, perhaps: they may come back
                continue
            if self._slots.acquire(blocking=False):
                try:
                    threading.Thread(
                        target=self._serve, args=(connection,), name="control-client", daemon=True
                    ).start()
                    continue
                except RuntimeError:  # no more threads: whoever asks later may have one
                    self._slots.release()
            with contextlib.suppress(OSError), connection:
                connection.sendall(_line({"error": "too many others are asking already: try again"}))

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_CLIENT_TIMEOUT_S)
            with connection, connection.makefile("rwb") as stream:
                while line := stream.readline(_MAX_LINE):
                    stream.write(_line(self._answer(line)))
                    stream.flush()
                    if not line.endswith(b"\n"):
                        return  # too long, or cut off
        except OSError:
            pass  # the client went away, or has nothing to say
        finally:
            self._slots.release()

    def _answer(self, line: bytes) -> dict[str, Any]:
        handlers = self._handlers
        if handlers is None:
            return {"error": "the agent stops, or takes its configuration anew: try again in some seconds"}
        try:
            request = json.loads(line)
            handler = handlers[request["op"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": f"unknown request (known: {', '.join(handlers)})"}
        try:
            return {"result": handler(request)}
        except (ValueError, LookupError, ControlError) as error:
            return {"error": str(error)}
        except Exception:
            log.exception("control request %s failed", request["op"])
            return {"error": "the agent failed on this request; its log says how"}


class ControlClient:
    """A connection to the daemon that owns ``state_directory``. One thread."""

    def __init__(self, state_directory: Path) -> None:
        """Raises NoDaemon if none answers, ControlError if it may not be asked."""
        if not hasattr(socket, "AF_UNIX"):
            raise NoDaemon("no Unix sockets on this machine: the agent cannot be asked")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CLIENT_TIMEOUT_S)
        try:
            self._socket.connect(_socket_of(state_directory))
        except PermissionError as error:
            self._socket.close()
            raise ControlError(
                f"not allowed to ask the agent on {state_directory}: use sudo, or join the group {_GROUP}"
            ) from error
        except (OSError, ValueError) as error:
            self._socket.close()
            raise NoDaemon(_why_none(state_directory)) from error
        self._stream = self._socket.makefile("rwb")

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The daemon's answer. Raises ControlError with its reason."""
        try:
            self._send(_line({"op": op, **arguments}))
            answer = json.loads(self._stream.readline())
        except (OSError, ValueError) as error:
            raise ControlError("the agent did not answer: it may be stopping") from error
        if "error" in answer:
            raise ControlError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # turned away: the reason is there to be read
            self._stream.write(line)
            self._stream.flush()

    def close(self) -> None:
        """May be called twice."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _socket_of(state_directory: Path) -> str:
    """Raises OSError."""
    try:
        return (state_directory / _POINTER).read_text().partition("\n")[0]
    except FileNotFoundError:
        if state_directory != _SERVICE_STATE:
            raise
        return _SERVICE_SOCKET


def _why_none(state_directory: Path) -> str:
    """Why nobody answers, and what to do."""
    holder = state.holder(state_directory)
    if holder is None:
        return f"no agent is running on {state_directory}: start one with `masthead run`"
    return (
        f"{state_directory} is in use by a masthead (process {holder}) that cannot be asked: "
        "it starts or stops, or else its log says where its control socket is"
    )


def _write(path: Path, text: str) -> None:
    """In place, for owner and group. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
    try:
        os.fchmod(descriptor, 0o640)  # whatever the umask: the group may ask
        os.ftruncate(descriptor, os.write(descriptor, text.encode()))
    finally:
        os.close(descriptor)


def _place() -> Path:
    """The folder for the socket. Raises OSError."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base is not None and not os.access(base, os.W_OK):
        base = None
    return Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=base))


def _remove(path: Path) -> None:
    """The socket, and its folder if that is one of our own."""
    with contextlib.suppress(OSError):
        if path.is_socket():
            path.unlink()
        if path.parent.name.startswith(_FOLDER_PREFIX):
            path.parent.rmdir()


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
