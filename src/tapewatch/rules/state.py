"""The state machine of one alert: Prometheus's, and the state ``unknown`` beside it.

An alert's condition is observed at instants. Between being not true and firing it is *pending*
for the rule's ``for``; between the condition clearing and being resolved it goes on firing for
``keep_firing_for``. Where the observer can tell that the condition is not true because the series
that fed it have *vanished*, a firing alert becomes *unknown* and not resolved.

``step`` is the machine, one instant at a time. ``advance`` gives the same for many instants at
once and looks only at those where something can change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from tapewatch.model.alert import AlertState, TransitionReason
from tapewatch.series.querier import Times

Flags = npt.NDArray[np.bool_]


class Observation(IntEnum):
    """What was found at an instant."""

    FALSE = 0
    TRUE = 1
    VANISHED = 2
    """Not true, because series that fed the alert are no longer there."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The two durations of a rule, in nanoseconds."""

    for_ns: int = 0
    keep_firing_for_ns: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """Where one alert stands; ``phase`` None means inactive."""

    phase: AlertState | None = None
    active_at_ns: int = 0
    """When the condition turned true; meaningless while inactive."""
    fired_at_ns: int | None = None
    cleared_at_ns: int | None = None
    """Since when a firing alert's condition is not true and ``keep_firing_for`` runs."""


INACTIVE = Instance()


@dataclass(frozen=True, slots=True)
class Change:
    """One change of state. ``after.phase`` None is the end: resolved, or pending and vanished."""

    before: Instance
    after: Instance
    at_ns: int
    index: int
    """Position of the instant among those given to ``advance``."""
    reason: TransitionReason


def step(
    instance: Instance, observation: Observation, now_ns: int, timing: Timing
) -> tuple[Instance, TransitionReason | None]:
    """Return the state after one instant, and why it changed; None when the phase did not."""
    if observation is Observation.TRUE:
        return _step_true(instance, now_ns, timing)
    return _step_not_true(instance, observation, now_ns, timing)


def _step_true(
    instance: Instance, now_ns: int, timing: Timing
) -> tuple[Instance, TransitionReason | None]:
    if instance.phase is None:
        if timing.for_ns:
            return Instance(AlertState.PENDING, now_ns), TransitionReason.CONDITION_TRUE
        fired = Instance(AlertState.FIRING, now_ns, now_ns)
        return fired, TransitionReason.CONDITION_TRUE
    if instance.phase is AlertState.PENDING:
        if now_ns - instance.active_at_ns < timing.for_ns:
            return instance, None
        fired = Instance(AlertState.FIRING, instance.active_at_ns, now_ns)
        return fired, TransitionReason.HELD_FOR
    if instance.phase is AlertState.UNKNOWN:
        return replace(instance, phase=AlertState.FIRING), TransitionReason.SERIES_RETURNED
    return replace(instance, cleared_at_ns=None), None


def _step_not_true(
    instance: Instance, observation: Observation, now_ns: int, timing: Timing
) -> tuple[Instance, TransitionReason | None]:
    if instance.phase is None:
        return instance, None
    if instance.phase is AlertState.PENDING:
        return INACTIVE, TransitionReason.CONDITION_CLEARED
    if observation is Observation.VANISHED:
        if instance.phase is AlertState.UNKNOWN:
            return instance, None
        unknown = replace(instance, phase=AlertState.UNKNOWN, cleared_at_ns=None)
        return unknown, TransitionReason.SERIES_VANISHED
    if instance.phase is AlertState.FIRING:
        since = now_ns if instance.cleared_at_ns is None else instance.cleared_at_ns
        if now_ns - since < timing.keep_firing_for_ns:
            return replace(instance, cleared_at_ns=since), None
    return INACTIVE, TransitionReason.CONDITION_CLEARED


def deadline_ns(instance: Instance, timing: Timing) -> int | None:
    """Return when the passing of time alone may change the state; None if it cannot."""
    if instance.phase is AlertState.PENDING:
        return instance.active_at_ns + timing.for_ns
    if instance.phase is AlertState.FIRING and instance.cleared_at_ns is not None:
        return instance.cleared_at_ns + timing.keep_firing_for_ns
    return None


def advance(
    instance: Instance,
    times: Times,
    truth: Flags,
    timing: Timing,
    vanished: Callable[[], Flags] | None = None,
) -> tuple[Instance, list[Change]]:
    """Apply many instants at once.

    Args:
        instance: The state before them.
        times: The instants, rising.
        truth: Whether the condition held at each.
        timing: The rule's durations.
        vanished: Asked at most once, and only if the answer matters: at which instants the
            series that fed the alert were gone. None: nobody can tell, so never.

    Returns:
        The state after the last instant and the changes in order; the same that ``step`` gives
        when it is applied to one instant after the other.
    """
    changes: list[Change] = []
    gone: Flags | None = None

    def observe(observation: Observation, start: int, end: int) -> None:
        """Step where a phase can change: at a run's first instant and at a deadline inside it."""
        nonlocal instance
        index = start
        while index < end:
            after, reason = step(instance, observation, int(times[index]), timing)
            if reason is not None:
                changes.append(Change(instance, after, int(times[index]), index, reason))
            instance = after
            deadline = deadline_ns(instance, timing)
            if deadline is None:
                return
            index = max(index + 1, int(np.searchsorted(times, deadline)))

    for start, end in _runs(truth):
        if truth[start]:
            observe(Observation.TRUE, start, end)
        elif instance.phase is None:
            continue
        elif vanished is None or instance.phase is AlertState.PENDING:
            observe(Observation.FALSE, start, end)
        else:
            if gone is None:
                gone = vanished()
            for inner, inner_end in _runs(gone[start:end]):
                seen = Observation.VANISHED if gone[start + inner] else Observation.FALSE
                observe(seen, start + inner, start + inner_end)
    return instance, changes


def _runs(flags: Flags) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each stretch of equal flags."""
    if not len(flags):
        return
    start = 0
    for edge in (np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist():
        yield start, edge
        start = edge
    yield start, len(flags)
