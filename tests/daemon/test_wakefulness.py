"""The daemon's own sleep is told from its work, wherever in a round it falls."""

from __future__ import annotations

import pytest

from tapewatch.daemon.wakefulness import Wakefulness
from tapewatch.model.clock import HOUR, MILLISECOND, SECOND


@pytest.mark.requirement("F8", "F50")
def test_a_gap_between_two_rounds_is_sleep() -> None:
    awake = Wakefulness(0)
    awake.begin(SECOND, 0)
    awake.end(SECOND + MILLISECOND, MILLISECOND)

    assert awake.begin(8 * HOUR, MILLISECOND) == 8 * HOUR - SECOND - MILLISECOND
    assert awake.awake_ns(8 * HOUR) == SECOND + MILLISECOND
    assert awake.begin(8 * HOUR + 10 * MILLISECOND, MILLISECOND) == 0, "counted once"


@pytest.mark.requirement("F50")
def test_a_freeze_in_the_middle_of_a_round_is_sleep() -> None:
    awake = Wakefulness(0)
    awake.begin(SECOND, 0)
    awake.end(8 * HOUR, 3 * MILLISECOND)

    assert awake.begin(8 * HOUR, 3 * MILLISECOND) == 8 * HOUR - SECOND - 3 * MILLISECOND


@pytest.mark.requirement("F6")
def test_a_round_that_works_long_is_no_sleep_and_a_stall_meanwhile_is_one() -> None:
    awake = Wakefulness(0)
    awake.begin(SECOND, 0)
    awake.end(6 * SECOND, 5 * SECOND)

    assert awake.begin(6 * SECOND + 2 * MILLISECOND, 5 * SECOND) == 0
    assert awake.awake_ns(7 * SECOND) == 7 * SECOND


def test_short_waits_never_add_up_to_sleep() -> None:
    awake = Wakefulness(0)
    for n in range(1, 1001):
        assert awake.begin(n * 10 * MILLISECOND, 0) == 0
        awake.end(n * 10 * MILLISECOND, 0)
    assert awake.slept_ns == 0


def test_processor_time_of_other_threads_never_makes_sleep_negative() -> None:
    awake = Wakefulness(0)
    awake.begin(SECOND, 0)
    awake.end(2 * SECOND, 2 * SECOND)
    awake.begin(2 * SECOND, 2 * SECOND)

    assert awake.slept_ns == 0
