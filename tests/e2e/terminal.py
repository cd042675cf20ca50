"""A terminal as a person has it: a shell on a pseudo-terminal, what is typed and what is shown."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path
from types import TracebackType

from .harness import clean_environment, wait_for

_MARK = "\x1e"
_PROMPT = re.compile(f"{_MARK}(\\d+){_MARK}")
CTRL_C = "\x03"
_ROWS, _COLUMNS = 50, 250


class Terminal:
    """Use it by ``with``: at its end whatever still runs in it is ended too."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """A shell in ``folder``. ``environment``: in addition to this process's own."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        # setsid -c makes it the shell's controlling terminal, without which Ctrl-C is but a character
        self._shell = subprocess.Popen(
            ["setsid", "-c", "bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=clean_environment(
                {"TERM": "dumb", "PS1": f"{_MARK}$?{_MARK}", "HISTFILE": "/dev/null", **environment}
            ),
        )
        os.close(theirs)
        self._ours = ours
        self._shown = b""
        self._after_prompt = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.finish()

    @property
    def lines(self) -> list[str]:
        """All lines that were shown so far, without the prompts."""
        return _PROMPT.sub("", self._text()).splitlines()

    def enter(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def finish(self) -> int:
        """Wait for the shell's next prompt: the exit status of what ran before it."""
        prompt = wait_for(lambda: _PROMPT.search(self._text(), self._after_prompt), "a prompt")
        self._after_prompt = prompt.end()
        return int(prompt[1])

    def _text(self) -> str:
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a pseudo-terminal says that nobody is left
            while read := os.read(self._ours, 65536):
                self._shown += read
        os.close(self._ours)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = os.tcgetpgrp(self._ours)
        if running != self._shell.pid:
            os.killpg(running, signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                wait_for(lambda: os.tcgetpgrp(self._ours) == self._shell.pid, "its end")
        if os.tcgetpgrp(self._ours) == running != self._shell.pid:
            os.killpg(running, signal.SIGKILL)
        self._shell.kill()
        self._shell.wait()
