"""The numbers beside an alert's message: its threshold, and related values of the same engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import BinaryExpr, Expr, NumberLiteral, unwrap, walk
from tapewatch.rules.agreement import AgreementIndex
from tapewatch.rules.queries import Queries

THRESHOLD = "threshold"
MAX_INSTANTS = 32
"""Instants of one evaluation whose alerts get looked-up values; later ones get the threshold."""
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

    A storm must not be made longer by explaining it: alerts of one instant share its look-ups,
    and of one evaluation's instants only the first ``MAX_INSTANTS`` are looked up at all.

    Args:
        expr: The rule's expression; its threshold is part of every context.
        wanted: Expressions by the name their value gets.
    """

    def __init__(self, expr: Expr, wanted: Mapping[str, Expr]) -> None:
        self._threshold = threshold_of(expr)
        self._wanted = wanted
        self._found: dict[int, dict[str, _Found]] = {}

    def forget(self) -> None:
        """Drop what was looked up: a new evaluation begins."""
        self._found.clear()

    def look_up(
        self, queries: Queries, alert: Labels, at_ns: int
    ) -> dict[str, float | str | bool | None]:
        """Return the context of an alert at an instant; None stands for what has no value."""
        context: dict[str, float | str | bool | None] = {}
        if self._threshold is not None:
            context[THRESHOLD] = self._threshold
        found = self._found.get(at_ns)
        if found is None:
            if len(self._found) >= MAX_INSTANTS:
                return context
            found = self._found[at_ns] = {
                name: _Found(queries, expr, at_ns) for name, expr in self._wanted.items()
            }
        for name, values in found.items():
            context[name] = values.of(alert)
        return context


class _Found:
    """One expression's value at one instant, ready to be asked for many alerts."""

    def __init__(self, queries: Queries, expr: Expr, at_ns: int) -> None:
        self._constant = expr.value if isinstance(expr, NumberLiteral) else None
        self._values: list[float] = []
        rows: list[Labels] = []
        if self._constant is None:
            try:
                found = queries.at(expr, np.array([at_ns], dtype=np.int64))
                pairs = sorted(zip(found.labels, found.values[:, 0].tolist(), strict=True))
                rows = [labels for labels, _ in pairs]
                self._values = [value for _, value in pairs]
            except QueryError:
                pass  # what explains an alert must never keep it from being raised
        self._index = AgreementIndex(rows)

    def of(self, alert: Labels) -> float | None:
        """Return the value whose labels agree with the alert's; the first of several."""
        if self._constant is not None:
            return self._constant
        agreeing = self._index.agreeing(alert)
        return self._values[agreeing[0]] if agreeing else None
