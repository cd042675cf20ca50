"""masthead in the virtual machine: installed as README.md says, run by its unit, asked by its commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .machine import Machine

ROOT = Path(__file__).parents[2]
CONFIG = "/etc/masthead/masthead.toml"
MASTHEAD = "/opt/masthead/bin/masthead"
PYTHON = "/opt/masthead/bin/python"
TOP, REED, BEACON, HEATER = 17, 27, 22, 23  # GPIO numbers
CONFIG_TEXT = f"""
[[sensor]]
id = "top"
driver = "gpio-pulse"
pin = {TOP}
model = "thies-first-class"

[[sensor]]
id = "reed"
driver = "gpio-pulse"
pin = {REED}
model = "davis-6410"

[[sensor]]
id = "volts"
driver = "ads1115"
bus = 0
address = 0x48
input = 0
model = "adafruit-1733"
[sensor.vane]
driver = "as5600"
bus = 0

[actuators.beacon]
driver = "relay"
pin = {BEACON}

[actuators.heater]
driver = "relay"
pin = {HEATER}
active = "low"
"""
_LINES = "/sys/devices/platform/gpio-sim.0/gpiochip0"
_TRACING = "/sys/kernel/tracing"
_HELD_SAFE = """
held() {{ [ "$(grep -c '|masthead-safe ' /sys/kernel/debug/gpio)" -ge {count} ]; }}
watch() {{
  end=$(($(date +%s) + {within_s}))
  while [ "$(date +%s)" -lt $end ]; do
    if held; then
      levels=$(cat {values})
      held && echo $levels && return
    fi
    sleep 0.02
  done
  return 1
}}
watch &
{{ {cause}; }} >/dev/null 2>&1
wait $!
"""


class Mast:
    """A mast with a running agent, its pins and its bus. Thread safety: one thread."""

    def __init__(self, machine: Machine, config: str) -> None:
        self.machine = machine
        self._config = config
        self.sensors = [sensor["id"] for sensor in tomllib.loads(config)["sensor"]]
        self._live: _Live | None = None

    def install(self, wheel: Path) -> None:
        """masthead from ``wheel`` into /opt/masthead, and its unit."""
        self.machine.write(f"/root/{wheel.name}", wheel.read_bytes())
        self.machine.run(
            f"{PYTHON} -m pip install -q --no-index --root-user-action=ignore '/root/{wheel.name}[pi]'",
            timeout=300,
        )
        unit = ROOT / "deploy" / "masthead.service"
        self.machine.write("/etc/systemd/system/masthead.service", unit.read_text())
        self.configure(self._config)
        self.machine.run("systemctl daemon-reload")

    def start(self) -> None:
        """Return when systemd says that it is ready."""
        self.machine.run("systemctl start masthead || { journalctl -u masthead -n 30 --no-pager; false; }")

    def come_up(self, within_s: int = 120) -> None:
        """Return when it is ready, started by the boot or by itself. Raises CommandFailed with why not."""
        self.machine.run(
            f"timeout {within_s} sh -c 'until systemctl is-active -q masthead; do sleep 0.5; done' || "
            "{ systemctl status -n 0 masthead; systemctl list-jobs; "
            "journalctl -b -u masthead -n 40 --no-pager; false; }",
            timeout=within_s + 60,
        )

    def stop(self) -> None:
        """Return when it has ended."""
        self.machine.run("systemctl stop masthead")

    def unit(self, name: str) -> str:
        """A property of the unit."""
        return self.machine.run(f"systemctl show masthead -p {name} --value").strip()

    @property
    def pid(self) -> int:
        """The agent's process."""
        return int(self.unit("MainPID"))

    def sample(self) -> dict[str, dict[str, Any]]:
        """Each sensor's last sample, by `masthead sample`."""
        lines = self.machine.run(f"{MASTHEAD} sample --json --count 1 --config {CONFIG}").splitlines()
        return {sample["sensor"]: sample for sample in map(json.loads, lines)}

    def sampled(
        self,
        sensor: str,
        wanted: Callable[[dict[str, Any]], bool] = lambda sample: True,
        within_s: float = 20.0,
    ) -> dict[str, Any]:
        """The first sample of ``sensor`` from now on that is as ``wanted``, or the last that was not.

        From a `masthead sample` that goes on beside the tests.
        """
        if self._live is None or self._live.ended:
            self.close()
            self._live = _Live(self.machine)
        end = time.monotonic() + within_s
        number = self._live.number + 2 * len(
            self.sensors
        )  # before that it may be of the time before the call
        while True:
            number, samples = self._live.after(number, end)
            if wanted(samples[sensor]) or time.monotonic() > end:
                return samples[sensor]

    def close(self) -> None:
        """Listen no more. May be called twice."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def outbox(self) -> dict[str, Any]:
        """`masthead outbox`."""
        said: dict[str, Any] = json.loads(self.machine.run(f"{MASTHEAD} outbox --json --config {CONFIG}"))
        return said

    def actuate(self, name: str, value: str, for_s: float) -> str:
        """What `masthead actuate` prints."""
        return self.machine.run(f"{MASTHEAD} actuate {name} {value} --for {for_s:g} --config {CONFIG}")

    # --- the copper

    def pulser(self, line: int, hertz: float, count: int, *more: object) -> str:
        """The command that gives pulses to a line."""
        return " ".join(
            ["pulser", f"{_LINES}/sim_gpio{line}/pull", f"{hertz:g}", str(count), *map(str, more)]
        )

    def pulse(self, line: int, hertz: float, count: int, *more: object) -> None:
        """``count`` pulses to a line."""
        self.machine.run(self.pulser(line, hertz, count, *more), timeout=10 * count / hertz + 60)

    def level(self, line: int) -> int:
        """The level of a line."""
        return int(self.machine.run(f"cat {_LINES}/sim_gpio{line}/value"))

    def pull(self, line: int, where: str) -> None:
        """Pull a line "up" or "down": an input's level, and that of an output that nobody holds."""
        self.machine.run(f"echo pull-{where} >{_LINES}/sim_gpio{line}/pull")

    def trace(self) -> None:
        """From here on the kernel notes what is done to each line."""
        self.machine.run(f"cd {_TRACING} && echo >trace && echo 1 >events/gpio/enable && echo 1 >tracing_on")

    def traced(self, line: int) -> list[tuple[str, int]]:
        """("set", level), ("out", error) or ("in", error) as they were done to ``line`` since ``trace``."""
        text = self.machine.run(f"cat /sys/class/gpio/gpiochip*/base {_TRACING}/trace")
        gpio = int(text.split("\n", 1)[0]) + line
        found = re.findall(rf"gpio_(?:value|direction): {gpio}\s+(set|out|in)\s+\(?(-?\d+)\)?", text)
        return [(what, int(value)) for what, value in found]

    def held_safe(self, cause: str, *lines: int, within_s: int = 60) -> list[int]:
        """The levels of ``lines``, read while the exit program holds all of them, after command ``cause``.

        The kernel says who holds a line. Raises CommandFailed if they are not held within that time.
        """
        values = " ".join(f"{_LINES}/sim_gpio{line}/value" for line in lines)
        script = _HELD_SAFE.format(count=len(lines), values=values, cause=cause, within_s=within_s)
        return [int(word) for word in self.machine.run(script, timeout=within_s + 60).split()]

    def configure(self, text: str) -> None:
        """Another configuration, from the next start on."""
        self.machine.run(f"install -D -m 0644 /dev/stdin {CONFIG}", stdin=text.encode())

    def chips(self, *addresses: int) -> None:
        """The chips that answer on the bus, two of them; what they hold stays."""
        told = ",".join(f"0x{address:02x}" for address in addresses)
        self.machine.run(f"echo {told} >/sys/module/i2c_stub/parameters/chip_addr")

    def registers(self, address: int, values: dict[int, int], *, words: bool = False) -> None:
        """Set registers of a chip: bytes, or ``words`` of 16 bits with the most significant byte first."""
        write = "b.write_word_data(a, r, (v & 255) << 8 | v >> 8)" if words else "b.write_byte_data(a, r, v)"
        self.machine.run(
            f"{PYTHON} -",
            stdin=f"from smbus2 import SMBus\na = {address}\nwith SMBus(0) as b:\n"
            f"    for r, v in {values}.items():\n        {write}\n".encode(),
        )


class _Live:
    """The samples of a `masthead sample` that goes on. A thread of its own keeps the last of each sensor."""

    def __init__(self, machine: Machine) -> None:
        self._process = machine.start(f"exec {MASTHEAD} sample --json --every 0.25 --config {CONFIG}")
        self._changed = threading.Condition()
        self._samples: dict[str, dict[str, Any]] = {}
        self.number = 0
        """How many samples there were."""
        self.ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            sample = json.loads(line)
            with self._changed:
                self._samples[sample["sensor"]] = sample
                self.number += 1
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def after(self, number: int, end: float) -> tuple[int, dict[str, dict[str, Any]]]:
        """The last sample of each sensor, when there were more than ``number``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.number > number or self.ended, max(10.0, end - time.monotonic())
            )
            assert self.number > number, f"masthead sample ended or stands still ({self.number} samples)"
            return self.number, dict(self._samples)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def build_wheel(place: Path) -> Path:
    """The working tree as a wheel in ``place``; built in a copy, for setuptools leaves its traces."""
    source = place / "source"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps"]
    subprocess.run([*pip, "-w", str(place), str(source)], check=True, timeout=120)
    return next(place.glob("*.whl"))
