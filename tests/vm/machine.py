"""The virtual machine, from the host's side: qemu as a process of this one, and commands over ssh.

Emulated in software unless the processor can do it and /dev/kvm may be used. Thread safety: one thread.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PLACE = Path(__file__).parents[2] / ".vm"
BOOT_S = 180.0

_KERNEL = (
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off net.ifnames=0 random.trust_cpu=on tsc=reliable"
)


class BootFailed(Exception):
    """The machine does not answer; the text is the end of what it wrote on its console."""


class CommandFailed(Exception):
    """A command in the machine ended with another status than 0."""


class Machine:
    """A machine with a disk of its own, which starts as a copy of the image and is kept over power cuts."""

    def __init__(self, image: Path = PLACE / "root.img") -> None:
        self.place = Path(tempfile.mkdtemp(prefix="masthead-vm-"))
        self._disk = self.place / "disk"
        self._console = self.place / "console"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(self._disk)], check=True)
        self._qemu: subprocess.Popen[bytes] | None = None
        self._login: list[str] = []
        self._ssh: list[str] = []

    def boot(self) -> None:
        """Return when ssh answers. Raises BootFailed."""
        port = _free_port()
        self._qemu = subprocess.Popen(self._command(port), stdin=subprocess.DEVNULL)
        control = self.place / f"ssh-{port}"
        self._login = ["ssh", "-q", "-i", str(PLACE / "key-of-root"), "-p", str(port), "-o", "BatchMode=yes"]
        self._login += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        self._login += ["-o", "ConnectTimeout=5"]
        shared = ["-o", f"ControlPath={control}", "-o", "ControlMaster=auto", "-o", "ControlPersist=yes"]
        self._ssh = [*self._login, *shared, "root@127.0.0.1"]
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end and self._qemu.poll() is None:
            if subprocess.run([*self._ssh, "true"], check=False, timeout=60).returncode == 0:
                return
            time.sleep(0.3)
        self.cut_power()
        console = self._console.read_text(errors="replace") if self._console.exists() else ""
        raise BootFailed("the machine does not boot; its console ends with:\n" + console[-6000:])

    def _command(self, port: int) -> list[str]:
        accelerator = ["kvm", "-cpu", "host"] if _kvm() else ["tcg,thread=multi,tb-size=256", "-cpu", "max"]
        return [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-M", "q35,usb=off,vmport=off", "-accel", *accelerator, "-m", "512", "-smp", "1"),
            *("-nodefaults", "-no-reboot", "-display", "none", "-serial", f"file:{self._console}"),
            *("-kernel", str(PLACE / "vmlinuz"), "-initrd", str(PLACE / "initrd.gz"), "-append", _KERNEL),
            *("-drive", f"if=none,id=disk,file={self._disk},format=raw,cache=writeback,discard=unmap"),
            *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,id=card"),
            *("-qmp", f"unix:{self.place / 'qmp'},server=on,wait=off"),
        ]

    def run(self, command: str, *, timeout: float = 60.0, stdin: bytes = b"") -> str:
        """What ``command`` prints, run by root's shell. Raises CommandFailed with all that it printed."""
        done = self.attempt(command, timeout=timeout, stdin=stdin)
        if done.returncode != 0:
            raise CommandFailed(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def attempt(
        self, command: str, *, timeout: float = 60.0, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` by root's shell, whatever its end."""
        done = subprocess.run(
            [*self._ssh, command], input=stdin, capture_output=True, check=False, timeout=timeout
        )
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def start(self, command: str) -> subprocess.Popen[str]:
        """``command`` by root's shell, while others run."""
        return subprocess.Popen([*self._ssh, command], stdout=subprocess.PIPE, text=True)

    def write(self, path: str, content: str | bytes) -> None:
        """A file in the machine; its folder is made."""
        data = content.encode() if isinstance(content, str) else content
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}) && cat >{quoted}", stdin=data)

    def forward(self, port: int, host: str, host_port: int) -> subprocess.Popen[bytes]:
        """``localhost:port`` in the machine is ``host:host_port`` here, as long as the process lives."""
        options = ["-N", "-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{port}:{host}:{host_port}"]
        return subprocess.Popen([*self._login, *options, "root@127.0.0.1"], stdin=subprocess.DEVNULL)

    def set_link(self, *, up: bool) -> None:
        """Pull the network cable, or plug it in again; ssh stands still meanwhile."""
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(10)
            qmp.connect(str(self.place / "qmp"))
            answers = qmp.makefile()
            answers.readline()  # its greeting
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "set_link", "arguments": {"name": "card", "up": up}},
            ):
                qmp.sendall(json.dumps(command).encode())
                while "return" not in (answer := json.loads(answers.readline())):
                    assert "error" not in answer, answer  # else an event

    def reboot(self) -> None:
        """As a person would. Raises BootFailed."""
        assert self._qemu is not None
        self.attempt("systemctl reboot", timeout=60)
        self._qemu.wait(120)  # -no-reboot
        self.boot()

    def cut_power(self) -> None:
        """What was not on the disk is gone; ``boot`` starts it again."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None

    def close(self) -> None:
        """Shut down as a person would, and throw the disk away."""
        if self._qemu is not None:
            try:
                self.attempt("systemctl poweroff", timeout=20)
                self._qemu.wait(40)
            except subprocess.TimeoutExpired:
                pass
            self.cut_power()
        shutil.rmtree(self.place, ignore_errors=True)


def _kvm() -> bool:
    cpu = Path("/proc/cpuinfo").read_text()
    return re.search(r"^flags.*\b(vmx|svm)\b", cpu, re.MULTILINE) is not None and os.access(
        "/dev/kvm", os.W_OK
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
