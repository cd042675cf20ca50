"""The daemon's Unix socket and its client: one JSON object a line, each way.

The socket lies in $RUNTIME_DIRECTORY, else in a fresh folder of our own; its path stands in the file
``control`` beside the state lock, where clients look it up.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_POINTER = "control"
_MAX_LINE = 65536
_CLIENT_TIMEOUT_S = 10.0
_MAX_CLIENTS = 16
_GROUP = "masthead"

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlError(Exception):
    """The daemon could not be asked, or did not do it. The text says why."""


class NoDaemon(ControlError):
    """No daemon holds this state directory."""


class ControlServer:
    """Answers requests on threads of its own. Thread safety: ``start`` and ``stop`` on one thread."""

    def __init__(self, state_directory: Path, handlers: Mapping[str, Handler]) -> None:
        """``handlers``: operation -> function of the request; what they raise as ValueError, LookupError or
        ControlError becomes the client's error message."""
        self._pointer = state_directory / _POINTER
        self._handlers = dict(handlers)
        self._folder: Path | None = None
        self._socket: socket.socket | None = None
        self._slots = threading.BoundedSemaphore(_MAX_CLIENTS)
        self._stopping = False

    def start(self) -> None:
        """Listen. A machine without Unix sockets has no control socket, and is told so."""
        if not hasattr(socket, "AF_UNIX"):
            log.warning("no Unix sockets here: `masthead status` and the like will not reach this agent")
            return
        path = self._place() / "control.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o660)
        with contextlib.suppress(ImportError, LookupError, OSError):
            shutil.chown(path, group=_GROUP)  # the group may ask without being root
        listener.listen(_MAX_CLIENTS)
        self._socket = listener
        try:
            new = self._pointer.with_suffix(".new")
            new.write_text(f"{path}\n")
            new.replace(self._pointer)
        except OSError as error:
            log.warning("%s cannot be written (%s): `masthead status` will not find this agent", self._pointer, error)
        threading.Thread(target=self._accept, args=(listener,), name="control", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                self._pointer.unlink(missing_ok=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self) -> Path:
        if given := os.environ.get("RUNTIME_DIRECTORY"):
            return Path(given.split(":")[0])
        base = os.environ.get("XDG_RUNTIME_DIR")
        if base is not None and not os.access(base, os.W_OK):
            base = None
        self._folder = Path(tempfile.mkdtemp(prefix="masthead-", dir=base))
        return self._folder

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control-client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_CLIENT_TIMEOUT_S)
            with connection, connection.makefile("rwb") as stream:
                while line := stream.readline(_MAX_LINE):
                    stream.write(json.dumps(self._answer(line)).encode() + b"\n")
                    stream.flush()
        except OSError:
            pass  # the client went away
        finally:
            self._slots.release()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["op"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"unknown request (known: {', '.join(self._handlers)})"}
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
        hint = f"no agent is running on {state_directory}: start one with `masthead run`"
        if not hasattr(socket, "AF_UNIX"):
            raise NoDaemon("no Unix sockets on this machine: the agent cannot be asked")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CLIENT_TIMEOUT_S)
        try:
            path = (state_directory / _POINTER).read_text().strip()
            self._socket.connect(path)
        except PermissionError as error:
            self._socket.close()
            raise ControlError(
                f"not allowed to ask the agent on {state_directory}: use sudo, or join the group {_GROUP}"
            ) from error
        except OSError as error:
            self._socket.close()
            raise NoDaemon(hint) from error
        self._stream = self._socket.makefile("rwb")

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The daemon's answer. Raises ControlError with its reason."""
        try:
            self._stream.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
            answer = json.loads(line)
        except (OSError, ValueError) as error:
            raise ControlError("the agent did not answer: it may be stopping") from error
        if "error" in answer:
            raise ControlError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
            self._socket.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
