"""A device tree means a board; device nodes decide nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw import board
from hw.board import Board, detect, resolve_auto


def pi(folder: Path) -> Path:
    (folder / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    (folder / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    return folder


def test_a_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    """Model for people, compatible for programs."""
    names = ("raspberrypi,5-model-b", "brcm,bcm2712")
    assert detect(pi(tmp_path)) == Board("Raspberry Pi 5 Model B Rev 1.0", names)


def test_a_board_without_a_model_is_a_board(tmp_path: Path) -> None:
    """Only ``compatible`` decides."""
    (pi(tmp_path) / "model").unlink()
    found = detect(tmp_path)
    assert found is not None
    assert found.model == "unnamed board"


def test_no_device_tree_is_a_desktop(tmp_path: Path) -> None:
    """There the wind is simulated."""
    assert detect(tmp_path) is None
    assert resolve_auto(tmp_path).driver == "simulated"
    assert "desktop" in resolve_auto(tmp_path).reason


def test_a_board_never_pretends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a board "auto" names no driver, and says what to do."""
    monkeypatch.setattr(board, "DEVICE_TREE", pi(tmp_path))
    resolved = resolve_auto()
    assert resolved.driver is None
    assert "Raspberry Pi 5" in resolved.reason
    assert "`masthead sensors`" in resolved.reason


PIS = [
    ("raspberrypi,model-zero-w", "brcm,bcm2835", "0"),
    ("raspberrypi,model-zero-2-w", "brcm,bcm2837", "0"),
    ("raspberrypi,model-b-plus", "brcm,bcm2835", "1"),
    ("raspberrypi,compute-module", "brcm,bcm2835", "1"),
    ("raspberrypi,2-model-b", "brcm,bcm2836", "2"),
    ("raspberrypi,3-model-b-plus", "brcm,bcm2837", "3"),
    ("raspberrypi,3-compute-module", "brcm,bcm2837", "3"),
    ("raspberrypi,4-model-b", "brcm,bcm2711", "4"),
    ("raspberrypi,400", "brcm,bcm2711", "4"),
    ("raspberrypi,5-model-b", "brcm,bcm2712", "5"),
    ("raspberrypi,500", "brcm,bcm2712", "5"),
    ("raspberrypi,something-new", "brcm,bcm2712", "5"),
    ("xunlong,orangepi-zero2", "allwinner,sun50i-h616", None),
]


@pytest.mark.parametrize(("name", "processor", "generation"), PIS)
def test_a_raspberry_pi_is_told_by_its_generation(name: str, processor: str, generation: str | None) -> None:
    """From 0 to 5, by the board's name or else its processor; another board is none."""
    assert Board("x", (name, processor)).raspberry_pi == generation


def test_a_board_is_shown_with_its_processor() -> None:
    """For a person who reports a problem."""
    shown = str(Board("Raspberry Pi 5 Model B Rev 1.0", ("raspberrypi,5-model-b", "brcm,bcm2712")))
    assert shown == "Raspberry Pi 5 Model B Rev 1.0 (bcm2712)"
    assert str(Board("QEMU", ("linux",))) == "QEMU"


def _nodes(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        (folder / name).touch()
    monkeypatch.setattr(board, "DEV", folder)
    monkeypatch.setattr(board, "I2C_CLASS", folder / "class")


def test_a_desktop_with_pins_and_buses_simulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laptops have gpiochips too: what decides is the device tree."""
    _nodes(tmp_path, monkeypatch, "gpiochip0", "i2c-0")
    assert [bus.path for bus in board.buses()] == [str(tmp_path / "i2c-0")]
    assert resolve_auto(tmp_path / "no-device-tree").driver == "simulated"


def test_a_board_without_pins_and_buses_does_not_simulate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board where everything is switched off is a board."""
    _nodes(tmp_path, monkeypatch)
    assert board.buses() == []
    assert resolve_auto(pi(tmp_path)).driver is None


def test_buses_have_numbers_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their numbers, named as the kernel names them."""
    _nodes(tmp_path, monkeypatch, "i2c-10", "i2c-1", "i2c-x")
    (tmp_path / "class" / "i2c-1").mkdir(parents=True)
    (tmp_path / "class" / "i2c-1" / "name").write_text("bcm2835 (i2c@7e804000)\n")
    found = board.buses()
    assert [(bus.number, bus.name) for bus in found] == [
        (1, "bcm2835 (i2c@7e804000)"),
        (10, "unnamed adapter"),
    ]
    assert all(bus.fault is None for bus in found)


def test_a_bus_that_may_not_be_opened_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group to join, and how."""
    _nodes(tmp_path, monkeypatch, "i2c-1")
    monkeypatch.setattr("hw.board.os.access", lambda path, mode: False)
    (bus,) = board.buses()
    assert bus.fault is not None
    assert "join the group i2c (sudo usermod -aG i2c $USER)" in bus.fault
