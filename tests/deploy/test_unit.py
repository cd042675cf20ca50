"""The unit, as far as it can be held against the rest of the repository; under systemd: tests/vm."""

from __future__ import annotations

import configparser
import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import MASTHEAD

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "masthead.service"


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """systemd-analyze verify finds nothing to complain about."""
    analysed("--version")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/masthead/bin/masthead", MASTHEAD))
    result = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def analysed(*arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        assert os.environ.get("CI") != "true", "systemd-analyze is missing"
        pytest.skip("no systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_its_exposure_is_small() -> None:
    """At most 1.6 of 10, with pins, buses, the network and the clock's state in use."""
    rated = analysed("security", "--offline=true", "--no-pager", str(UNIT))
    (line,) = [line for line in rated.splitlines() if "Overall exposure" in line]
    assert float(line.split(":")[1].split()[0]) <= 1.6


def settings(name: str) -> list[str]:
    """What the unit says of ``name``, word by word."""
    found = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]
    return " ".join(found).split()


def test_every_address_but_multicast_is_open() -> None:
    """A hub may have any address that one host can have: of IPv4, of IPv6, of a carrier's NAT64."""
    allowed = [ipaddress.ip_network(text) for text in settings("IPAddressAllow")]
    assert settings("IPAddressDeny") == ["any"]

    def is_open(text: str) -> bool:
        address = ipaddress.ip_address(text)
        return any(address in network for network in allowed if network.version == address.version)

    hosts = ["127.0.0.1", "10.1.2.3", "100.64.0.1", "169.254.1.1", "192.168.0.2", "223.255.255.254"]
    hosts += ["::1", "64:ff9b::1", "2a01::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"]
    assert [host for host in hosts if not is_open(host)] == []
    assert [host for host in ("224.0.0.251", "255.255.255.255", "ff02::fb") if is_open(host)] == []


def test_pins_buses_and_nothing_else_can_be_opened() -> None:
    """Every device that a driver opens is of one of these classes."""
    assert settings("DevicePolicy") == ["closed"]
    assert settings("DeviceAllow") == ["char-gpiochip", "rw", "char-i2c", "rw"]
    assert settings("PrivateDevices") == []


def test_the_kernels_clock_can_be_asked_for() -> None:
    """Without these calls every reading would be unsynchronised; the order decides."""
    calls = settings("SystemCallFilter")
    assert calls.index("~@privileged") < calls.index("adjtimex") < calls.index("clock_adjtime")
    assert settings("ProtectClock") == []


def test_the_exit_program_is_where_the_unit_looks_for_it() -> None:
    """`pip install` into /opt/masthead puts it there, and the system's Python runs it, alone."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    ((folder, file),) = parser["options.data_files"].items()
    assert (ROOT / file.strip()).is_file()
    command = f"ExecStopPost=/usr/bin/python3 -I -S /opt/masthead/{folder}/{Path(file.strip()).name}"
    assert command in UNIT.read_text().splitlines()
