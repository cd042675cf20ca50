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
