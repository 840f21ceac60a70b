"""An engine is judged by tick progress on the daemon's awake time."""

from __future__ import annotations

import pytest

from tapewatch.ingest.liveness import EngineLife, EngineState
from tapewatch.model.clock import MILLISECOND, SECOND


def life(cadence_ns: int = SECOND, grace_ns: int = 30 * SECOND) -> EngineLife:
    threshold = EngineLife.stall_threshold_ns(cadence_ns, 60 * SECOND)
    return EngineLife(stall_after_ns=threshold, grace_ns=grace_ns, since_ns=0)


@pytest.mark.parametrize(
    ("cadence", "threshold"),
    [(SECOND, 3 * SECOND), (100 * MILLISECOND, 2 * SECOND), (0, 60 * SECOND)],
)
@pytest.mark.requirement("S5-09", "S5-21")
def test_the_stall_threshold_is_three_cadences_and_at_least_two_seconds(
    cadence: int, threshold: int
) -> None:
    assert EngineLife.stall_threshold_ns(cadence, 60 * SECOND) == threshold


@pytest.mark.requirement("S5-48", "S5-69", "F6", "F7")
def test_a_stall_begins_strictly_after_the_threshold_and_a_tick_ends_it() -> None:
    engine = life()
    engine.started(0)
    engine.ticked(10 * SECOND)

    assert not engine.judge(13 * SECOND)
    assert engine.judge(13 * SECOND + 1)
    assert engine.state is EngineState.STALLED
    assert not engine.judge(14 * SECOND), "a stall is told once"

    engine.ticked(15 * SECOND)
    assert engine.state is EngineState.RUNNING


@pytest.mark.requirement("S5-90")
def test_a_heartbeat_that_never_began_has_its_grace_and_then_is_a_stall() -> None:
    engine = life(grace_ns=5 * SECOND)
    engine.started(100 * SECOND)

    assert not engine.judge(105 * SECOND)
    assert engine.judge(106 * SECOND)
    assert engine.state is EngineState.STALLED


def test_a_configured_engine_that_never_comes_is_told_after_its_grace() -> None:
    engine = life(grace_ns=5 * SECOND)

    assert engine.state is EngineState.EXPECTED
    assert engine.judge(6 * SECOND)
    assert engine.state is EngineState.NEVER_STARTED


@pytest.mark.parametrize(
    ("goodbye", "state"), [(True, EngineState.STOPPED), (False, EngineState.CRASHED)]
)
def test_an_end_with_a_goodbye_is_a_stop_and_without_one_a_crash(
    goodbye: bool, state: EngineState
) -> None:
    engine = life()
    engine.started(0)
    engine.ticked(SECOND)
    engine.died(2 * SECOND, goodbye=goodbye)

    assert engine.state is state
    assert not engine.state.is_live
    assert not engine.judge(999 * SECOND), "the dead do not stall"


def test_a_restart_under_the_same_name_begins_a_new_life() -> None:
    engine = life()
    engine.started(0)
    engine.ticked(SECOND)
    engine.died(2 * SECOND, goodbye=False)
    engine.started(5 * SECOND)

    assert engine.state is EngineState.STARTING
    assert engine.progress_ns is None
