"""What systemd says of the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .finding import Finding, told_by

RUNNING_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
UNIT = "masthead.service"

_PROPERTIES = "LoadState,UnitFileState,ActiveState,SubState,NRestarts,Result,ExecMainStatus,StatusText"
_LOG = "journalctl -u masthead -n 50"


def finding() -> Finding:
    """Whether it is installed, enabled, running, and how often it had to be started again."""
    if not RUNNING_SYSTEMD.is_dir():
        return Finding("unit", "ok", "no systemd runs here: whoever starts the agent starts it again")
    shown = told_by(["systemctl", "show", "--property", _PROPERTIES, UNIT])
    if shown is None:
        return Finding("unit", "warning", "systemd does not answer", "systemctl status masthead")
    return judge(dict(line.partition("=")[::2] for line in shown.splitlines()))


def judge(told: Mapping[str, str]) -> Finding:
    """``told``: the unit's properties (systemctl(1), show)."""
    if told.get("LoadState") != "loaded":
        text = (
            f"{UNIT} is not installed ({told.get('LoadState', 'unknown')}): nothing starts the agent at boot"
        )
        return Finding("unit", "warning", text, "install the package, or deploy/install.sh")
    active, result = told.get("ActiveState", "unknown"), told.get("Result", "success")
    enabled, restarts = told.get("UnitFileState", "unknown"), told.get("NRestarts", "0")
    text = f"{enabled}, {active} ({told.get('SubState', 'unknown')})"
    if restarts not in ("", "0"):
        text += f", started again {restarts} times since it was last started by hand"
    if result != "success":
        text += f", the last end: {result}, status {told.get('ExecMainStatus', 'unknown')}"
    if active == "failed" or told.get("SubState") == "auto-restart":
        return Finding("unit", "failed", text, _LOG)
    if active == "inactive":
        # ExecCondition= of deploy/debian/configured.conf keeps it from starting as it was installed
        configured = result != "exec-condition"
        remedy = "sudo systemctl enable --now masthead, and before it is configured sudo masthead setup"
        return Finding("unit", "warning", text, remedy if configured else "sudo masthead setup")
    if not enabled.startswith(("enabled", "static", "linked", "generated", "alias")):
        text += ", not started at boot"
        return Finding("unit", "warning", text, "sudo systemctl enable masthead")
    if restarts not in ("", "0"):
        return Finding("unit", "warning", text, _LOG)
    return Finding("unit", "ok", text)
