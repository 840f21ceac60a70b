"""Functions over the samples of a window: sums, extremes, quantiles, trends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tapewatch.model.clock import SECOND
from tapewatch.promql import kahan
from tapewatch.promql.functions.registry import (
    MATRIX,
    SCALAR,
    Function,
    Implementation,
    Invocation,
)
from tapewatch.promql.quantile import quantile, warn_of_quantile
from tapewatch.promql.values import Bools, Floats, Ints, Vector, Windows, alive_rows, pick

_EXACT = float(1 << 53)
_FEW = 24
"""When all windows together hold less than this many times the longest, plain Python is faster."""


@dataclass(slots=True)
class Chosen:
    """The windows that hold enough samples, in one row: window k is [lo[k], hi[k])."""

    call: Invocation
    windows: Windows
    mask: Bools
    """Which (row, step) the windows belong to, shape (m, n)."""
    lo: Ints
    hi: Ints

    def spread(self, per_step: np.ndarray[Any, Any]) -> Any:
        """Return a value per step as a value per window."""
        if len(per_step) == 1:
            return np.repeat(per_step, len(self.lo))
        return np.broadcast_to(per_step, self.mask.shape)[self.mask]

    def each(self, compute: Callable[[list[float]], float]) -> Floats:
        """Compute window by window from its values in order."""
        values, check = self.windows.values, self.call.evaluation.check
        out = np.empty(len(self.lo))
        for k, (begin, end) in enumerate(zip(self.lo.tolist(), self.hi.tolist(), strict=True)):
            check()
            out[k] = compute(values[begin:end].tolist())
        return out


def per_window(
    call: Invocation,
    windows: Windows,
    compute: Callable[[Chosen], Floats],
    *,
    least: int = 1,
    keep_name: bool = False,
) -> Vector:
    """Compute a value for every window with at least so many samples; the others give nothing."""
    mask = windows.counts() >= least
    values = np.zeros(mask.shape)
    if mask.any():
        values[mask] = compute(Chosen(call, windows, mask, windows.lo[mask], windows.hi[mask]))
    alive = alive_rows(mask)
    labels = windows.labels
    if not alive.all():
        labels = pick(labels, alive)
        values, mask = values[alive], mask[alive]
    result = Vector(labels, values, mask, windows.one_name)
    if keep_name:
        return result
    return call.evaluation.drop_name(call.node, result, strict=True)


State = tuple[Any, ...]
Add = Callable[[Any, Any, Any], tuple[Any, Any]]
Body = Callable[[Add, State, Any, Any, Any], State]
"""One step of a recurrence: (compensated add, state, value, time, window's base) -> state. Written
with plain operators, so it runs on floats as well as on arrays of many windows."""


def fold(chosen: Chosen, body: Body, size: int, base: Any) -> State:
    """Run a recurrence over the samples of every window, in order, from a state of zeros.

    Args:
        chosen: The windows.
        body: One step.
        size: Numbers in the state.
        base: One number per window that the step may use.

    Returns:
        The final state: ``size`` arrays with one element per window.
    """
    lengths = chosen.hi - chosen.lo
    longest = int(lengths.max())
    if int(lengths.sum()) < _FEW * longest:
        return _fold_each(chosen, body, size, base)
    values, times = chosen.windows.values, chosen.windows.times
    order = np.argsort(-lengths, kind="stable")
    lo, base, sorted_lengths = chosen.lo[order], base[order], lengths[order]
    state = tuple(np.zeros(len(order)) for _ in range(size))
    active = len(order)
    for k in range(longest):
        chosen.call.evaluation.check()
        active = int(np.searchsorted(-sorted_lengths, -k, side="left"))
        at = lo[:active] + k
        part = tuple(numbers[:active] for numbers in state)
        part = body(kahan.add_arrays, part, values[at], times[at], base[:active])
        for numbers, new in zip(state, part, strict=True):
            numbers[:active] = new
    out = []
    for numbers in state:
        back = np.empty_like(numbers)
        back[order] = numbers
        out.append(back)
    return tuple(out)


def _fold_each(chosen: Chosen, body: Body, size: int, base: Any) -> State:
    values, times = chosen.windows.values, chosen.windows.times
    out = np.empty((size, len(chosen.lo)))
    bounds = zip(chosen.lo.tolist(), chosen.hi.tolist(), base.tolist(), strict=True)
    for k, (begin, end, own) in enumerate(bounds):
        chosen.call.evaluation.check()
        state: State = (0.0,) * size
        column = zip(values[begin:end].tolist(), times[begin:end].tolist(), strict=True)
        for value, time in column:
            state = body(kahan.add, state, value, time, own)
        out[:, k] = state
    return tuple(out)


def _sum_body(add: Add, state: State, value: Any, time: Any, base: Any) -> State:
    return add(value, *state)


def _exact_sums(chosen: Chosen) -> Floats | None:
    """Return the sums by differences of a running sum, if no addition can round."""
    values = chosen.windows.values
    if not np.abs(values).sum() < _EXACT or (values != np.rint(values)).any():
        return None
    running = np.zeros(len(values) + 1)
    np.cumsum(values, out=running[1:])
    result: Floats = running[chosen.hi] - running[chosen.lo]
    return result


def _sum(chosen: Chosen) -> Floats:
    if len(chosen.lo) < 4:
        return chosen.each(kahan.total)
    exact = _exact_sums(chosen)
    if exact is not None:
        return exact
    total, carry = fold(chosen, _sum_body, 2, chosen.lo)
    result: Floats = np.where(np.isinf(total), total, total + carry)
    return result


def _avg(chosen: Chosen) -> Floats:
    if len(chosen.lo) < 4:
        return chosen.each(kahan.mean)
    counts = (chosen.hi - chosen.lo).astype(np.float64)
    exact = _exact_sums(chosen)
    if exact is not None:
        return exact / counts
    total, carry = fold(chosen, _sum_body, 2, chosen.lo)
    out: Floats = total / counts + carry / counts
    for k in np.flatnonzero(~np.isfinite(total)).tolist():
        out[k] = kahan.mean(chosen.windows.values[chosen.lo[k] : chosen.hi[k]].tolist())
    return out


def _variance(chosen: Chosen) -> Floats:
    """Return the population variance by Welford's recurrence with compensated sums."""

    def body(add: Add, state: State, value: Any, time: Any, base: Any) -> State:
        count, mean, mean_carry, squares, squares_carry = state
        count = count + 1.0
        delta = value - (mean + mean_carry)
        mean, mean_carry = add(delta / count, mean, mean_carry)
        squares, squares_carry = add(delta * (value - (mean + mean_carry)), squares, squares_carry)
        return count, mean, mean_carry, squares, squares_carry

    count, _, _, squares, carry = fold(chosen, body, 5, chosen.lo)
    result: Floats = (squares + carry) / count
    return result


def _deviation(chosen: Chosen) -> Floats:
    return np.sqrt(_variance(chosen))


def _extreme(ufunc: np.ufunc) -> Callable[[Chosen], Floats]:
    def compute(chosen: Chosen) -> Floats:
        # Pairs (lo, hi) reduce the window at even places; the NaN lets hi point behind the end.
        values = np.append(chosen.windows.values, np.nan)
        bounds = np.stack([chosen.lo, chosen.hi], axis=1).ravel()
        result: Floats = ufunc.reduceat(values, bounds)[::2]
        return result

    return compute


def _mad(values: list[float]) -> float:
    column = np.array(values)
    middle = quantile(0.5, column)
    return quantile(0.5, np.abs(column - middle))


def _time_of(best: Callable[[float, float], bool]) -> Callable[[Chosen], Floats]:
    """Return when a window's best sample was taken; the last one of equals."""

    def compute(chosen: Chosen) -> Floats:
        def place(values: list[float]) -> float:
            at = 0
            for i, value in enumerate(values):
                if best(value, values[at]) or values[at] != values[at]:
                    at = i
            return float(at)

        places = chosen.each(place).astype(np.int64)
        result: Floats = chosen.windows.times[chosen.lo + places] / SECOND
        return result

    return compute


def _quantile_over_time(call: Invocation) -> Vector:
    levels = cast(Floats, call.args[0])
    warn_of_quantile(call.evaluation, call.node.args[0], levels)

    def compute(chosen: Chosen) -> Floats:
        own = iter(chosen.spread(levels).tolist())
        return chosen.each(lambda values: quantile(next(own), np.array(values)))

    return per_window(call, call.args[1], compute)


def _regression(chosen: Chosen, base: Ints) -> tuple[Floats, Floats]:
    """Fit a line to each window by least squares.

    Args:
        chosen: The windows, at least two samples each.
        base: Nanoseconds per window at which the intercept is taken.

    Returns:
        Slope per second and intercept; a constant window has slope 0 exactly, NaN if infinite.
    """

    def body(add: Add, state: State, value: Any, time: Any, base: Any) -> State:
        x = (time - base) / SECOND
        sums: list[Any] = [state[0] + 1.0]
        for i, term in enumerate((x, value, x * value, x * x)):
            sums.extend(add(term, state[1 + 2 * i], state[2 + 2 * i]))
        return tuple(sums)

    n, x, cx, y, cy, xy, cxy, x2, cx2 = fold(chosen, body, 9, base)
    x, y, xy, x2 = x + cx, y + cy, xy + cxy, x2 + cx2
    slope = (xy - x * y / n) / (x2 - x * x / n)
    intercept = y / n - slope * x / n
    values = chosen.windows.values
    moved = np.zeros(len(values), dtype=np.int64)
    np.cumsum(values[1:] != values[:-1], out=moved[1:])
    constant = moved[chosen.hi - 1] == moved[chosen.lo]
    first = values[chosen.lo]
    flat = np.where(np.isinf(first), np.nan, 0.0)
    return np.where(constant, flat, slope), np.where(constant, first + flat, intercept)


def _deriv(chosen: Chosen) -> Floats:
    return _regression(chosen, chosen.windows.times[chosen.lo])[0]


def _predict_linear(call: Invocation) -> Vector:
    ahead = cast(Floats, call.args[1])

    def compute(chosen: Chosen) -> Floats:
        # Relative to the evaluation time, whatever offset or @ moved the window.
        slope, intercept = _regression(chosen, chosen.spread(call.times))
        result: Floats = slope * chosen.spread(ahead) + intercept
        return result

    return per_window(call, call.args[0], compute, least=2)


def _smooth(call: Invocation) -> Vector:
    """Holt's linear smoothing: level and trend, each a weighted mean of old and new."""
    level_factors, trend_factors = cast(Floats, call.args[1]), cast(Floats, call.args[2])
    windows = cast(Windows, call.args[0])
    if windows.rows:
        for name, factors in (("smoothing", level_factors), ("trend", trend_factors)):
            bad = ~((factors > 0) & (factors < 1))
            if bad.any():
                call.evaluation.fail(
                    call.node,
                    f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, "
                    f"got: {factors[bad][0]:f}",
                )

    def compute(chosen: Chosen) -> Floats:
        own = zip(
            chosen.spread(level_factors).tolist(),
            chosen.spread(trend_factors).tolist(),
            strict=True,
        )
        return chosen.each(lambda values: _smoothed(values, *next(own)))

    return per_window(call, windows, compute, least=2)


def _smoothed(values: list[float], level_factor: float, trend_factor: float) -> float:
    before, level, trend = 0.0, values[0], values[1] - values[0]
    for i in range(1, len(values)):
        if i > 1:
            trend = trend_factor * (level - before) + (1 - trend_factor) * trend
        before, level = (
            level,
            level_factor * values[i] + (1 - level_factor) * (level + trend),
        )
    return level


def _over_time(
    name: str, compute: Callable[[Chosen], Floats], *, keep_name: bool = False
) -> Function:
    def run(call: Invocation) -> Vector:
        return per_window(call, call.args[0], compute, keep_name=keep_name)

    implementation: Implementation = run
    return Function(name, (MATRIX,), implementation)


FUNCTIONS = (
    _over_time("sum_over_time", _sum),
    _over_time("avg_over_time", _avg),
    _over_time("min_over_time", _extreme(np.fmin)),
    _over_time("max_over_time", _extreme(np.fmax)),
    _over_time("count_over_time", lambda chosen: (chosen.hi - chosen.lo).astype(np.float64)),
    _over_time("present_over_time", lambda chosen: np.ones(len(chosen.lo))),
    _over_time(
        "last_over_time", lambda chosen: chosen.windows.values[chosen.hi - 1], keep_name=True
    ),
    _over_time("first_over_time", lambda chosen: chosen.windows.values[chosen.lo], keep_name=True),
    _over_time("stdvar_over_time", _variance),
    _over_time("stddev_over_time", _deviation),
    _over_time("mad_over_time", lambda chosen: chosen.each(_mad)),
    _over_time("ts_of_first_over_time", lambda chosen: chosen.windows.times[chosen.lo] / SECOND),
    _over_time("ts_of_last_over_time", lambda chosen: chosen.windows.times[chosen.hi - 1] / SECOND),
    _over_time("ts_of_max_over_time", _time_of(lambda value, best: value >= best)),
    _over_time("ts_of_min_over_time", _time_of(lambda value, best: value <= best)),
    Function("quantile_over_time", (SCALAR, MATRIX), _quantile_over_time),
    Function("deriv", (MATRIX,), lambda call: per_window(call, call.args[0], _deriv, least=2)),
    Function(
        "predict_linear", (MATRIX, SCALAR), _predict_linear, depends_on_time=lambda node: True
    ),
    Function("double_exponential_smoothing", (MATRIX, SCALAR, SCALAR), _smooth),
)
