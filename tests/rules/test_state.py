"""The alert state machine: Prometheus's table of states, and many instants as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.alert import AlertState, TransitionReason
from tapewatch.rules.state import INACTIVE, Instance, Observation, Timing, advance, step

NO_TIMING = Timing()
PENDING, FIRING, UNKNOWN = AlertState.PENDING, AlertState.FIRING, AlertState.UNKNOWN
TRUE, FALSE, VANISHED = Observation.TRUE, Observation.FALSE, Observation.VANISHED
R = TransitionReason


def walk(
    observations: str, timing: Timing = NO_TIMING, *, each: int = 10
) -> list[tuple[int, AlertState | None, TransitionReason]]:
    """Apply T(rue), F(alse) and V(anished) every ``each`` ns; return the changes."""
    kinds = {"T": TRUE, "F": FALSE, "V": VANISHED}
    instance, out = INACTIVE, []
    for index, letter in enumerate(observations):
        instance, reason = step(instance, kinds[letter], index * each, timing)
        if reason is not None:
            out.append((index * each, instance.phase, reason))
    return out


def test_without_for_the_alert_fires_at_once() -> None:
    assert walk("FT") == [(10, FIRING, R.CONDITION_TRUE)]


def test_with_for_it_is_pending_first_and_fires_when_the_time_is_up() -> None:
    assert walk("TTTT", Timing(for_ns=20)) == [
        (0, PENDING, R.CONDITION_TRUE),
        (20, FIRING, R.HELD_FOR),
    ]


def test_for_is_over_at_its_very_end() -> None:
    assert walk("TT", Timing(for_ns=10))[-1] == (10, FIRING, R.HELD_FOR)
    assert walk("TT", Timing(for_ns=11))[-1] == (0, PENDING, R.CONDITION_TRUE)


def test_a_pending_alert_that_clears_vanishes_and_starts_anew() -> None:
    assert walk("TFTTT", Timing(for_ns=20)) == [
        (0, PENDING, R.CONDITION_TRUE),
        (10, None, R.CONDITION_CLEARED),
        (20, PENDING, R.CONDITION_TRUE),
        (40, FIRING, R.HELD_FOR),
    ]


def test_a_firing_alert_that_clears_is_resolved() -> None:
    assert walk("TF")[-1] == (10, None, R.CONDITION_CLEARED)


def test_keep_firing_for_delays_the_end_and_a_true_condition_stops_the_delay() -> None:
    timing = Timing(keep_firing_for_ns=20)
    assert walk("TFFF", timing)[-1] == (30, None, R.CONDITION_CLEARED)
    assert walk("TFTFF", timing) == [(0, FIRING, R.CONDITION_TRUE)]
    assert walk("TFTFFF", timing)[-1] == (50, None, R.CONDITION_CLEARED)


@pytest.mark.requirement("F59")
def test_a_firing_alert_whose_series_vanish_is_unknown_and_not_resolved() -> None:
    assert walk("TVV") == [(0, FIRING, R.CONDITION_TRUE), (10, UNKNOWN, R.SERIES_VANISHED)]


def test_unknown_ends_with_what_the_returning_series_say() -> None:
    assert walk("TVT")[-1] == (20, FIRING, R.SERIES_RETURNED)
    assert walk("TVF")[-1] == (20, None, R.CONDITION_CLEARED)


def test_vanishing_during_keep_firing_for_is_unknown() -> None:
    assert walk("TFV", Timing(keep_firing_for_ns=100))[-1] == (20, UNKNOWN, R.SERIES_VANISHED)


def test_a_pending_alert_whose_series_vanish_vanishes_too() -> None:
    assert walk("TV", Timing(for_ns=100))[-1] == (10, None, R.CONDITION_CLEARED)


def test_the_firing_alert_remembers_since_when_the_condition_held() -> None:
    pending, _ = step(INACTIVE, TRUE, 5, Timing(for_ns=20))
    firing, _ = step(pending, TRUE, 30, Timing(for_ns=20))
    assert firing == Instance(FIRING, 5, 30)


observed = st.lists(st.sampled_from([TRUE, TRUE, FALSE, VANISHED]), min_size=0, max_size=40)
gaps = st.lists(st.integers(1, 30), min_size=40, max_size=40)
durations = st.sampled_from([0, 0, 1, 10, 25, 60])
states = st.sampled_from(
    [
        INACTIVE,
        Instance(PENDING, -20),
        Instance(FIRING, -40, -20),
        Instance(FIRING, -40, -20, -10),
        Instance(UNKNOWN, -40, -20),
    ]
)


@given(states, observed, gaps, durations, durations, st.booleans())
def test_many_instants_at_once_change_what_one_after_the_other_change(
    start: Instance,
    observations: list[Observation],
    spaces: list[int],
    for_ns: int,
    keep_ns: int,
    tells_vanished: bool,
) -> None:
    if not tells_vanished:
        observations = [FALSE if o is VANISHED else o for o in observations]
    timing = Timing(for_ns, keep_ns)
    times = np.cumsum(np.array(spaces[: len(observations)], dtype=np.int64))
    expected = []
    instance = start
    for index, (at, observation) in enumerate(zip(times.tolist(), observations, strict=True)):
        before = instance
        instance, reason = step(instance, observation, at, timing)
        if reason is not None:
            expected.append((before, instance, at, index, reason))
    asked = 0

    def vanished() -> np.ndarray:
        nonlocal asked
        asked += 1
        return np.array([o is VANISHED for o in observations], dtype=np.bool_)

    after, changes = advance(
        start,
        times,
        np.array([o is TRUE for o in observations], dtype=np.bool_),
        timing,
        vanished if tells_vanished else None,
    )
    assert [(c.before, c.after, c.at_ns, c.index, c.reason) for c in changes] == expected
    assert after == instance
    assert asked <= 1
