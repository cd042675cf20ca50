"""What the kernel tells of this machine and this process: temperature, power, memory. Null where it does not.

Files alone, and no program is started. Thread safety: one thread.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_VOLTAGE_DRIVER = "rpi_volt"  # drivers/hwmon/raspberrypi-hwmon.c: it asks the firmware every 2 s
# Before that driver: hexadecimal, bit 0 below 4.63 V now, bit 16 at some time
# (raspberrypi.com/documentation/computers/os.html#get_throttled). Kernels that have the driver put a warning
# with a trace into their log when this is read.
_THROTTLED = "platform/soc/soc:firmware/get_throttled"
_LOW = 0x1 | 0x10000


class Machine:
    """Where the figures stand; another root is for tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._sys = root / "sys"
        self._proc = root / "proc"

    def temperature_c(self) -> float | None:
        """The hottest of its zones now (Documentation/driver-api/thermal/sysfs-api.rst)."""
        found = []
        for zone in (self._sys / "class/thermal").glob("thermal_zone*/temp"):
            with suppress(OSError, ValueError):  # a zone that is switched off has none
                found.append(int(zone.read_text()) / 1000)
        return max(found, default=None)

    def under_voltage(self) -> bool | None:
        """Whether the supply is too low, or was within the last seconds; by a Raspberry Pi's firmware."""
        for name in (self._sys / "class/hwmon").glob("hwmon*/name"):
            with suppress(OSError, ValueError):
                if name.read_text().strip() == _VOLTAGE_DRIVER:
                    return bool(int((name.parent / "in0_lcrit_alarm").read_text()))
        with suppress(OSError, ValueError):
            return bool(int((self._sys / "devices" / _THROTTLED).read_text(), 16) & _LOW)
        return None

    def memory_bytes(self) -> int | None:
        """Of this process: its proportional share (PSS), else what of it is resident (proc(5))."""
        for path, field in (("self/smaps_rollup", "Pss:"), ("self/status", "VmRSS:")):
            with suppress(OSError, ValueError, IndexError):
                for line in (self._proc / path).read_text().splitlines():
                    if line.startswith(field):
                        return int(line.split()[1]) * 1024
        return None
