"""The numbers beside an alert's message: its threshold, and related values of the same engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import BinaryExpr, Expr, NumberLiteral, unwrap, walk
from tapewatch.rules.evidence import agrees
from tapewatch.rules.queries import Queries

THRESHOLD = "threshold"
_ORDERED = frozenset(("<", ">", "<=", ">="))


def threshold_of(expr: Expr) -> float | None:
    """Return the constant that the first ordered comparison in an expression compares with."""
    for node in walk(expr):
        if isinstance(node, BinaryExpr) and node.op in _ORDERED:
            for side in (node.rhs, node.lhs):
                constant = unwrap(side)
                if isinstance(constant, NumberLiteral):
                    return constant.value
    return None


class RuleContext:
    """What is looked up for each alert of one rule.

    Args:
        expr: The rule's expression; its threshold is part of every context.
        wanted: Expressions by the name their value gets.
    """

    def __init__(self, expr: Expr, wanted: Mapping[str, Expr]) -> None:
        self._threshold = threshold_of(expr)
        self._wanted = wanted

    def look_up(
        self, queries: Queries, alert: Labels, at_ns: int
    ) -> dict[str, float | str | bool | None]:
        """Return the context of an alert at an instant; None stands for what has no value."""
        context: dict[str, float | str | bool | None] = {}
        if self._threshold is not None:
            context[THRESHOLD] = self._threshold
        for name, expr in self._wanted.items():
            context[name] = _value(queries, expr, alert, at_ns)
        return context


def _value(queries: Queries, expr: Expr, alert: Labels, at_ns: int) -> float | None:
    if isinstance(expr, NumberLiteral):
        return expr.value
    try:
        found = queries.at(expr, np.array([at_ns], dtype=np.int64))
    except QueryError:
        return None  # what explains an alert must never keep it from being raised
    about = alert.without(METRIC_NAME)
    for row in sorted(range(len(found.labels)), key=lambda i: found.labels[i].pairs):
        if found.present[row, 0] and agrees(found.labels[row], about):
            return float(found.values[row, 0])
    return None
