"""Whether the clock can be believed, what sets it, and whether it outlives a power cut."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agent import timekeeping

from .finding import Finding

PROC = Path("/proc")
RTC_CLASS = Path("/sys/class/rtc")

_SERVICES = {
    "systemd-timesyn": "systemd-timesyncd",  # the kernel keeps fifteen letters of a name
    "chronyd": "chrony",
    "ntpd": "ntpd",
    "openntpd": "openntpd",
    "gpsd": "gpsd",
    "ptp4l": "ptp4l",
    "phc2sys": "phc2sys",
}
_KEPT_AFTER_S = 1_600_000_000.0  # September 2020: a clock without a battery begins in 1970 or 2000


def findings() -> Iterator[Finding]:
    """The kernel's word on it with the services that may set it, and the battery-backed clock."""
    services = time_services()
    named = ", ".join(services)
    if timekeeping.kernel_synchronised():
        yield Finding("clock", "ok", f"synchronised, by {named or 'the host or something unseen'}")
    elif services:
        remedy = "does it reach its servers? `timedatectl timesync-status`, `chronyc sources`"
        yield Finding("clock", "warning", f"not synchronised by {named}, and readings say so", remedy)
    else:
        remedy = "sudo timedatectl set-ntp true, or install chrony"
        text = "not synchronised, no time service is seen, and readings say so"
        yield Finding("clock", "warning", text, remedy)
    yield _rtc()


def time_services() -> list[str]:
    """The programs that set clocks and run now, as far as this user may see processes."""
    found = set()
    for process in PROC.glob("[0-9]*/comm"):
        try:
            found.add(process.read_text().strip())
        except OSError:
            continue
    return sorted(service for comm, service in _SERVICES.items() if comm in found)


def _rtc() -> Finding:
    """The first real-time clock there is, and whether it kept its time."""
    for rtc in sorted(RTC_CLASS.glob("rtc*")):
        try:
            name = (rtc / "name").read_text().strip()
            seconds = int((rtc / "since_epoch").read_text())
        except (OSError, ValueError):
            continue
        if seconds < _KEPT_AFTER_S:
            shown = datetime.fromtimestamp(max(0, seconds), UTC).date()
            text = f"{rtc.name} ({name}) says {shown}"
            return Finding("rtc", "warning", text, "does it have a battery? then `sudo hwclock --systohc`")
        return Finding("rtc", "ok", f"{rtc.name} ({name}) keeps the time over a power cut")
    text = "none: after a power cut the time is unknown until it is set, and readings are corrected then"
    return Finding("rtc", "ok", text)
