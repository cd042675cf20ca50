"""A recording is played back as it is: no row twice, none left out, none made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import BadSample, DeviceMisconfigured
from hw.simulated.replay import ReplayAnemometer
from tests.clock import FakeClock

HEADER = "time_s,wind_speed_mps,wind_direction_deg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _open(folder: Path, text: str, speed: float = 1.0, loop: bool = False) -> ReplayAnemometer:
    path = folder / "recording.csv"
    path.write_text(text, encoding="utf-8")
    return ReplayAnemometer.open(ReplayAnemometer.Settings(str(path), speed, loop), FakeClock())


def _series(*times_s: float) -> str:
    """A recording whose speed is the number of its row."""
    return "\n".join([HEADER, *(f"{t!r},{row},{row % 360}" for row, t in enumerate(times_s))])


def _tenths(count: int) -> str:
    return _series(*(round(k * 0.1, 1) for k in range(count)))


@pytest.mark.parametrize("start_s", [0.0, 0.1, 1234.5, 98_765.4321])
def test_at_the_rate_of_the_recording_each_row_is_read_once(folder: Path, start_s: float) -> None:
    """Ten-hertz rows read each tenth of a second, however the time stamps round."""
    multiplied, accumulated = _open(folder, _tenths(18000)), _open(folder, _tenths(18000))
    now = start_s
    for k in range(18000):
        assert multiplied.read(start_s + k * 0.1).speed_mps == k
        assert accumulated.read(now).speed_mps == k
        now += 0.1


def test_time_starts_with_the_first_read_at_the_first_row(folder: Path) -> None:
    """The origin of the recording's times does not matter."""
    anemometer = _open(folder, _series(500.0, 501.0, 502.0))
    assert [anemometer.read(now).speed_mps for now in (77.0, 78.0, 79.0)] == [0, 1, 2]


def test_a_sample_carries_the_row_and_its_time(folder: Path) -> None:
    """Speed and direction are the row's, the time stamp is the clock's, ``raw`` has the row's time."""
    anemometer = _open(folder, f"{HEADER}\n10,6.6358,187.46\n11,7,360\n")
    sample = anemometer.read(100.0)
    assert (sample.time_s, sample.speed_mps, sample.direction_deg) == (100.0, 6.6358, 187.46)
    assert sample.raw == {"recorded_s": 10.0}
    assert anemometer.read(101.0).direction_deg == 0.0  # 360 is north


def test_it_plays_faster_than_the_clock(folder: Path) -> None:
    """At speed 20, half a second of the clock is ten seconds of the recording."""
    anemometer = _open(folder, _series(*range(100)), speed=20.0)
    assert [anemometer.read(5 + k * 0.5).speed_mps for k in range(10)] == [k * 10 for k in range(10)]


def test_a_slow_recording_holds_each_row_for_its_spacing(folder: Path) -> None:
    """One row a second, read at 4 Hz, gives each row four times, around its own time."""
    anemometer = _open(folder, _series(*range(10)))
    read = [anemometer.read(k / 4).speed_mps for k in range(24)]
    assert read == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6]


def test_a_gap_is_not_filled(folder: Path) -> None:
    """Between rows further apart than usual there is no value, and after the gap there is again."""
    anemometer = _open(folder, _series(0.0, 0.1, 0.2, 20.0, 20.1, 20.2))
    assert anemometer.read(0.0).speed_mps == 0
    with pytest.raises(BadSample, match=r"^gap in the recording at 12\.3 s$"):
        anemometer.read(12.3)
    assert anemometer.read(20.1).speed_mps == 4


def test_jittering_time_stamps_are_no_gaps(folder: Path) -> None:
    """A recording whose spacing varies by a tenth is read everywhere."""
    times = [k * 0.1 + (k % 3 - 1) * 0.004 for k in range(300)]
    anemometer = _open(folder, _series(*times))
    for k in range(9950):
        anemometer.read(k * 0.003)


def test_after_the_end_there_is_nothing(folder: Path) -> None:
    """The last row is held for half a spacing; then the recording has ended, for good."""
    anemometer = _open(folder, _series(0.0, 1.0, 2.0))
    anemometer.read(0.0)
    assert anemometer.read(2.5).speed_mps == 2
    for now in (2.6, 3.0, 1e6):
        with pytest.raises(BadSample, match=r"^the recording ended at 2 s$"):
            anemometer.read(now)


def test_a_loop_begins_again_one_spacing_after_the_last_row(folder: Path) -> None:
    """No row is doubled or left out where the laps meet, in a hundred laps."""
    anemometer = _open(folder, _series(7.0, 7.1, 7.2, 7.3, 7.4), loop=True)
    assert [anemometer.read(3 + k * 0.1).speed_mps for k in range(500)] == [0, 1, 2, 3, 4] * 100


def test_a_loop_keeps_its_gaps(folder: Path) -> None:
    """A gap is a gap in each lap."""
    anemometer = _open(folder, _series(0.0, 1.0, 2.0, 9.0), loop=True)
    for lap in range(3):
        assert anemometer.read(lap * 10.0).speed_mps == 0
        with pytest.raises(BadSample, match=r"gap in the recording at 5\.0 s"):
            anemometer.read(lap * 10.0 + 5)


def test_an_empty_speed_is_a_missing_value(folder: Path) -> None:
    """No speed in the row: no value, whatever the direction."""
    anemometer = _open(folder, f"{HEADER}\n0,5,10\n1,,20\n2,6,30\n")
    anemometer.read(0.0)
    with pytest.raises(BadSample, match=r"^no speed in the recording at 1 s$"):
        anemometer.read(1.0)


def test_an_empty_direction_leaves_the_speed(folder: Path) -> None:
    """No direction in the row: the speed is given, and the fault says what is missing."""
    anemometer = _open(folder, f"{HEADER}\n0,5,10\n1,6,\n")
    assert anemometer.read(0.0).fault is None
    sample = anemometer.read(1.0)
    assert (sample.speed_mps, sample.direction_deg) == (6, None)
    assert sample.fault == "no direction in the recording at 1 s"


@pytest.mark.parametrize("text", ["time_s,wind_speed_mps\n0,5\n1,6\n", f"{HEADER}\n0,5,\n1,6,\n"])
def test_a_recording_without_directions_has_none(folder: Path, text: str) -> None:
    """Without the column, or with nothing in it, the instrument gives no direction, which is no fault."""
    anemometer = _open(folder, text)
    assert anemometer.has_direction is False
    sample = anemometer.read(0.0)
    assert (sample.speed_mps, sample.direction_deg, sample.fault) == (5, None, None)


def test_comments_blank_lines_spaces_and_a_byte_order_mark_are_tolerated(folder: Path) -> None:
    """What spreadsheets and people leave in a file does no harm."""
    head = "\ufeff# a comment, with a comma\r\n\r\n time_s , wind_speed_mps\r\n"
    text = head + "# more\r\n0, 5\r\n ,\r\n1, 6\r\n\r\n"
    anemometer = _open(folder, text)
    assert [anemometer.read(now).speed_mps for now in (0.0, 1.0)] == [5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n\n", "is empty"),
        (f"{HEADER}\n", "expected the header and at least two rows"),
        (f"{HEADER}\n0,1,2\n", "expected the header and at least two rows"),
        ("0,1,2\n1,2,3\n", f"line 1: expected the header {HEADER}, got 0,1,2"),
        ("time,speed\n0,1\n", f"line 1: expected the header {HEADER}, got time,speed"),
        (f"{HEADER}\n0,1,2\n1,x,3\n", "line 3: expected a number, got 'x'"),
        (f"{HEADER}\n0,1,2\n1,2\n", "line 3: expected 3 cells, got 2"),
        (f"{HEADER}\n0,1,2\n1,2,3,4\n", "line 3: expected 3 cells, got 4"),
        (f"# c\n{HEADER}\n\n0,1,2\n0,2,3\n", "line 5: time_s must rise, got 0 after 0"),
        (f"{HEADER}\n5,1,2\n4,2,3\n", "line 3: time_s must rise, got 4 after 5"),
        (f"{HEADER}\n,1,2\n4,2,3\n", "line 2: time_s is empty"),
        (f"{HEADER}\n0,-0.1,2\n", "line 2: wind_speed_mps must not be negative, got -0.1"),
        (f"{HEADER}\n0,1,361\n", "line 2: wind_direction_deg must be from 0 to 360, got 361"),
        (f"{HEADER}\n0,1,-1\n", "line 2: wind_direction_deg must be from 0 to 360, got -1"),
        (f"{HEADER}\n0,nan,1\n", "line 2: expected a number, got 'nan'"),
        (f"{HEADER}\n0,1,inf\n", "line 2: expected a number, got 'inf'"),
        (f"{HEADER}\n0,1e999,1\n", "line 2: expected a number, got '1e999'"),
    ],
)
def test_a_bad_recording_is_refused_in_one_line_with_its_place(folder: Path, text: str, message: str) -> None:
    """Opening says file, line and what is wrong there."""
    with pytest.raises(DeviceMisconfigured) as caught:
        _open(folder, text)
    assert str(caught.value) == f"{folder / 'recording.csv'}: {message}"


def test_a_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    """A missing file, a folder and a file of other bytes are named with the reason."""
    noise = folder / "noise"
    noise.write_bytes(b"\xff\xfe\x00" * 50)
    none = folder / "none.csv"
    for path, reason in ((none, "No such file"), (folder, "Is a directory"), (noise, "decode")):
        with pytest.raises(DeviceMisconfigured, match=reason) as caught:
            ReplayAnemometer.open(ReplayAnemometer.Settings(str(path)), FakeClock())
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
