"""Classic histograms: quantiles and fractions from buckets labelled ``le``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import numpy as np

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import Expr
from tapewatch.promql.functions.registry import SCALAR, VECTOR, Function, Invocation
from tapewatch.promql.quantile import (
    Bucket,
    bucket_fraction,
    bucket_quantile,
    bucket_quantiles,
    warn_of_quantile,
)
from tapewatch.promql.values import Floats, Vector, derived

_BOUND = "le"
Histograms = dict[Labels, list[tuple[float, int]]]
"""Each histogram's bounds and rows, under its labels, still with the metric name."""
_MENDED = (
    "input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)


def parse_bound(text: str) -> float | None:
    """Return a bucket's upper bound, or None when the label is no number."""
    if "_" in text or text != text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _histograms(call: Invocation, arg: Expr, vector: Vector) -> Histograms:
    """Return the histograms of a vector; warn of rows that belong to none."""
    found, malformed = derived(vector.labels, "histograms", lambda: _gathered(vector.labels))
    for labels in malformed:
        text = f'bucket label "le" is missing or has a malformed value of "{labels.get(_BOUND)}"'
        call.evaluation.warn(arg, text + _for_metric(labels))
    return found


def _gathered(rows: list[Labels]) -> tuple[Histograms, list[Labels]]:
    """Return the histograms, bounds rising, and the labels of rows without a valid bound."""
    found: Histograms = {}
    malformed = []
    for row, labels in enumerate(rows):
        bound = parse_bound(labels.get(_BOUND))
        if bound is None:
            malformed.append(labels)
        else:
            found.setdefault(labels.without(_BOUND), []).append((bound, row))
    for members in found.values():
        members.sort()
    return found, malformed


def _for_metric(labels: Labels) -> str:
    return f' for metric name "{labels.name}"' if labels.name else ""


def _scalar_cells(
    call: Invocation,
    vector: Vector,
    members: list[tuple[float, int]],
    steps: Iterable[int],
    compute: Callable[[int, list[Bucket]], float],
    out: Floats,
) -> None:
    """Compute a histogram at some steps one by one, from the buckets that are there."""
    for step in steps:
        call.evaluation.check()
        buckets = [
            (bound, vector.values.item(row, step))
            for bound, row in members
            if vector.present[row, step]
        ]
        out[step] = compute(step, buckets)


def _result(
    call: Invocation,
    vector: Vector,
    histograms: Histograms,
    values: Floats,
) -> Vector:
    """Return a value per histogram, present where any of its buckets is."""
    present = np.ones(values.shape, dtype=np.bool_)
    if not vector.present.all():
        for i, members in enumerate(histograms.values()):
            present[i] = vector.present[[row for _, row in members]].any(axis=0)
    final = [labels.without(METRIC_NAME) for labels in histograms]
    return call.evaluation.unite(call.node, Vector(final, values, present, True))


def _quantile(call: Invocation) -> Vector:
    levels = cast(Floats, call.args[0])
    warn_of_quantile(call.evaluation, call.node.args[0], levels)
    vector = call.evaluation.labels.settle(cast(Vector, call.args[1]))
    histograms = _histograms(call, call.node.args[1], vector)
    values = np.zeros((len(histograms), call.steps))
    alike: dict[tuple[float, ...], list[tuple[int, Labels, list[tuple[float, int]]]]] = {}
    for i, (labels, members) in enumerate(histograms.items()):
        alike.setdefault(tuple(bound for bound, _ in members), []).append((i, labels, members))
    for bounds, group in alike.items():
        _quantiles_of_group(call, vector, levels, np.array(bounds), group, values)
    return _result(call, vector, histograms, values)


def _quantiles_of_group(
    call: Invocation,
    vector: Vector,
    levels: Floats,
    bounds: Floats,
    group: list[tuple[int, Labels, list[tuple[float, int]]]],
    out: Floats,
) -> None:
    """Fill in the quantiles of histograms that have the same bounds."""
    call.evaluation.check()
    rows = np.array([[row for _, row in members] for _, _, members in group])
    whole = vector.present[rows].all(axis=1)
    regular = len(bounds) > 1 and bounds[-1] == np.inf and bool((np.diff(bounds) > 0).all())
    if not regular:
        whole[:] = False
    column, step = np.nonzero(whole)
    counts = vector.values[rows][column, :, step].T
    mended: set[int] = set()
    if len(column):
        found, lifted = bucket_quantiles(levels[step], bounds, counts)
        out[np.array([i for i, _, _ in group])[column], step] = found
        mended.update(column[lifted].tolist())

    everywhere = whole.all(axis=1)
    for k, (i, labels, members) in enumerate(group):
        if not everywhere[k]:

            def one(step: int, buckets: list[Bucket], k: int = k) -> float:
                value, was_mended = bucket_quantile(levels.item(step), buckets)
                if was_mended:
                    mended.add(k)
                return value

            there = vector.present[rows[k]].any(axis=0)
            rest = np.flatnonzero(there & ~whole[k]).tolist()
            _scalar_cells(call, vector, members, rest, one, out[i])
        if k in mended:
            call.evaluation.info(call.node.args[1], _MENDED + _for_metric(labels))


def _fraction(call: Invocation) -> Vector:
    lower, upper = cast(Floats, call.args[0]), cast(Floats, call.args[1])
    vector = call.evaluation.labels.settle(cast(Vector, call.args[2]))
    histograms = _histograms(call, call.node.args[2], vector)
    values = np.zeros((len(histograms), call.steps))

    def one(step: int, buckets: list[Bucket]) -> float:
        return bucket_fraction(lower.item(step), upper.item(step), buckets)

    for i, members in enumerate(histograms.values()):
        there = vector.present[[row for _, row in members]].any(axis=0)
        _scalar_cells(call, vector, members, np.flatnonzero(there).tolist(), one, values[i])
    return _result(call, vector, histograms, values)


FUNCTIONS = (
    Function("histogram_quantile", (SCALAR, VECTOR), _quantile),
    Function("histogram_fraction", (SCALAR, SCALAR, VECTOR), _fraction),
)
