"""Between scalars and vectors, something and nothing: scalar, vector, absent, sort."""

from __future__ import annotations

from functools import cmp_to_key
from typing import cast

import numpy as np

from tapewatch.model.labels import EMPTY, METRIC_NAME, Labels
from tapewatch.promql.ast import Expr, MatrixSelector, VectorSelector, unwrap
from tapewatch.promql.functions.registry import (
    MATRIX,
    SCALAR,
    STRING,
    VECTOR,
    Function,
    Implementation,
    Invocation,
)
from tapewatch.promql.natural import compare_naturally
from tapewatch.promql.values import Bools, Floats, Vector, Windows
from tapewatch.series.querier import MatchType


def _scalar(call: Invocation) -> Floats:
    """Return the value of the only series at each step, else NaN."""
    vector = cast(Vector, call.args[0])
    alone = vector.present.sum(axis=0) == 1
    only = np.where(vector.present, vector.values, 0.0).sum(axis=0)
    return np.where(alone, only, np.nan)


def _vector(call: Invocation) -> Vector:
    values = cast(Floats, call.args[0])[None, :]
    return Vector([EMPTY], values, np.ones(values.shape, dtype=np.bool_), True)


def absent_labels(arg: Expr) -> Labels:
    """Return what is known of a series that is not there: its ``=`` matchers, each used once."""
    arg = unwrap(arg)
    if isinstance(arg, MatrixSelector):
        arg = arg.selector
    if not isinstance(arg, VectorSelector):
        return EMPTY
    known: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in arg.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.type is MatchType.EQUAL and matcher.name not in seen:
            known[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            known.pop(matcher.name, None)
    return Labels(known)


def _where_nothing(call: Invocation, present: Bools) -> Vector:
    nothing = ~np.logical_or.reduce(present, axis=0)[None, :]
    if not nothing.any():
        return Vector([], np.zeros((0, call.steps)), np.zeros((0, call.steps), np.bool_), True)
    labels = absent_labels(call.node.args[0])
    return Vector([labels], np.ones(nothing.shape), nothing, True)


def _absent(call: Invocation) -> Vector:
    return _where_nothing(call, cast(Vector, call.args[0]).present)


def _absent_over_time(call: Invocation) -> Vector:
    return _where_nothing(call, cast(Windows, call.args[0]).counts() > 0)


def _sort(*, descending: bool) -> Implementation:
    def run(call: Invocation) -> Vector:
        vector = cast(Vector, call.args[0])
        if not call.evaluation.instant or vector.values.shape[1] != 1:
            return vector
        values = vector.values[:, 0]
        missing = np.isnan(values)
        order = np.lexsort((-values if descending else values, missing))
        return _arranged(vector, order.tolist())

    return run


def _sort_by_label(*, descending: bool) -> Implementation:
    def run(call: Invocation) -> Vector:
        vector = cast(Vector, call.args[0])
        if not call.evaluation.instant or vector.values.shape[1] != 1:
            return vector
        vector = call.evaluation.labels.settle(vector)
        names = cast("list[str]", list(call.args[1:]))

        def compare(a: int, b: int) -> int:
            one, other = vector.labels[a], vector.labels[b]
            for name in names:
                order = compare_naturally(one.get(name), other.get(name))
                if order:
                    return order
            return -1 if one.pairs < other.pairs else 1

        order = sorted(range(vector.rows), key=cmp_to_key(compare), reverse=descending)
        return _arranged(vector, order)

    return run


def _arranged(vector: Vector, order: list[int]) -> Vector:
    return Vector(
        [vector.labels[row] for row in order],
        vector.values[order],
        vector.present[order],
        vector.one_name,
        vector.drops_name,
        ordered=True,
    )


FUNCTIONS = (
    Function("scalar", (VECTOR,), _scalar, returns=SCALAR),
    Function("vector", (SCALAR,), _vector),
    Function("absent", (VECTOR,), _absent),
    Function("absent_over_time", (MATRIX,), _absent_over_time),
    Function("sort", (VECTOR,), _sort(descending=False)),
    Function("sort_desc", (VECTOR,), _sort(descending=True)),
    Function("sort_by_label", (VECTOR, STRING), _sort_by_label(descending=False), variadic=-1),
    Function("sort_by_label_desc", (VECTOR, STRING), _sort_by_label(descending=True), variadic=-1),
)
