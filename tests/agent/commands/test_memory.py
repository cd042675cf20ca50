"""The invariants at the head of agent/commands/memory.py, by their names."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands.actuation import Origin
from agent.commands.holds import Hold
from agent.commands.memory import FILE_NAME, GuardMemory, Remembered

HELD = Remembered({Origin.MAST: Hold(100.0), Origin.CLOUD: Hold(200.0, 60.0)}, frozenset({"awning", "brake"}))
ALARMED = Remembered(alarms=frozenset({"awning"}))


def load(folder: Path, boot_id: str = "boot-1", now: float = 500.0) -> Remembered:
    """What the next process finds."""
    return GuardMemory(folder, boot_id).load(now)


def saved(folder: Path, remembered: Remembered = HELD) -> bytes:
    """The file, after a save that succeeded."""
    assert GuardMemory(folder, "boot-1").save(lambda: remembered)
    return (folder / FILE_NAME).read_bytes()


def is_cautious(remembered: Remembered) -> bool:
    """Held at the mast until somebody there releases, and every interlock as in alarm."""
    return remembered.holds == {Origin.MAST: Hold(500.0)} and remembered.doubt is not None


# --- durable


@pytest.mark.parametrize("remembered", [HELD, ALARMED, Remembered()])
def test_durable_what_was_saved_is_there(tmp_path: Path, remembered: Remembered) -> None:
    """In the file, whole and readable, when ``save`` returns; a second process finds it."""
    document = json.loads(saved(tmp_path, remembered))
    assert document["alarms"] == sorted(remembered.alarms)
    assert document["holds"].keys() == {origin.name for origin in remembered.holds}
    assert load(tmp_path) == remembered


def test_durable_file_and_folder_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is synced before it takes the old one's place, and the folder after."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(f"sync {path.name} {len(path.read_bytes()) > 50 if path.is_file() else ''}".strip())
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        done.append(f"replace {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    saved(tmp_path)
    assert done == ["sync guard.new True", "replace guard.json", f"sync {tmp_path.name}"]


def test_durable_the_same_is_not_written_twice(tmp_path: Path) -> None:
    """A card wears out; what was loaded in this boot is on it already."""
    saved(tmp_path)
    memory = GuardMemory(tmp_path, "boot-1")
    before = (tmp_path / FILE_NAME).stat().st_ino
    assert memory.load(500.0) == HELD
    assert memory.save(lambda: HELD)
    assert (tmp_path / FILE_NAME).stat().st_ino == before
    assert memory.save(lambda: ALARMED)
    assert load(tmp_path) == ALARMED


def test_durable_a_full_disk_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is promised anything meanwhile, and one line says so, and one that it is over."""
    caplog.set_level("INFO")

    class Full(GuardMemory):
        full = True

        def _write(self, remembered: Remembered) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            super()._write(remembered)

    memory = Full(tmp_path, "boot-1")
    assert not memory.save(lambda: HELD)
    assert not memory.save(lambda: HELD)
    assert caplog.text.count("would not survive a restart") == 1
    memory.full = False
    assert memory.save(lambda: HELD)
    assert load(tmp_path) == HELD
    assert caplog.text.count("kept again") == 1
    memory.full = True
    assert not memory.save(lambda: ALARMED)
    assert caplog.text.count("would not survive a restart") == 2


def test_durable_whoever_wrote_it_everybody_can_read_it(tmp_path: Path) -> None:
    """A hold made by root is the agent's as well, whatever root's umask is."""
    before = os.umask(0o077)
    try:
        saved(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o644


def test_durable_what_lies_in_the_way_is_no_obstacle(tmp_path: Path) -> None:
    """The rest of a save by root that was cut off can be no file that the agent may write."""
    other = tmp_path / "other"
    other.write_text("somebody else's")
    (tmp_path / "guard.new").symlink_to(other)
    assert GuardMemory(tmp_path, "boot-1").save(lambda: HELD)
    assert load(tmp_path) == HELD
    assert other.read_text() == "somebody else's"


def test_durable_holds_and_alarms_of_many_threads(tmp_path: Path) -> None:
    """Whatever is saved at once from where, the file is one of them and whole."""
    memory = GuardMemory(tmp_path, "boot-1")
    each = [Remembered({Origin.MAST: Hold(float(n))}) for n in range(8)]

    def save(remembered: Remembered) -> None:
        for _ in range(5):
            assert memory.save(lambda: remembered)

    threads = [threading.Thread(target=save, args=[remembered]) for remembered in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load(tmp_path) in each


def test_durable_an_older_picture_is_never_written_last(tmp_path: Path) -> None:
    """What is to be kept is asked for when its turn to be written has come."""
    memory = GuardMemory(tmp_path, "boot-1")
    asked, go_on, asked_too_soon = threading.Event(), threading.Event(), threading.Event()

    def older() -> Remembered:
        asked.set()
        go_on.wait(20)
        return ALARMED

    def newer() -> Remembered:
        asked_too_soon.set()
        return HELD

    first = threading.Thread(target=memory.save, args=[older])
    second = threading.Thread(target=memory.save, args=[newer])
    first.start()
    assert asked.wait(20)
    second.start()
    second.join(0.2)  # by then it would have written
    too_soon = asked_too_soon.is_set()
    go_on.set()
    first.join(20)
    second.join(20)
    assert not too_soon
    assert load(tmp_path) == HELD


# --- whole


@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
def test_whole_a_cut_in_the_middle_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the new file is whole and in its place, the old one stands."""
    saved(tmp_path)

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "replace" else os, step, cut)
        with pytest.raises(KeyboardInterrupt):
            GuardMemory(tmp_path, "boot-1").save(lambda: ALARMED)
    assert load(tmp_path) == HELD
    assert GuardMemory(tmp_path, "boot-1").save(lambda: ALARMED)
    assert load(tmp_path) == ALARMED


def test_whole_without_a_file_nothing_is_held(tmp_path: Path) -> None:
    """The first start of all, and a first save that was cut off."""
    assert load(tmp_path) == Remembered()
    (tmp_path / "guard.new").write_text('{"versi')
    assert load(tmp_path) == Remembered()


# --- cautious


def test_cautious_a_file_that_is_cut_off_holds_everything(tmp_path: Path) -> None:
    """After any number of bytes."""
    whole = saved(tmp_path)
    for size in range(len(whole)):
        (tmp_path / FILE_NAME).write_bytes(whole[:size])
        assert is_cautious(load(tmp_path)), whole[:size]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 4096,
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"held"',
        b"[" * 100_000,
        b'{"version": 2, "boot": "boot-1", "holds": {}, "alarms": []}',
        b'{"boot": "boot-1", "holds": {}, "alarms": []}',
        b'{"version": 1, "holds": {}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {}}',
        b'{"version": 1, "boot": "boot-1", "holds": [], "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {}, "alarms": null}',
        b'{"version": 1, "boot": "boot-1", "holds": {}, "alarms": "awning"}',
        b'{"version": 1, "boot": "boot-1", "holds": {"ROOF": {"since": 1, "for": null}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": 1}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": null}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": "x", "for": 1}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": 1, "for": NaN}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": NaN, "for": 9}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": -Infinity, "for": 9}}, "alarms": []}',
        b'{"version": 1, "boot": "boot-1", "holds": {"MAST": {"since": 1' + b"0" * 400 + b', "for": 9}},'
        b'"alarms": []}',
    ],
    ids=lambda raw: raw[-60:].decode("latin-1"),
)
def test_cautious_a_file_that_says_something_else_holds_everything(
    tmp_path: Path, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, another version, half of it: nobody knows who held, and one line says so."""
    (tmp_path / FILE_NAME).write_bytes(raw)
    assert is_cautious(load(tmp_path))
    assert "held until `masthead release`" in caplog.text


@given(raw=st.binary(max_size=200))
def test_cautious_no_bytes_keep_the_agent_from_starting(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """Whatever is in the file, there is an answer."""
    folder = tmp_path_factory.mktemp("state")
    (folder / FILE_NAME).write_bytes(raw)
    assert is_cautious(load(folder))


def test_cautious_a_file_that_cannot_be_opened_holds_everything(tmp_path: Path) -> None:
    """A folder in its place, as a card that gives an error."""
    (tmp_path / FILE_NAME).mkdir()
    assert is_cautious(load(tmp_path))


def test_cautious_what_was_in_doubt_is_saved_as_held(tmp_path: Path) -> None:
    """The next start finds a hold, and no doubt any more."""
    (tmp_path / FILE_NAME).write_bytes(b"garbage")
    memory = GuardMemory(tmp_path, "boot-1")
    doubtful = memory.load(500.0)
    assert memory.save(lambda: Remembered(doubtful.holds, frozenset({"awning"})))
    assert load(tmp_path) == Remembered({Origin.MAST: Hold(500.0)}, frozenset({"awning"}))


# --- this boot and others


def test_in_the_same_boot_a_hold_goes_on_as_it_began(tmp_path: Path) -> None:
    """A restart makes it neither longer nor shorter."""
    saved(tmp_path)
    assert load(tmp_path, now=250.0).holds[Origin.CLOUD].until_boot_s == 260.0


def test_in_another_boot_a_hold_begins_anew(tmp_path: Path) -> None:
    """Nobody knows how long the machine was off, so its time counts from the start; alarms stand."""
    saved(tmp_path)
    assert load(tmp_path, "boot-2", 7.0) == Remembered(
        {Origin.MAST: Hold(7.0), Origin.CLOUD: Hold(7.0, 60.0)}, HELD.alarms
    )


def test_in_another_boot_what_began_anew_is_saved(tmp_path: Path) -> None:
    """Its new beginning is that of this boot, so it is written though nothing was asked for."""
    saved(tmp_path)
    memory = GuardMemory(tmp_path, "boot-2")
    began_anew = memory.load(7.0)
    assert memory.save(lambda: began_anew)
    assert load(tmp_path, "boot-2", 30.0).holds[Origin.CLOUD] == Hold(7.0, 60.0)


# --- not through a link


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody puts there in the moment before it is opened: root may be who writes."""
    other = tmp_path / "other"
    other.write_text("somebody else's")
    (tmp_path / "guard.new").symlink_to(other)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    assert not GuardMemory(tmp_path, "boot-1").save(lambda: HELD)
    assert other.read_text() == "somebody else's"
    assert not (tmp_path / FILE_NAME).exists()
