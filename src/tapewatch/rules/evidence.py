"""Which series feed an alert, and whether they are still there.

An alert is *fed* by the series that its rule's selectors found when the condition was last true
and whose labels agree with the alert's own: every label that both have is equal. What stands
inside ``absent()`` feeds nothing: there, silence is the condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tapewatch.model.clock import MINUTE
from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import (
    Call,
    Expr,
    MatrixSelector,
    SubqueryExpr,
    VectorSelector,
    children,
    selectors,
)
from tapewatch.promql.result import StepMatrix
from tapewatch.rules.queries import NewestSamples, Queries
from tapewatch.rules.state import Flags
from tapewatch.series.querier import Times

Fed = tuple[frozenset[Labels], ...]
"""For each selector of the rule, the label sets that fed the alert."""

_ABSENT = frozenset(("absent", "absent_over_time"))
_LOOKBACK_NS = 5 * MINUTE


def agrees(series: Labels, row: Labels) -> bool:
    """Return True when no label that both sets have differs; the metric name does not count."""
    return all(
        row.get(name) == value
        for name, value in series.pairs
        if name != METRIC_NAME and name in row
    )


class Evidence:
    """The selectors of one rule that can feed its alerts."""

    def __init__(self, expr: Expr) -> None:
        self.selectors = tuple(selectors(expr))
        """All of them, those inside ``absent()`` included."""
        self._feeding = tuple(_feeding(expr))

    @property
    def can_vanish(self) -> bool:
        """False for a rule that reads nothing but absence."""
        return bool(self._feeding)

    def fed(self, queries: Queries, row: Labels, at_ns: int) -> Fed:
        """Return what fed the alert of a result row at an instant."""
        instant = np.array([at_ns], dtype=np.int64)
        return tuple(
            frozenset(_agreeing(queries.at(selector, instant), row)) for selector in self._feeding
        )

    def vanished(self, queries: Queries, row: Labels, fed: Fed, times: Times) -> Flags:
        """Return at which instants what fed the alert was gone.

        It is gone when for one selector none of the series that fed the alert has a value. If
        nothing is known to have fed it (a restart lost the memory), it is gone while no selector
        finds anything that agrees with the alert.
        """
        found = [queries.at(selector, times) for selector in self._feeding]
        if not any(fed):
            seen = np.zeros(len(times), dtype=np.bool_)
            for matrix in found:
                seen |= _seen(matrix, set(_agreeing(matrix, row)))
            return ~seen
        gone = np.zeros(len(times), dtype=np.bool_)
        for matrix, wanted in zip(found, fed, strict=True):
            if wanted:
                gone |= ~_seen(matrix, wanted)
        return gone

    def arrived(self, newest: NewestSamples, late: Times) -> set[Labels]:
        """Return the series that have samples at any of these instants."""
        fresh: set[Labels] = set()
        for selector in self.selectors:
            for piece in newest.select(selector.matchers, int(late[0]), int(late[-1])):
                if piece.labels not in fresh and bool(np.isin(piece.times, late).any()):
                    fresh.add(piece.labels)
        return fresh


def _feeding(expr: Expr) -> Iterator[Expr]:
    """Yield an expression for each selector: its rows are the series that are there."""
    stack: list[tuple[Expr, int]] = [(expr, 0)]
    while stack:
        node, window = stack.pop()
        if isinstance(node, Call) and node.func in _ABSENT:
            continue
        if isinstance(node, VectorSelector) and not window:
            yield node
        elif isinstance(node, VectorSelector | MatrixSelector):
            selector = node.selector if isinstance(node, MatrixSelector) else node
            reach = node.range_ns if isinstance(node, MatrixSelector) else _LOOKBACK_NS
            yield Call("last_over_time", (MatrixSelector(selector, reach + window),))
        else:
            wider = window + node.range_ns if isinstance(node, SubqueryExpr) else window
            stack.extend((child, wider) for child in reversed(children(node)))


def _agreeing(matrix: StepMatrix, row: Labels) -> Iterable[Labels]:
    return (labels for labels in matrix.labels if agrees(labels, row))


def _seen(matrix: StepMatrix, wanted: Iterable[Labels]) -> Flags:
    """Return at which instants any of these series has a value; NaN says nothing."""
    chosen = frozenset(wanted)
    rows: Sequence[int] = [i for i, labels in enumerate(matrix.labels) if labels in chosen]
    known = matrix.present[rows] & ~np.isnan(matrix.values[rows])
    return np.asarray(known.any(axis=0), dtype=np.bool_)
