"""What a person without rights is told, and what root sees, of the pins and the bus."""

from __future__ import annotations

import json

import pytest

from .mast import CONFIG, MASTHEAD, Mast

GPIO_REMEDY = "no permission to open /dev/gpiochip0: join the group gpio (sudo usermod -aG gpio $USER)"
I2C_REMEDY = "no permission to open /dev/i2c-0: join the group i2c (sudo usermod -aG i2c $USER)"


@pytest.mark.parametrize("command", ["check", pytest.param("sensors", marks=pytest.mark.long)])
def test_a_stranger_is_told_which_groups_to_join(installed: Mast, command: str) -> None:
    """A user in neither group reads, for each device that may not be opened, the group to join."""
    said = installed.machine.attempt(f"su visitor -c '{MASTHEAD} {command}'").stdout
    assert GPIO_REMEDY in said
    assert I2C_REMEDY in said


@pytest.mark.long
@pytest.mark.parametrize("command", ["check", "sensors"])
def test_root_sees_the_chip_and_the_bus(installed: Mast, command: str) -> None:
    """Root reads the chip's label and number of lines and the bus's name, and of no missing permission."""
    said = installed.machine.attempt(f"{MASTHEAD} {command}").stdout
    assert "pinctrl-bcm2711, 54 lines" in said
    assert "SMBus stub driver" in said
    assert "no permission" not in said


def test_a_stranger_in_both_groups_may(installed: Mast) -> None:
    """What the remedy says does help: after it both can be used."""
    groups = "usermod -aG gpio,i2c visitor"
    leave = "gpasswd -d visitor gpio; gpasswd -d visitor i2c"
    said = installed.machine.attempt(f"{groups}; su visitor -c '{MASTHEAD} check --json'; {leave}").stdout
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    told = {finding["check"]: finding["text"] for finding in found}
    assert told["gpiochip0"] == "pinctrl-bcm2711, 54 lines"
    assert told["i2c-0"] == "SMBus stub driver"


def test_a_member_of_the_services_group_may_ask(mast: Mast) -> None:
    """The socket and the way to it are open to the group, and to nobody else; the rest is not."""
    ask = f"su visitor -c '{MASTHEAD} status --config {CONFIG}'"
    stranger = mast.machine.attempt(ask)
    assert stranger.returncode == 1
    assert "use sudo, or join the group masthead" in stranger.stderr
    member = mast.machine.attempt(
        f"usermod -aG masthead visitor; {ask}; gpasswd -d visitor masthead >/dev/null"
    )
    assert "link      off" in member.stdout
    modes = mast.machine.run("stat -c '%a %U' /var/lib/masthead/outbox.db /var/lib/masthead/control").split(
        "\n"
    )
    assert modes[:2] == ["600 masthead", "640 masthead"]
