"""Edges to hertz, in synthetic wind, bounce, noise and losses."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wind.statistics import WindStatistics
from hw.anemometer import WindSample
from hw.errors import BadSample
from hw.pulse import Edge, PulseMeter, QuietBefore
from hw.simulated.wind import SimulatedAnemometer

HOLD_OFF_S = 0.001
START_S = 1000.0


def contact(
    began_s: Sequence[float],
    closed_s: Sequence[float],
    bounces: Sequence[Sequence[float]],
    active_rising: bool,
) -> list[Edge]:
    """A contact that closes at ``began_s`` for ``closed_s``.

    ``bounces``: for each change, when it bounces open and shut again after it: an even number of delays in s.
    """
    edges, delays = [], iter(bounces)
    for began, closed in zip(began_s, closed_s, strict=True):
        for at, rising in ((began, active_rising), (began + closed, not active_rising)):
            edges.append(Edge(at, rising))
            for n, delay in enumerate(next(delays)):
                edges.append(Edge(at + delay, rising if n % 2 else not rising))
    return edges


@st.composite
def bouncing(draw: st.DrawFn) -> tuple[list[float], list[Edge], bool, float]:
    """(when each turn closes the contact, the edges, the active level, the longest bounce)."""
    hertz, duty = draw(st.floats(5, 150)), draw(st.floats(0.1, 0.9))
    turns, active_rising = draw(st.integers(2, 40)), draw(st.booleans())
    seed = draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    closed, opened = duty / hertz, (1 - duty) / hertz
    # a bounce has no rest, is over before the contact moves again, and leaves a rest in the longer phase
    longest = min(0.95 * min(closed, opened), max(closed, opened) - 1.01 * HOLD_OFF_S, 0.98 * 6 * HOLD_OFF_S)
    delays = []
    for _ in range(2 * turns):
        gaps = [rng.uniform(0.02, 0.98) * HOLD_OFF_S for _ in range(2 * rng.randint(0, 3))]
        shrink = min(1.0, longest / sum(gaps)) if gaps else 1.0
        delays.append(list(itertools.accumulate(gap * shrink for gap in gaps)))
    began = [START_S + 1 + k / hertz for k in range(turns)]
    return began, contact(began, [closed] * turns, delays, active_rising), active_rising, longest


def found(edges: Sequence[Edge], active_rising: bool, hold_off_s: float = HOLD_OFF_S) -> list[float]:
    quiet = QuietBefore(hold_off_s, active_rising, START_S)
    return [began for edge in edges if (began := quiet.pulse(edge)) is not None]


def meter(hold_off_s: float = 0.0, pulses_per_rev: int = 1, timeout_s: float = 5.0) -> PulseMeter:
    return PulseMeter(
        hold_off_s=hold_off_s,
        active_rising=False,
        since_s=START_S,
        pulses_per_rev=pulses_per_rev,
        timeout_s=timeout_s,
    )


def falling(*times_s: float, lost: int = 0) -> list[Edge]:
    """One-edge mode: seconds after START_S; ``lost`` before the first."""
    return [Edge(START_S + t, False, lost if n == 0 else 0) for n, t in enumerate(times_s)]


def both(*times_s: float, closed_s: float = 0.02) -> list[Edge]:
    return [edge for t in times_s for edge in (Edge(START_S + t, False), Edge(START_S + t + closed_s, True))]


def series(start: float, stop: float, hertz: float) -> list[float]:
    return [start + k / hertz for k in range(round((stop - start) * hertz))]


# --- the filter


@given(bouncing())
def test_each_turn_is_one_pulse_however_the_contact_bounces(
    case: tuple[list[float], list[Edge], bool, float],
) -> None:
    """5 to 150 Hz, closed 10 to 90 %, 0 to 3 bounces a change: exact, and timed to within the bounce."""
    began, edges, active_rising, longest = case
    pulses = found(edges, active_rising)
    assert len(pulses) == len(began)
    assert all(-1e-9 <= pulse - true <= longest + 1e-9 for pulse, true in zip(pulses, began, strict=True))


@pytest.mark.parametrize("duty", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("hertz", [5, 20, 50, 100, 150])
def test_bounce_of_equal_spacing_is_filtered(hertz: float, duty: float) -> None:
    """Three bounces of 0.1 ms at every change, through all speeds."""
    began = series(START_S + 1, START_S + 3, hertz)
    delays = [[0.0001 * k for k in range(1, 7)]] * (2 * len(began))
    assert len(found(contact(began, [duty / hertz] * len(began), delays, True), True)) == len(began)


def test_an_open_phase_too_short_to_rest_in_is_no_loss() -> None:
    """At 150 Hz and 90 % closed the contact opens for 0.67 ms: no closing edge has quiet before it."""
    began = series(START_S + 1, START_S + 2, 150)
    edges = contact(began, [0.9 / 150] * 150, [[0.0002, 0.0004]] * 300, False)
    assert len(found(edges, False)) == 150


def test_an_edge_that_was_read_wrongly_is_no_pulse() -> None:
    """The kernel may find the level back where it was, when a contact bounces faster than it looks."""
    times = series(1, 2, 10)
    edges = [e for t in times for e in (Edge(t, True), Edge(t + 0.0001, False), Edge(t + 0.05, True))]
    assert len(found([e._replace(time_s=START_S + e.time_s) for e in edges], False)) == 10
    edges = [e for t in times for e in (Edge(t, False), Edge(t + 0.05, False), Edge(t + 0.0501, True))]
    assert len(found([e._replace(time_s=START_S + e.time_s) for e in edges], False)) == 10


def test_a_slow_reed_is_counted_once() -> None:
    """A plain dead time would count the opening's bounce of a contact that stays closed for long."""
    edges = contact([START_S + 1, START_S + 3], [1.0, 1.0], [[0.0001, 0.0002, 0.0003, 0.0004]] * 4, True)
    assert found(edges, True) == [START_S + 1, START_S + 3]


# --- hertz


def test_a_steady_signal_has_its_frequency() -> None:
    """By the time between edges, whatever the sampling."""
    subject = meter()
    subject.read(START_S + 5, falling(*series(0.1, 5, 7.3)))
    for k in range(1, 40):
        t = 5 + k * 0.25
        hertz, flags = subject.read(
            START_S + t, falling(*[s for s in series(0.1, 20, 7.3) if t - 0.25 <= s < t])
        )
        assert hertz == pytest.approx(7.3)
        assert flags == ()


def test_before_the_first_revolution_there_is_no_speed() -> None:
    """Nor is there a calm before the time for one is over."""
    subject = meter(pulses_per_rev=2)
    for t, edges in ((0.5, []), (1.0, falling(0.9)), (1.5, falling(1.1))):
        with pytest.raises(BadSample, match="waiting for the first pulses"):
            subject.read(START_S + t, edges)
    assert subject.read(START_S + 2, falling(1.6))[0] == pytest.approx(2 / 0.7)


def test_no_pulses_for_the_timeout_are_a_calm() -> None:
    """0, from the start or after the wind."""
    subject = meter(timeout_s=5)
    with pytest.raises(BadSample):
        subject.read(START_S + 4.4, [])
    assert subject.read(START_S + 5, [])[0] == 0
    subject.read(START_S + 7, falling(6, 6.1))
    assert subject.read(START_S + 11.0, [])[0] > 0
    assert subject.read(START_S + 11.1, [])[0] == 0


def test_between_pulses_the_frequency_falls_along_its_bound() -> None:
    """At most one turn in the time since the last pulse: the cup cannot be faster."""
    subject = meter()
    assert subject.read(START_S + 2, falling(*series(1, 2, 10)))[0] == pytest.approx(10)
    assert subject.read(START_S + 1.95, [])[0] == pytest.approx(10)
    assert subject.read(START_S + 2.4, [])[0] == pytest.approx(1 / 0.5)
    assert subject.read(START_S + 3.9, [])[0] == pytest.approx(1 / 2.0)


def test_the_bound_is_of_a_whole_revolution() -> None:
    """With unevenly spaced magnets a pulse may be long in coming at a steady speed."""
    subject = meter(pulses_per_rev=2)
    times = [t for k in range(10) for t in (k * 1.0, k * 1.0 + 0.2)]
    assert subject.read(START_S + 9.3, falling(*times))[0] == pytest.approx(2)
    assert subject.read(START_S + 9.95, [])[0] == pytest.approx(2)
    assert subject.read(START_S + 11.0, [])[0] == pytest.approx(1)


def test_after_a_calm_the_first_pulse_tells_of_the_calm() -> None:
    """One turn in a minute, then the wind: never a made-up speed, never a fault."""
    subject = meter()
    subject.read(START_S + 2, falling(1, 1.5))
    assert subject.read(START_S + 30, [])[0] == 0
    assert subject.read(START_S + 61.6, falling(61.5))[0] == pytest.approx(1 / 60)
    assert subject.read(START_S + 61.9, falling(61.7))[0] == pytest.approx(5)


@given(st.lists(st.floats(0.005, 1.5), min_size=20, max_size=120), st.integers(1, 3), st.floats(0.1, 0.7))
def test_samples_add_up_to_the_turns_that_were_made(gaps: list[float], per_rev: int, period_s: float) -> None:
    """Each new sample's turns span from the last sample's to its own: none twice, none left out."""
    times = list(itertools.accumulate(gaps))
    taus = [sum(times[n : n + per_rev]) / per_rev for n in range(len(times) - per_rev + 1)]
    subject, turned, now, done, tau = meter(pulses_per_rev=per_rev, timeout_s=60), 0.0, 0.0, 0, taus[0]
    while done < len(times):
        now += period_s
        new = [t for t in times[done:] if t <= now]
        done += len(new)
        if done <= per_rev:
            with contextlib.suppress(BadSample):
                subject.read(START_S + now, falling(*new))
            continue
        hertz, _ = subject.read(START_S + now, falling(*new))
        if new:
            turned += hertz * (taus[done - per_rev] - tau)
            tau = taus[done - per_rev]
        assert turned == pytest.approx(done - per_rev, abs=1e-6)


def test_edges_at_one_instant_are_no_infinite_speed() -> None:
    """A clock may be too coarse to tell them apart."""
    subject = meter()
    with pytest.raises(BadSample, match="waiting"):
        subject.read(START_S + 2, falling(1, 1, 1))
    assert subject.read(START_S + 3, falling(2.9, 2.9))[0] < 3
    assert subject.read(START_S + 3.1, falling(3.0))[0] == pytest.approx(1 / 0.1)


def test_a_model_with_clean_edges_takes_each() -> None:
    """Without a hold-off every active edge is a pulse, and others are none."""
    subject = meter()
    assert subject.read(START_S + 2, both(*series(1, 2, 1000), closed_s=0.0001))[0] == pytest.approx(1000)
    assert (subject.edges, subject.pulses) == (2000, 1000)


@pytest.mark.parametrize("timeout_s", [3.0, 5.0, 60.0])
def test_a_calm_at_the_start_is_no_long_fault(timeout_s: float) -> None:
    """A fault of 5 s would be a lost sensor: by then no pulse is no wind."""
    subject = meter(pulses_per_rev=2, timeout_s=timeout_s)
    until = min(timeout_s, 4.5)
    with pytest.raises(BadSample, match="waiting"):
        subject.read(START_S + until - 0.01, [])
    assert subject.read(START_S + until, [])[0] == 0


def test_light_air_at_the_start_is_no_long_fault() -> None:
    """Before the first revolution is done the spans between its pulses are told by the time there was."""
    subject = meter(pulses_per_rev=2, timeout_s=20)
    with pytest.raises(BadSample, match=r"waiting for the first pulses \(1 so far"):
        subject.read(START_S + 4.4, falling(1.0))
    assert subject.read(START_S + 4.5, [])[0] == 0  # one pulse alone spans no time
    assert subject.read(START_S + 5.6, falling(5.5))[0] == pytest.approx(1 / 5.6)
    assert subject.read(START_S + 10.0, falling(9.9))[0] == pytest.approx(2 / 8.9)


def test_old_news_is_bounded_too() -> None:
    """Pulses that are read long after they came tell of then: since, the cup has hardly turned."""
    subject = meter()
    assert subject.read(START_S + 0.5, falling(*series(0.1, 0.5, 20)))[0] == pytest.approx(20)
    late = falling(*series(0.5, 1.01, 20))
    assert subject.read(START_S + 5.5, late)[0] == pytest.approx(1 / 4.55, rel=0.05)
    assert subject.read(START_S + 5.55, [])[0] == pytest.approx(1 / 4.6, rel=0.05)


def test_a_new_pulse_tells_of_the_time_before_it() -> None:
    """Once a second at the slowest: a mean, so that samples add up, though the next turn is longer."""
    subject = meter()
    subject.read(START_S + 1, falling(*series(0.1, 1, 20)))
    hertz, _ = subject.read(START_S + 2, falling(1.0))
    assert hertz == pytest.approx(20)


# --- faults


def test_noise_is_a_fault_and_no_speed() -> None:
    """Edges that never leave the line quiet: their rate and the remedy, never a decaying speed or 0."""
    subject = meter(hold_off_s=HOLD_OFF_S)
    assert subject.read(START_S + 2, both(*series(1, 2, 10)))[0] == pytest.approx(10)
    for k in range(40):
        begun = 2 + k * 0.25
        noise = [Edge(START_S + begun + n * 0.0005, n % 2 == 0) for n in range(500)]
        with pytest.raises(BadSample, match=r"2000 edges a second, .*noise on the line.*hold_off_s = 0\.001"):
            subject.read(START_S + begun + 0.25, noise)
    with pytest.raises(BadSample, match="waiting"):
        subject.read(START_S + 12.25, both(12.1))
    assert subject.read(START_S + 12.5, both(12.2, 12.3))[0] == pytest.approx(10)


def test_a_hold_off_too_long_for_the_sensor_is_a_fault() -> None:
    """A fast sensor with a slow one's setting: every edge is too close to the last."""
    subject = meter(hold_off_s=0.02)
    assert subject.read(START_S + 2, both(*series(1, 2, 10), closed_s=0.03))[0] == pytest.approx(10)
    for k in range(4):
        begun = 2 + k * 0.25
        with pytest.raises(BadSample, match=r"hold_off_s = 0\.02 is too long"):
            subject.read(START_S + begun + 0.25, both(*series(begun, begun + 0.24, 100), closed_s=0.005))


def test_a_burst_of_noise_among_pulses_is_a_fault() -> None:
    """Lightning nearby: a hundred edges within 10 ms."""
    subject = meter(hold_off_s=HOLD_OFF_S)
    subject.read(START_S + 2, both(*series(1, 2, 10)))
    burst = [Edge(START_S + 2.15 + n * 0.0001, n % 2 == 0) for n in range(100)]
    with pytest.raises(BadSample, match="edges a second"):
        subject.read(START_S + 2.25, [*both(2.0, 2.1), *burst])


def test_the_worst_bounce_is_no_noise() -> None:
    """Three bounces an edge at 150 Hz are still pulses."""
    subject = meter(hold_off_s=HOLD_OFF_S)
    began = series(START_S + 1, START_S + 2, 150)
    edges = contact(began, [0.9 / 150] * 150, [[0.0001 * k for k in range(1, 7)]] * 300, False)
    assert subject.read(START_S + 2, edges)[0] == pytest.approx(150, rel=1e-3)
    assert subject.pulses == 150


def test_lost_edges_break_a_measurement_that_needs_both() -> None:
    """The sample says how many; the next is afresh, and flagged once."""
    subject = meter(hold_off_s=HOLD_OFF_S)
    assert subject.read(START_S + 2, both(*series(1, 2, 10)))[0] == pytest.approx(10)
    edges = both(*series(2, 2.5, 10))
    edges[3] = edges[3]._replace(lost=7)
    with pytest.raises(BadSample, match="7 edges lost"):
        subject.read(START_S + 2.5, edges)
    assert subject.read(START_S + 3, both(*series(2.5, 3, 10))) == (pytest.approx(10), ("edges-lost",))
    assert subject.read(START_S + 3.5, both(*series(3, 3.5, 10))) == (pytest.approx(10), ())


def test_after_a_loss_it_is_not_known_what_was_quiet() -> None:
    """The bounce that follows lost edges makes no pulse, though the last edge before them is long ago."""
    subject = meter(hold_off_s=HOLD_OFF_S)
    subject.read(START_S + 2, both(*series(1, 2, 10)))
    bounce = [Edge(START_S + 2.05, False, 3), Edge(START_S + 2.0503, True), Edge(START_S + 2.0506, False)]
    with pytest.raises(BadSample, match="3 edges lost"):
        subject.read(START_S + 2.1, [*bounce, Edge(START_S + 2.07, True)])
    assert subject.pulses == 10


def test_lost_edges_are_counted_where_each_is_a_pulse() -> None:
    """Then their number is known, and the speed with it."""
    subject = meter()
    assert subject.read(START_S + 2, falling(*series(1, 2, 100)))[0] == pytest.approx(100)
    hertz, flags = subject.read(START_S + 3, falling(*series(2.7, 3, 100), lost=70))
    assert hertz == pytest.approx(100)
    assert flags == ("edges-lost",)
    assert subject.pulses == 200
    assert subject.read(START_S + 3.5, falling(*series(3, 3.5, 100))) == (pytest.approx(100), ())


def test_restarting_forgets_the_pulses_and_keeps_the_counts() -> None:
    """A source that was gone has missed pulses."""
    subject = meter()
    subject.read(START_S + 2, falling(1, 1.5))
    subject.restart(START_S + 100)
    with pytest.raises(BadSample, match="waiting"):
        subject.read(START_S + 101, falling(100.5))
    assert subject.read(START_S + 102, falling(101))[0] == pytest.approx(2)
    assert (subject.edges, subject.pulses) == (4, 4)


def test_edges_from_before_the_restart_make_no_pulse() -> None:
    """They may come late, and are not all there were: neither a low mean nor a quiet before the next."""
    for hold_off_s in (0.0, HOLD_OFF_S):
        subject = meter(hold_off_s=hold_off_s)
        subject.read(START_S + 2, both(*series(1, 2, 20)))
        subject.restart(START_S + 62)
        with pytest.raises(BadSample, match="waiting"):
            subject.read(START_S + 62, both(2.0, 2.05, 61.9))
        with pytest.raises(BadSample, match="waiting"):
            subject.read(START_S + 62.1, both(61.95, 62.05, closed_s=0.01))
        assert subject.read(START_S + 62.2, both(62.1, 62.15))[0] == pytest.approx(20)


def test_edges_out_of_order_begin_it_afresh() -> None:
    """A clock that was compared wrongly made them: no gust and no lull of that."""
    for hold_off_s in (0.0, HOLD_OFF_S):
        subject = meter(hold_off_s=hold_off_s)
        subject.read(START_S + 2, both(*series(1, 2, 10)))
        ahead = [edge._replace(time_s=edge.time_s + 0.3) for edge in both(2.0)]
        with pytest.raises(BadSample, match="waiting"):
            subject.read(START_S + 2.2, [*ahead, *both(2.1)])
        assert subject.read(START_S + 2.5, both(2.2, 2.3, 2.4))[0] == pytest.approx(10)


# --- the gust, against the truth

CUP_MPS_PER_HZ = 0.667
STEP_S = 0.1
MINUTES = 20


@functools.cache
def gusty(seed: int) -> list[float]:
    """10 m/s with turbulence 0.2, at 10 Hz."""
    wind = SimulatedAnemometer(SimulatedAnemometer.Settings(seed=seed, mean_mps=10, turbulence_intensity=0.2))
    speeds = [wind.read(n * STEP_S).speed_mps for n in range(round(60 * MINUTES / STEP_S) + 2)]
    return [max(0.3, speed) for speed in speeds if speed is not None]


def runs(speeds: Sequence[float]) -> list[float]:
    """Metres run by each step."""
    return [0.0, *itertools.accumulate((a + b) / 2 * STEP_S for a, b in itertools.pairwise(speeds))]


def run_at(speeds: Sequence[float], metres: Sequence[float], t_s: float) -> float:
    n = int(t_s / STEP_S + 1e-9)
    rest = t_s - n * STEP_S
    return metres[n] + speeds[n] * rest + (speeds[n + 1] - speeds[n]) * rest * rest / (2 * STEP_S)


def pulses(speeds: Sequence[float], metres: Sequence[float], magnets: Sequence[float]) -> Iterator[float]:
    """When each magnet passes; ``magnets``: the shares of a revolution between them."""
    metres_per_rev = CUP_MPS_PER_HZ * len(magnets)
    due, n = 0.0, 0
    for share in itertools.cycle(magnets):
        due += share * metres_per_rev
        while metres[n + 1] <= due:
            n += 1
            if n + 2 >= len(metres):
                return
        a, slope, rest = speeds[n], (speeds[n + 1] - speeds[n]) / STEP_S, due - metres[n]
        yield n * STEP_S + 2 * rest / (a + math.sqrt(a * a + 2 * slope * rest))


def gusts(speeds: Sequence[float], magnets: Sequence[float]) -> list[tuple[float, float]]:
    """(measured, true) gust of each minute after the first."""
    metres = runs(speeds)
    coming = pulses(speeds, metres, magnets)
    next_s = next(coming)
    subject = PulseMeter(
        hold_off_s=HOLD_OFF_S, active_rising=False, since_s=START_S - 1, pulses_per_rev=len(magnets)
    )
    statistics, pairs, true = WindStatistics(4.0), [], 0.0
    for k in range(1, 60 * 4 * MINUTES):
        t = k * 0.25 + 0.013
        edges = []
        while next_s <= t:
            edges += [Edge(START_S + next_s, False), Edge(START_S + next_s + 0.003, True)]
            next_s = next(coming, math.inf)
        try:
            speed: float | None = CUP_MPS_PER_HZ * subject.read(START_S + t, edges)[0]
        except BadSample:
            speed = None
        statistics.add(WindSample(t, speed))
        for end_s in (t - 0.15, t - 0.1, t - 0.05, t):
            if end_s > 3:
                true = max(true, (run_at(speeds, metres, end_s) - run_at(speeds, metres, end_s - 3)) / 3)
        if k % 240 == 0:
            gust = statistics.close(60).gust_mps
            assert gust is not None
            pairs.append((gust, true))
            true = 0.0
    return pairs[1:]


@pytest.mark.parametrize("magnets", [(0.5, 0.5), (0.42, 0.58), (1.0,)], ids=["even", "uneven", "one"])
def test_the_gust_agrees_with_the_timed_truth(magnets: tuple[float, ...]) -> None:
    """10 m/s, turbulence 0.2, a cup of 0.667 m/s per Hz: bias within 0.02 m/s, rms within 0.05 m/s."""
    pairs = [pair for seed in (1, 2, 3) for pair in gusts(gusty(seed), magnets)]
    errors = [measured - true for measured, true in pairs]
    assert abs(sum(errors) / len(errors)) <= 0.02
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) <= 0.05
