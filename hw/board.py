"""What machine this is, and which buses it has (its gpiochips: gpio.py).

A device tree means a board; its absence means a desktop. Device nodes decide nothing: laptops have
gpiochips and I2C buses too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEVICE_TREE = Path("/proc/device-tree")
DEV = Path("/dev")
I2C_CLASS = Path("/sys/class/i2c-dev")
JOIN_I2C = "join the group i2c (sudo usermod -aG i2c $USER) and log in again"

_PI_NUMBERS = {"bcm2836": "2", "bcm2837": "3", "bcm2711": "4", "bcm2712": "5"}


@dataclass(frozen=True, slots=True)
class Board:
    """A single-board computer, by its device tree: ``model`` for people, ``compatible`` for programs."""

    model: str
    compatible: tuple[str, ...]

    @property
    def raspberry_pi(self) -> str | None:
        """Its generation, "0" to "5", or None if it is something else.

        By the name of the board in the device tree, else by its processor: a compute module is counted with
        the board that has the same one.
        """
        for name in self.compatible:
            maker, _, board = name.partition(",")
            if maker == "raspberrypi":
                board = board.removeprefix("model-")
                if board.startswith("zero"):
                    return "0"
                if board[:1].isdigit() and not board[1:2].isdigit():
                    return board[0]
                if board[:3] in ("400", "500"):
                    return board[0]
        if not any(name.startswith("raspberrypi,") for name in self.compatible):
            return None
        return next((_PI_NUMBERS[chip] for chip in map(_chip, self.compatible) if chip in _PI_NUMBERS), "1")

    def __str__(self) -> str:
        processor = _chip(self.compatible[-1]) if self.compatible else ""
        return f"{self.model} ({processor})" if processor else self.model


@dataclass(frozen=True, slots=True)
class I2cBus:
    """An I2C adapter of this machine. ``fault``: why it cannot be used and what to do, else None."""

    number: int
    path: str
    name: str
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What ``driver = "auto"`` means here: a driver, or None and what to do instead."""

    driver: str | None
    reason: str


def detect(tree: Path | None = None) -> Board | None:
    """The board, or None on a desktop (no ``compatible`` in ``tree``, DEVICE_TREE unless given)."""
    tree = tree or DEVICE_TREE
    try:
        compatible = (tree / "compatible").read_bytes()
    except OSError:
        return None
    try:
        model = (tree / "model").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        model = "unnamed board"
    return Board(model, tuple(c.decode(errors="replace") for c in compatible.split(b"\0") if c))


def resolve_auto(tree: Path | None = None) -> Resolved:
    """A desktop simulates; a board has to be told which sensor it has, for it never pretends."""
    board = detect(tree)
    if board is None:
        return Resolved("simulated", "no device tree: this is a desktop, so the wind is simulated")
    return Resolved(
        None,
        f'"auto" names no sensor on a board ({board.model}): set driver and its keys; '
        "`masthead sensors` prints the stanza to copy",
    )


def buses() -> list[I2cBus]:
    """Every I2C adapter that programs may use, in the order of their numbers."""
    numbers = [p.name.removeprefix("i2c-") for p in DEV.glob("i2c-*")]
    return [_bus(number) for number in sorted(int(n) for n in numbers if n.isdigit())]


def _bus(number: int) -> I2cBus:
    path = DEV / f"i2c-{number}"
    try:
        name = (I2C_CLASS / path.name / "name").read_text().strip()
    except OSError:
        name = "unnamed adapter"
    fault = None
    if not os.access(path, os.R_OK | os.W_OK):
        fault = f"no permission to open {path}: {JOIN_I2C}"
    return I2cBus(number, str(path), name, fault)


def _chip(compatible: str) -> str:
    return compatible.partition(",")[2]
