"""What is said of the clock: whether it is trusted, what sets it, whether it outlives a power cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import timekeeping
from agent.checks import clock
from agent.checks.finding import Finding


class Machine:
    """A /proc and a /sys/class/rtc of their own."""

    def __init__(self, root: Path) -> None:
        self.proc, self.rtc = root / "proc", root / "rtc"

    def runs(self, *programs: str) -> None:
        for number, comm in enumerate(programs, start=100):
            (self.proc / str(number)).mkdir(parents=True)
            (self.proc / str(number) / "comm").write_text(f"{comm}\n")

    def has_rtc(self, seconds: int) -> None:
        (self.rtc / "rtc0").mkdir(parents=True)
        (self.rtc / "rtc0" / "name").write_text("rpi-rtc\n")
        (self.rtc / "rtc0" / "since_epoch").write_text(f"{seconds}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(clock, "PROC", found.proc)
    monkeypatch.setattr(clock, "RTC_CLASS", found.rtc)
    return found


def findings(monkeypatch: pytest.MonkeyPatch, *, synchronised: bool) -> dict[str, Finding]:
    monkeypatch.setattr(timekeeping, "kernel_synchronised", lambda: synchronised)
    return {finding.name: finding for finding in clock.findings()}


def test_a_synchronised_clock_names_its_source(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the programs that run: GPS beside chrony, say."""
    machine.runs("bash", "chronyd", "gpsd")
    found = findings(monkeypatch, synchronised=True)["clock"]
    assert (found.state, found.text) == ("ok", "synchronised, by chrony, gpsd")


def test_a_source_that_is_not_seen_is_no_fault(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's clock is its host's."""
    assert "unseen" in findings(monkeypatch, synchronised=True)["clock"].text


def test_a_service_that_has_not_set_the_clock_is_asked_about(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps fifteen letters of the name."""
    machine.runs("systemd-timesyn")
    found = findings(monkeypatch, synchronised=False)["clock"]
    assert found.state == "warning"
    assert "not synchronised by systemd-timesyncd" in found.text
    assert found.remedy


def test_no_service_at_all_is_to_be_mended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line to type."""
    assert "set-ntp true" in str(findings(monkeypatch, synchronised=False)["clock"])


@pytest.mark.parametrize(
    ("seconds", "state", "text"),
    [
        (1_900_000_000, "ok", "keeps the time"),
        (42, "warning", "1970-01-01"),
        (946_684_800, "warning", "2000-"),
    ],
)
def test_a_clock_with_and_without_a_battery(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, seconds: int, state: str, text: str
) -> None:
    """One that stands at its beginning has none."""
    machine.has_rtc(seconds)
    found = findings(monkeypatch, synchronised=True)["rtc"]
    assert found.state == state
    assert text in found.text


def test_no_battery_clock_is_normal(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Raspberry Pi up to 4 has none, and readings are corrected."""
    found = findings(monkeypatch, synchronised=True)["rtc"]
    assert found.state == "ok"
    assert "none" in found.text
