"""Classic histograms: quantiles and fractions from buckets labelled ``le``."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import Expr
from tapewatch.promql.functions.registry import SCALAR, VECTOR, Function, Invocation
from tapewatch.promql.quantile import Bucket, bucket_fraction, bucket_quantile, warn_of_quantile
from tapewatch.promql.values import Floats, Vector

_BOUND = "le"


def parse_bound(text: str) -> float | None:
    """Return a bucket's upper bound, or None when the label is no number."""
    if "_" in text or text != text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _histograms(
    call: Invocation, arg: Expr, vector: Vector
) -> dict[Labels, list[tuple[float, int]]]:
    """Return each histogram's bounds and rows under its labels, still with the metric name."""
    found: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(vector.labels):
        bound = parse_bound(labels.get(_BOUND))
        if bound is None:
            text = (
                f'bucket label "le" is missing or has a malformed value of "{labels.get(_BOUND)}"'
            )
            call.evaluation.warn(arg, text + _for_metric(labels))
            continue
        found.setdefault(labels.without(_BOUND), []).append((bound, row))
    return found


def _for_metric(labels: Labels) -> str:
    return f' for metric name "{labels.name}"' if labels.name else ""


def _per_histogram(
    call: Invocation, position: int, compute: Callable[[int, list[Bucket], Labels], float]
) -> Vector:
    """Compute one value per histogram and step from the buckets that are there."""
    arg = call.node.args[position]
    vector = call.evaluation.labels.settle(cast(Vector, call.args[position]))
    histograms = _histograms(call, arg, vector)
    shape = (len(histograms), call.steps)
    values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for i, (labels, members) in enumerate(histograms.items()):
        call.evaluation.check()
        bounds = [bound for bound, _ in members]
        rows = [row for _, row in members]
        counts, there = vector.values[rows], vector.present[rows]
        for step in np.flatnonzero(there.any(axis=0)).tolist():
            column = zip(bounds, counts[:, step].tolist(), there[:, step].tolist(), strict=True)
            buckets = [(bound, count) for bound, count, is_there in column if is_there]
            values[i, step] = compute(step, buckets, labels)
            present[i, step] = True
    final = [one.without(METRIC_NAME) for one in histograms]
    return call.evaluation.unite(call.node, Vector(final, values, present, True))


def _quantile(call: Invocation) -> Vector:
    levels = cast(Floats, call.args[0])
    warn_of_quantile(call.evaluation, call.node.args[0], levels)

    def compute(step: int, buckets: list[Bucket], labels: Labels) -> float:
        value, mended = bucket_quantile(levels.item(step), buckets)
        if mended:
            call.evaluation.info(
                call.node.args[1],
                "input to histogram_quantile needed to be fixed for monotonicity (see "
                "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                "#histogram_quantile)" + _for_metric(labels),
            )
        return value

    return _per_histogram(call, 1, compute)


def _fraction(call: Invocation) -> Vector:
    lower, upper = cast(Floats, call.args[0]), cast(Floats, call.args[1])

    def compute(step: int, buckets: list[Bucket], labels: Labels) -> float:
        return bucket_fraction(lower.item(step), upper.item(step), buckets)

    return _per_histogram(call, 2, compute)


FUNCTIONS = (
    Function("histogram_quantile", (SCALAR, VECTOR), _quantile),
    Function("histogram_fraction", (SCALAR, SCALAR, VECTOR), _fraction),
)
