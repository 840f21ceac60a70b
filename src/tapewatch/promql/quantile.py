"""Quantiles of samples and of classic histogram buckets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tapewatch.promql.ast import Expr
from tapewatch.promql.printer import format_number
from tapewatch.promql.values import Bools, Floats

if TYPE_CHECKING:
    from tapewatch.promql.evaluation import Evaluation

_SMALL_DELTA = 1e-12
"""Relative difference between bucket counts that is rounding, not data."""
_TINIEST = 2.2250738585072014e-308

Bucket = tuple[float, float]
"""Upper bound and cumulative count."""


def warn_of_quantile(evaluation: Evaluation, node: Expr, levels: Floats) -> None:
    """Note quantile levels that lie outside [0, 1]."""
    for level in dict.fromkeys(levels.tolist()) if len(levels) > 1 else levels.tolist():
        if not 0 <= level <= 1:
            evaluation.warn(
                node, f"quantile value should be between 0 and 1, got {format_number(level)}"
            )


def quantile(level: float, values: Floats) -> float:
    """Return the quantile of samples in any order, linear between neighbours.

    NaN sorts as the smallest value. A level below 0 gives -Inf, above 1 +Inf; no value or a NaN
    level gives NaN.
    """
    if not len(values) or math.isnan(level):
        return math.nan
    if level < 0:
        return -math.inf
    if level > 1:
        return math.inf
    numbers: list[float] = [value for value in values.tolist() if not math.isnan(value)]
    ordered = [math.nan] * (len(values) - len(numbers)) + sorted(numbers)
    rank = level * (len(ordered) - 1)
    lower = max(0, math.floor(rank))
    upper = min(len(ordered) - 1, lower + 1)
    weight = rank - math.floor(rank)
    return ordered[lower] * (1 - weight) + ordered[upper] * weight


def bucket_quantile(level: float, buckets: list[Bucket]) -> tuple[float, bool]:
    """Return the quantile of a classic histogram and whether its counts had to be mended.

    Args:
        level: The quantile; outside [0, 1] as `quantile`.
        buckets: Cumulative buckets in any order, at least one.

    Returns:
        NaN without a +Inf bucket, with fewer than two buckets or without observations. In the
        last bucket the second-highest bound; inside a bucket linear; the first bucket begins at 0
        unless its bound is not positive, when the bound is the answer.
    """
    if math.isnan(level):
        return math.nan, False
    if level < 0:
        return -math.inf, False
    if level > 1:
        return math.inf, False
    merged = merge_buckets(buckets)
    if merged is None:
        return math.nan, False
    bounds, counts = merged
    mended = _make_monotonic(counts)
    if len(bounds) < 2 or counts[-1] == 0:
        return math.nan, mended
    rank = level * counts[-1]
    last = len(bounds) - 1
    at = next((i for i in range(last) if counts[i] >= rank), last)
    if at == last:
        return bounds[last - 1], mended
    if at == 0:
        if bounds[0] <= 0:
            return bounds[0], mended
        return bounds[0] * _ratio(rank, counts[0]), mended
    start, below = bounds[at - 1], counts[at - 1]
    return start + (bounds[at] - start) * _ratio(rank - below, counts[at] - below), mended


def bucket_quantiles(levels: Floats, bounds: Floats, counts: Floats) -> tuple[Floats, Bools]:
    """Return `bucket_quantile` of many histograms with the same bounds.

    Args:
        levels: One level per histogram, shape (k,).
        bounds: Rising upper bounds, at least two, the last one +Inf; shape (b,).
        counts: Cumulative counts, shape (b, k).

    Returns:
        The quantiles and which histograms had to be mended, both of shape (k,).
    """
    counts, mended = _make_all_monotonic(counts)
    rank = levels * counts[-1]
    last = len(bounds) - 1
    reached = counts[:-1] >= rank
    at = np.where(reached.any(axis=0), reached.argmax(axis=0), last)
    inner = np.minimum(at, last - 1)
    column = np.arange(counts.shape[1])
    first = inner == 0
    start = np.where(first, 0.0, bounds[inner - 1])
    below = np.where(first, 0.0, counts[inner - 1, column])
    share = (rank - below) / (counts[inner, column] - below)
    values = start + (bounds[inner] - start) * share
    values = np.where(first & (bounds[0] <= 0), bounds[0], values)
    values = np.where(at == last, bounds[last - 1], values)
    values = np.where(counts[-1] == 0, np.nan, values)
    values = np.where(levels < 0, -np.inf, np.where(levels > 1, np.inf, values))
    return np.where(np.isnan(levels), np.nan, values), mended & (levels >= 0) & (levels <= 1)


def _make_all_monotonic(counts: Floats) -> tuple[Floats, Bools]:
    """Lift counts that fall, as `_make_monotonic`, for all columns at once."""
    lifted = counts.copy()
    forced = np.zeros(counts.shape[1], dtype=np.bool_)
    for i in range(1, len(lifted)):
        previous, current = lifted[i - 1], lifted[i]
        size, difference = np.abs(previous) + np.abs(current), np.abs(previous - current)
        tiny = (previous == 0) | (current == 0) | (size < _TINIEST)
        close = np.where(
            tiny,
            difference < _SMALL_DELTA * _TINIEST,
            difference / np.minimum(size, np.finfo(np.float64).max) < _SMALL_DELTA,
        )
        fell = current < previous
        forced |= fell & ~close
        lifted[i] = np.where((close & (current != previous)) | fell, previous, current)
    return lifted, forced


def bucket_fraction(lower: float, upper: float, buckets: list[Bucket]) -> float:
    """Return the share of a classic histogram's observations between two bounds."""
    merged = merge_buckets(buckets)
    if merged is None:
        return math.nan
    bounds, counts = merged
    total = counts[-1]
    if total == 0 or math.isnan(total) or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    return (_rank_of(upper, bounds, counts) - _rank_of(lower, bounds, counts)) / total


def _rank_of(value: float, bounds: list[float], counts: list[float]) -> float:
    """Return how many observations lie below a value."""
    rank = 0.0
    start = min(0.0, bounds[0])
    for bound, count in zip(bounds, counts, strict=True):
        if start >= value:
            return min(rank, counts[-1])
        if bound > value:
            return min(rank + (count - rank) * (value - start) / (bound - start), counts[-1])
        rank, start = count, bound
    return counts[-1]


def merge_buckets(buckets: list[Bucket]) -> tuple[list[float], list[float]] | None:
    """Return rising bounds and their counts, equal bounds added up; None without +Inf."""
    ordered = sorted(buckets, key=lambda b: b[0])
    if ordered[-1][0] != math.inf:
        return None
    bounds: list[float] = []
    counts: list[float] = []
    for bound, count in ordered:
        if bounds and bounds[-1] == bound:
            counts[-1] += count
        else:
            bounds.append(bound)
            counts.append(count)
    return bounds, counts


def _make_monotonic(counts: list[float]) -> bool:
    """Lift counts that fall; tell whether one fell by more than rounding."""
    forced = False
    previous = counts[0]
    for i in range(1, len(counts)):
        current = counts[i]
        if current == previous:
            continue
        if _almost_equal(previous, current):
            counts[i] = previous
        elif current < previous:
            counts[i] = previous
            forced = True
        else:
            previous = current
    return forced


def _almost_equal(a: float, b: float) -> bool:
    if math.isnan(a) and math.isnan(b):
        return True
    size, difference = abs(a) + abs(b), abs(a - b)
    if a == 0 or b == 0 or size < _TINIEST:
        return difference < _SMALL_DELTA * _TINIEST
    return difference / min(size, np.finfo(np.float64).max) < _SMALL_DELTA


def _ratio(part: float, whole: float) -> float:
    if whole == 0:
        return math.nan if part == 0 or math.isnan(part) else math.copysign(math.inf, part)
    return part / whole
