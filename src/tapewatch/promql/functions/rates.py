"""Functions of how series change: rates with extrapolation, differences, resets, changes."""

from __future__ import annotations

import numpy as np

from tapewatch.model.clock import SECOND
from tapewatch.promql.functions.ranges import Chosen, per_window
from tapewatch.promql.functions.registry import MATRIX, Function, Implementation, Invocation
from tapewatch.promql.values import Bools, Floats, Ints, Vector, Windows

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")
_NEAR = 1.1
"""An edge nearer than this many average spacings counts as reached by the series."""


def _hint_about_counters(call: Invocation, result: Vector) -> None:
    """Remark on metrics whose name does not look like a counter's."""
    names = {labels.name for labels in (result.labels[:1] if result.one_name else result.labels)}
    for name in sorted(names):
        if name and not name.endswith(_COUNTER_SUFFIXES):
            call.evaluation.info(
                call.node.args[0],
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"',
            )


def _extrapolated(*, counter: bool, per_second: bool) -> Implementation:
    def compute(chosen: Chosen) -> Floats:
        windows, lo, hi = chosen.windows, chosen.lo, chosen.hi
        first, last = windows.values[lo], windows.values[hi - 1]
        first_time, last_time = windows.times[lo], windows.times[hi - 1]
        change = last - first
        if counter:
            change = _with_resets(windows, lo, hi, change)
        to_start = (first_time - chosen.spread(windows.starts)) / SECOND
        to_end = (chosen.spread(windows.ends) - last_time) / SECOND
        sampled = (last_time - first_time) / SECOND
        spacing = sampled / (hi - lo - 1)
        to_start = np.where(to_start >= spacing * _NEAR, spacing / 2, to_start)
        if counter:
            to_zero = sampled * (first / change)
            limited = (change > 0) & (first >= 0) & (to_zero < to_start)
            to_start = np.where(limited, to_zero, to_start)
        to_end = np.where(to_end >= spacing * _NEAR, spacing / 2, to_end)
        factor = (sampled + to_start + to_end) / sampled
        if per_second:
            factor = factor / (windows.range_ns / SECOND)
        return change * factor

    def run(call: Invocation) -> Vector:
        result = per_window(call, call.args[0], compute, least=2, keep_name=True)
        if counter:
            _hint_about_counters(call, result)
        return call.evaluation.drop_name(call.node, result, strict=True)

    return run


def _falls(windows: Windows) -> Ints:
    """Return the flat indices of samples that are less than the one before."""
    values = windows.values
    return np.flatnonzero(values[1:] < values[:-1]) + 1


def _with_resets(windows: Windows, lo: Ints, hi: Ints, change: Floats) -> Floats:
    """Add the value before each counter reset inside a window, in order."""
    falls = _falls(windows)
    if not len(falls):
        return change
    begin = np.searchsorted(falls, lo, side="right")
    end = np.searchsorted(falls, hi, side="left")
    change = change.copy()
    for k in range(int((end - begin).max(initial=0))):
        active = np.flatnonzero(begin + k < end)
        change[active] += windows.values[falls[begin[active] + k] - 1]
    return change


def _instantaneous(*, rate: bool) -> Implementation:
    def compute(chosen: Chosen) -> Floats:
        windows, hi = chosen.windows, chosen.hi
        last, previous = windows.values[hi - 1], windows.values[hi - 2]
        if not rate:
            return last - previous
        change = np.where(last < previous, last, last - previous)
        return change / ((windows.times[hi - 1] - windows.times[hi - 2]) / SECOND)

    def run(call: Invocation) -> Vector:
        return per_window(call, call.args[0], compute, least=2)

    return run


def _count_between(windows: Windows, lo: Ints, hi: Ints, flags: Bools) -> Floats:
    """Return how many samples of each window, but its first, are flagged against the one before."""
    running = np.zeros(len(windows.values), dtype=np.int64)
    np.cumsum(flags, out=running[1:])
    return (running[hi - 1] - running[lo]).astype(np.float64)


def _changes(chosen: Chosen) -> Floats:
    values = chosen.windows.values
    both_nan = np.isnan(values[1:]) & np.isnan(values[:-1])
    return _count_between(
        chosen.windows, chosen.lo, chosen.hi, (values[1:] != values[:-1]) & ~both_nan
    )


def _resets(chosen: Chosen) -> Floats:
    values = chosen.windows.values
    return _count_between(chosen.windows, chosen.lo, chosen.hi, values[1:] < values[:-1])


FUNCTIONS = (
    Function("rate", (MATRIX,), _extrapolated(counter=True, per_second=True)),
    Function("increase", (MATRIX,), _extrapolated(counter=True, per_second=False)),
    Function("delta", (MATRIX,), _extrapolated(counter=False, per_second=False)),
    Function("irate", (MATRIX,), _instantaneous(rate=True)),
    Function("idelta", (MATRIX,), _instantaneous(rate=False)),
    Function("changes", (MATRIX,), lambda call: per_window(call, call.args[0], _changes)),
    Function("resets", (MATRIX,), lambda call: per_window(call, call.args[0], _resets)),
)
