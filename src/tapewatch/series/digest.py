"""The digests of all columns of a table at once."""

from __future__ import annotations

from typing import NamedTuple

from tapewatch.model.labels import Labels
from tapewatch.series.querier import Digest


class ColumnDigests(NamedTuple):
    """The digests of all columns of a table that share one window, without the labels."""

    first_ns: int
    last_ns: int
    lows: list[float]
    highs: list[float]
    lasts: list[float]

    def of(self, labels: Labels, column: int) -> Digest:
        """Return the digest of one column."""
        return Digest(
            labels,
            self.first_ns,
            self.last_ns,
            self.lows[column],
            self.highs[column],
            self.lasts[column],
        )
