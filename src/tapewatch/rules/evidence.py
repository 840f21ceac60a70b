"""Which series feed an alert, and whether they are still there.

An alert is *fed* by the series that its rule's selectors found when the condition was last true
and whose labels agree with the alert's own. What stands inside ``absent()`` feeds nothing: there,
silence is the condition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapewatch.model.clock import MINUTE
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import (
    Call,
    Expr,
    MatrixSelector,
    SubqueryExpr,
    VectorSelector,
    children,
    selectors,
)
from tapewatch.rules.agreement import AgreementIndex
from tapewatch.rules.queries import NewestSamples, Queries
from tapewatch.rules.state import Flags
from tapewatch.series.querier import Times

Fed = tuple[frozenset[Labels], ...]
"""For each selector of the rule, the label sets that fed the alert."""

_ABSENT = frozenset(("absent", "absent_over_time"))
_LOOKBACK_NS = 5 * MINUTE


class Evidence:
    """The selectors of one rule that can feed its alerts."""

    def __init__(self, expr: Expr) -> None:
        self.selectors = tuple(selectors(expr))
        """All of them, those inside ``absent()`` included."""
        self.feeding = tuple(_feeding(expr))
        """An expression for each selector that feeds: its rows are the series that are there."""

    @property
    def can_vanish(self) -> bool:
        """False for a rule that reads nothing but absence."""
        return bool(self.feeding)

    def arrived(self, newest: NewestSamples, late: Times) -> set[Labels]:
        """Return the series that have samples at any of these instants."""
        fresh: set[Labels] = set()
        for selector in self.selectors:
            for piece in newest.select(selector.matchers, int(late[0]), int(late[-1])):
                if piece.labels not in fresh and bool(np.isin(piece.times, late).any()):
                    fresh.add(piece.labels)
        return fresh


class _Presence:
    """When the series of one selector had a value; NaN is none."""

    def __init__(self, queries: Queries, expr: Expr, times: Times) -> None:
        matrix = queries.at(expr, times)
        self.labels = matrix.labels
        self.known: Flags = matrix.present & ~np.isnan(matrix.values)
        self.index = AgreementIndex(matrix.labels)
        self._rows = {labels: row for row, labels in enumerate(matrix.labels)}

    def feeding(self, row: Labels, column: int) -> frozenset[Labels]:
        """Return the agreeing series that have a value at one of the instants."""
        found = (r for r in self.index.agreeing(row) if self.known[r, column])
        return frozenset(self.labels[r] for r in found)

    def seen(self, wanted: frozenset[Labels]) -> Flags:
        """Return at which instants any of these series has a value."""
        return self._any([self._rows[labels] for labels in wanted if labels in self._rows])

    def seen_agreeing(self, row: Labels) -> Flags:
        """Return at which instants any agreeing series has a value."""
        return self._any(self.index.agreeing(row))

    def _any(self, rows: list[int]) -> Flags:
        return np.asarray(self.known[rows].any(axis=0), dtype=np.bool_)


class EvidenceView:
    """The evidence for all alerts of a rule over the instants of one evaluation.

    Every selector is asked at most once for these instants, and once for each earlier instant
    that matters, however many alerts end. Nothing is asked while no alert does.
    """

    def __init__(self, evidence: Evidence, queries: Queries, times: Times) -> None:
        self._evidence = evidence
        self._queries = queries
        self._times = times
        self._now: list[_Presence] | None = None
        self._before: dict[int, list[_Presence]] = {}

    def fed_at(self, row: Labels, column: int) -> Fed:
        """Return what fed the alert of a result row at one of the instants."""
        return tuple(presence.feeding(row, column) for presence in self._presences())

    def fed_before(self, row: Labels, at_ns: int) -> Fed:
        """Return what fed it at an earlier instant."""
        presences = self._before.get(at_ns)
        if presences is None:
            presences = self._before[at_ns] = self._ask(np.array([at_ns], dtype=np.int64))
        return tuple(presence.feeding(row, 0) for presence in presences)

    def vanished(self, row: Labels, fed: Fed) -> Flags:
        """Return at which of the instants what fed the alert was gone.

        It is gone when for one selector none of the series that fed the alert has a value. If
        nothing is known to have fed it (a restart lost the memory), it is gone while no selector
        finds anything that agrees with the alert.
        """
        gone = np.zeros(len(self._times), dtype=np.bool_)
        if not any(fed):
            for presence in self._presences():
                gone |= presence.seen_agreeing(row)
            return ~gone
        for presence, wanted in zip(self._presences(), fed, strict=True):
            if wanted:
                gone |= ~presence.seen(wanted)
        return gone

    def _presences(self) -> list[_Presence]:
        if self._now is None:
            self._now = self._ask(self._times)
        return self._now

    def _ask(self, times: Times) -> list[_Presence]:
        return [_Presence(self._queries, expr, times) for expr in self._evidence.feeding]


def _feeding(expr: Expr) -> Iterator[Expr]:
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
