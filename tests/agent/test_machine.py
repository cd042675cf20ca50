"""What the kernel tells of the machine, from files as it writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.machine import Machine


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    """Everything is null, and nothing fails."""
    machine = Machine(tmp_path)
    assert (machine.temperature_c(), machine.under_voltage(), machine.memory_bytes()) == (None, None, None)


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    """In degrees; one that cannot be read is passed over."""
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "51000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone2/temp", "")
    assert Machine(tmp_path).temperature_c() == 51.0


@pytest.mark.parametrize(("alarm", "low"), [("0\n", False), ("1\n", True)])
def test_the_voltage_driver_is_asked(tmp_path: Path, alarm: str, low: bool) -> None:
    """And the older file is left alone: where both are, reading it puts a warning into the kernel's log."""
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm)
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n" if low else "50005\n")
    assert Machine(tmp_path).under_voltage() is low


@pytest.mark.parametrize(("told", "low"), [("0", False), ("1", True), ("50000", True), ("80008", False)])
def test_an_older_kernel_tells_it_in_bits(tmp_path: Path, told: str, low: bool) -> None:
    """Now, or at some time; heat is no low voltage."""
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{told}\n")
    assert Machine(tmp_path).under_voltage() is low


def test_memory_is_the_proportional_share_where_it_is_told(tmp_path: Path) -> None:
    """Else what is resident."""
    write(tmp_path, "proc/self/status", "Name:\tpython3\nVmRSS:\t   30720 kB\n")
    assert Machine(tmp_path).memory_bytes() == 30720 * 1024
    write(
        tmp_path,
        "proc/self/smaps_rollup",
        "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss: 30720 kB\nPss: 27000 kB\n",
    )
    assert Machine(tmp_path).memory_bytes() == 27000 * 1024


def test_here_there_is_memory() -> None:
    """By the real files."""
    assert (Machine().memory_bytes() or 0) > 1 << 20
