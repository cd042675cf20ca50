"""What machine this is.

A device tree means a board; its absence means a desktop. Device nodes decide nothing: laptops have
gpiochips and I2C buses too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEVICE_TREE = Path("/proc/device-tree")


@dataclass(frozen=True, slots=True)
class Board:
    """A single-board computer, by its device tree: ``model`` for people, ``compatible`` for programs."""

    model: str
    compatible: tuple[str, ...]


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
