"""What a window of a series comes to: its ends, its extremes and its newest value."""

from __future__ import annotations

from typing import NamedTuple

from tapewatch.model.labels import Labels
from tapewatch.series.querier import SeriesSlice


class Digest(NamedTuple):
    """One series' samples in a window; there is at least one."""

    labels: Labels
    first_ns: int
    last_ns: int
    low: float
    """The smallest value; NaN when one of them is NaN."""
    high: float
    """The largest value; NaN when one of them is NaN."""
    last: float
    """The value at ``last_ns``."""

    @classmethod
    def of(cls, samples: SeriesSlice) -> Digest:
        """Return the digest of these samples."""
        times, values = samples.times, samples.values
        return cls(
            samples.labels,
            int(times[0]),
            int(times[-1]),
            float(values.min()),
            float(values.max()),
            float(values[-1]),
        )


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
