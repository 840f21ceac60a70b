"""A run of rows of one table: one time column, k value columns, filled from the left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tapewatch.series.querier import Times, Values, is_stale

MAX_ROWS = 8192
"""Rows of a full block; also the size of the chunks that are written from it."""
MIN_ROWS = 64
_MAX_CELLS = 1 << 17
"""A full block of a wide table has fewer rows, so that it stays at about one megabyte."""
_FIRST_ROWS = 16


class Block:
    """Rows in rising time. Rows that are written never change: a merge makes a new block.

    A value column is contiguous, so that a reader of one series touches nothing else.
    """

    __slots__ = ("holes", "persisted", "rows", "times", "values")

    def __init__(self, columns: int, capacity: int) -> None:
        self.times: Times = np.empty(capacity, np.int64)
        self.values: Values = np.empty((columns, capacity), np.float64)
        self.rows = 0
        self.persisted = 0
        """Rows from the left that the sample store has."""
        self.holes = False
        """True when a cell may be absent: a NaN that is no sample."""

    @classmethod
    def of(cls, times: Times, values: Values, *, persisted: int, holes: bool) -> Block:
        """Return a full block around these arrays, without a copy."""
        block = cls.__new__(cls)
        block.times, block.values = times, values
        block.rows, block.persisted, block.holes = len(times), persisted, holes
        return block

    @property
    def capacity(self) -> int:
        """Rows that fit."""
        return len(self.times)

    @property
    def cells(self) -> int:
        """Cells in use, absent ones included."""
        return self.rows * len(self.values)

    @property
    def first_ns(self) -> int:
        """Time of the first row; the block must not be empty."""
        return int(self.times[0])

    @property
    def last_ns(self) -> int:
        """Time of the last row; the block must not be empty."""
        return int(self.times[self.rows - 1])

    def range(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Return the half-open range of rows with a time in [start, end]."""
        times = self.times[: self.rows]
        return (
            int(times.searchsorted(start_ns, "left")),
            int(times.searchsorted(end_ns, "right")),
        )

    def rows_until(self, end_ns: int) -> int:
        """Return the number of rows with a time up to ``end_ns``, itself included."""
        return int(self.times[: self.rows].searchsorted(end_ns, "right"))


def next_capacity(columns: int, previous: int | None) -> int:
    """Return how many rows the next block of a table should hold: few at first, then doubling."""
    if previous is None:
        return _FIRST_ROWS
    most = max(MIN_ROWS, min(MAX_ROWS, _MAX_CELLS // columns))
    return min(most, max(_FIRST_ROWS, 2 * previous))


def is_absent(values: Values) -> npt.NDArray[np.bool_]:
    """Return which cells hold no sample: NaN, but not a stale marker."""
    absent: npt.NDArray[np.bool_] = np.isnan(values)
    if absent.any():
        absent &= ~is_stale(values)
    return absent


@dataclass(frozen=True, slots=True)
class Folded:
    """Rows in strictly rising time."""

    times: Times
    values: Values
    overwritten: int
    """Samples that lost their place to another value of the very same time."""


def fold(times: Times, values: Values, *, keeps_nan: bool) -> Folded:
    """Bring rows into strictly rising time.

    Of several values for one time the last one wins, cell by cell; an absent cell wins over
    nothing.

    Args:
        times: n instants in any order.
        values: k columns of n cells.
        keeps_nan: NaN is a value like any other; no cell is absent.
    """
    order = np.argsort(times, kind="stable")
    times = times[order]
    values = values[:, order]
    first = np.ones(len(times), np.bool_)
    np.not_equal(times[1:], times[:-1], out=first[1:])
    if first.all():
        return Folded(times, values, 0)
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(times))
    folded = values[:, starts]
    overwritten = 0
    for depth in range(1, int(sizes.max())):
        groups = np.flatnonzero(sizes > depth)
        was = folded[:, groups]
        later = values[:, starts[groups] + depth]
        changed = later.view(np.uint64) != was.view(np.uint64)
        if not keeps_nan:
            later = np.where(is_absent(later), was, later)
            changed = (later.view(np.uint64) != was.view(np.uint64)) & ~is_absent(was)
        overwritten += int(changed.sum())
        folded[:, groups] = later
    return Folded(times[starts], folded, overwritten)
