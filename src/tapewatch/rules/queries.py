"""What the rules need of the query engine and of the newest samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tapewatch.promql.ast import Expr
from tapewatch.promql.result import StepMatrix
from tapewatch.series.querier import Digest, Matcher, SeriesSlice, Times


class Queries(Protocol):
    """Evaluates an expression; ``tapewatch.promql.QueryEngine`` does."""

    def at(self, expr: Expr, times: Times) -> StepMatrix:
        """Return the expression's value at rising instants.

        Raises:
            QueryError: These data do not allow an answer, or it takes too much.
        """
        ...


class NewestSamples(Protocol):
    """Finds samples that have just arrived; the head does."""

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return matching series with their samples in [start, end]."""
        ...

    def digest(
        self, selections: Sequence[Sequence[Matcher]], start_ns: int, end_ns: int
    ) -> list[list[Digest]]:
        """Return for each selection the digests of its series with samples in [start, end]."""
        ...
