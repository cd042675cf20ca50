"""What can be imported where, and what the daemon does not load."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import agent
import hw

HIDE = """
import importlib.abc, socket, sys

HIDDEN = {"gpiod", "lgpio", "smbus2", "systemd", "fcntl", "grp", "pwd", "termios"}

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

for name in [n for n in sys.modules if n.partition(".")[0] in HIDDEN]:
    del sys.modules[name]
sys.meta_path.insert(0, Hide())
if hasattr(socket, "AF_UNIX"):
    del socket.AF_UNIX
import agent, hw
"""
NOT_FOR_THE_DAEMON = ("aiohttp", "amqtt", "azure", "cryptography", "pydantic", "requests", "rich")
FOR_A_DRIVER = ("gpiod", "gpiozero", "lgpio", "smbus2")


def run(program: str) -> str:
    root = str(Path(agent.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(*without: str) -> list[str]:
    found = [
        module.name
        for package in (agent, hw)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return [name for name in found if not name.startswith(without) and not name.endswith("__main__")]


def test_everything_of_the_device_imports_on_a_bare_machine() -> None:
    """No GPIO, no I2C, no systemd, nothing of Unix: what needs them asks when it is used."""
    names = modules("agent.localhub", "agent.operator")
    assert "agent.daemon" in names
    assert "hw.simulated.wind" in names
    run(HIDE + "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names))


def test_the_daemon_loads_nothing_of_the_hub_or_the_operator() -> None:
    """Nor the SDK before it has a credential, nor what only some driver needs: memory is counted."""
    loaded = run("import sys, agent.daemon\nprint(*sys.modules)").split()
    assert {name.partition(".")[0] for name in loaded} & {*NOT_FOR_THE_DAEMON, *FOR_A_DRIVER} == set()
    assert [name for name in loaded if name.startswith(("agent.localhub", "agent.operator"))] == []


def test_the_command_line_loads_a_command_when_it_is_used() -> None:
    """`masthead --help` is quick."""
    loaded = run("import sys, agent.cli\nprint(*sys.modules)").split()
    assert [name for name in loaded if name.startswith("agent.")] == ["agent.cli"]
