"""Columns that share their times: the storage of one table in the head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapewatch.series.block import MAX_ROWS, Block, fold, is_absent, next_capacity
from tapewatch.series.digest import ColumnDigests
from tapewatch.series.querier import STALE, Times, Values, is_stale

Range = tuple[Block, int, int]
"""A block, the first of its rows that is meant, and the row behind the last one."""

_NEVER = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did."""

    samples: int
    """Samples more than before."""
    late_rows: int
    """Rows that were not newer than the newest."""
    overwritten: int
    """Samples whose place held another value of the very same time."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest sample of each column."""

    times: list[int | None]
    """None where a column has no sample."""
    values: list[float]


class ColumnGroup:
    """k series with one time column, in blocks. Not safe for threads: the head holds its lock.

    Args:
        numbers: Series numbers in the head's index, one for each column.
        keeps_nan: NaN is a sample. Else a NaN cell is absent, and only stale markers are samples.
    """

    __slots__ = (
        "_last_ns",
        "_latest",
        "alive",
        "blocks",
        "dirty",
        "keeps_nan",
        "numbers",
        "samples",
    )

    def __init__(self, numbers: tuple[int, ...], *, keeps_nan: bool) -> None:
        self.numbers = numbers
        self.keeps_nan = keeps_nan
        self.blocks: list[Block] = []
        self.samples = 0
        self.alive = True
        """False once the head has forgotten the group because it was empty."""
        self.dirty = False
        """True while the head has it on its list of groups with rows to persist."""
        self._last_ns = _NEVER
        self._latest: Latest | None = None

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.numbers)

    @property
    def last_ns(self) -> int | None:
        """Time of the newest row, or None when there is none."""
        return None if self._last_ns == _NEVER else self._last_ns

    def append_one(self, time_ns: int, value: float) -> Appended | None:
        """Append one row to a group of one column; None if it was simply newer."""
        if time_ns <= self._last_ns:
            return self._merge(
                np.array([time_ns], np.int64), np.array([[value]], np.float64), holes=False
            )
        block = self._open_block()
        row = block.rows
        block.times[row] = time_ns
        block.values[0, row] = value
        block.rows = row + 1
        self._last_ns = time_ns
        self._latest = None
        self.samples += 1
        return None

    def append(self, times: Times, rows: Values) -> Appended:
        """Append n rows of k cells; rows that are not newer than the newest are merged in.

        In order it costs one check and one copy for the whole batch.
        """
        count = len(times)
        if not count:
            return Appended(0, 0, 0)
        holes = not self.keeps_nan and math.isnan(np.minimum.reduce(rows, axis=None))
        rising = count == 1 or bool((times[1:] > times[:-1]).all())
        if not rising or times[0] <= self._last_ns:
            return self._sort_in(times, rows.T, rising=rising, holes=holes)
        return Appended(self._extend(times, rows.T, holes=holes), 0, 0)

    def mark_stale(self, columns: Sequence[int], at_ns: int) -> Appended:
        """End these columns' series at an instant, or right after a sample of that instant."""
        row = np.full((1, self.width), np.nan)
        row[0, list(columns)] = STALE
        times = np.array([at_ns], np.int64)
        while self._has_row(int(times[0])):
            times += 1
        return self.append(times, row)

    def ranges(self, start_ns: int, end_ns: int) -> list[Range]:
        """Return the blocks with rows in [start, end], oldest first, and which rows those are."""
        found: list[Range] = []
        for block in reversed(self.blocks):
            if block.last_ns < start_ns:
                break
            if block.first_ns <= end_ns:
                low, high = block.range(start_ns, end_ns)
                if low < high:
                    found.append((block, low, high))
        found.reverse()
        return found

    def digests(self, start_ns: int, end_ns: int) -> ColumnDigests | None:
        """Return the digests of rows in [start, end]; None unless all columns share the window."""
        ranges = self.ranges(start_ns, end_ns)
        if len(ranges) != 1 or self.may_have_holes(ranges):
            return None
        block, low, high = ranges[0]
        rows = block.values[:, low:high]
        lasts = rows[:, -1].tolist()
        if high - low == 1:
            return ColumnDigests(int(block.times[low]), int(block.times[low]), lasts, lasts, lasts)
        return ColumnDigests(
            int(block.times[low]),
            int(block.times[high - 1]),
            rows.min(axis=1).tolist(),
            rows.max(axis=1).tolist(),
            lasts,
        )

    def newest_ranges(
        self, start_ns: int, first_ns: int, end_ns: int, column: int | None = None
    ) -> list[Range]:
        """Return the rows in (first, end] and the newest row in [start, first].

        With a column given, that row is the newest in which the column has a sample.
        """
        found = self.ranges(first_ns + 1, end_ns) if first_ns < end_ns else []
        for block in reversed(self.blocks):
            if block.last_ns < start_ns:
                break
            low, high = block.range(start_ns, first_ns)
            if low == high:
                continue
            row = high - 1
            if column is not None and block.holes:
                rows = np.flatnonzero(~is_absent(block.values[column, low:high]))
                if not len(rows):
                    continue
                row = low + int(rows[-1])
            if found and found[0][0] is block and found[0][1] == row + 1:
                found[0] = (block, row, found[0][2])
            else:
                found.insert(0, (block, row, row + 1))
            break
        return found

    def may_have_holes(self, ranges: Sequence[Range]) -> bool:
        """Return whether a cell in these rows may be absent."""
        return not self.keeps_nan and any(block.holes for block, _, _ in ranges)

    def latest(self) -> Latest:
        """Return time and value of the newest sample of each column; found once per change."""
        if self._latest is None:
            self._latest = self._find_latest()
        return self._latest

    def drop_oldest(self) -> tuple[int, int]:
        """Drop the oldest block; return how many samples went, and how many of them unpersisted."""
        block = self.blocks.pop(0)
        samples = self._samples_of(block, 0)
        unpersisted = self._samples_of(block, block.persisted)
        self.samples -= samples
        self._latest = None
        return samples, unpersisted

    def _open_block(self) -> Block:
        """Return the newest block with room for at least one row."""
        blocks = self.blocks
        if blocks:
            block = blocks[-1]
            if block.rows < block.capacity:
                return block
            block = Block(self.width, next_capacity(self.width, block.capacity))
        else:
            block = Block(self.width, next_capacity(self.width, None))
        blocks.append(block)
        return block

    def _extend(self, times: Times, columns: Values, *, holes: bool) -> int:
        """Append rows that are newer than all others; return the number of samples."""
        done, count = 0, len(times)
        while done < count:
            block = self._open_block()
            row = block.rows
            taken = min(count - done, block.capacity - row)
            block.times[row : row + taken] = times[done : done + taken]
            block.values[:, row : row + taken] = columns[:, done : done + taken]
            block.rows = row + taken
            block.holes |= holes
            done += taken
        self._last_ns = int(times[-1])
        self._latest = None
        samples: int = columns.size
        if holes:
            samples -= int(is_absent(columns).sum())
        self.samples += samples
        return samples

    def _sort_in(self, times: Times, columns: Values, *, rising: bool, holes: bool) -> Appended:
        """Append rows of which some are not newer than the newest, or that are out of order."""
        doubled = overwritten = 0
        if not rising:
            folded = fold(times, columns, keeps_nan=self.keeps_nan)
            doubled, overwritten = len(times) - len(folded.times), folded.overwritten
            times, columns = folded.times, folded.values
        late = int(times.searchsorted(self._last_ns, "right"))
        merged = Appended(0, 0, 0)
        if late:
            merged = self._merge(times[:late], columns[:, :late], holes=holes)
        added = 0
        if late < len(times):
            added = self._extend(times[late:], columns[:, late:], holes=holes)
        return Appended(
            merged.samples + added,
            merged.late_rows + doubled,
            merged.overwritten + overwritten,
        )

    def _merge(self, times: Times, columns: Values, *, holes: bool) -> Appended:
        """Merge rising rows, none of them newer than the newest, into the blocks of their time.

        A changed block is replaced, so that arrays that a reader holds stay as they were.
        """
        self._latest = None
        if not self.blocks:
            # Everything before was dropped; the newest time is remembered all the same.
            self.blocks.append(
                Block.of(times.copy(), columns.copy(), persisted=0, holes=holes),
            )
            samples = self._samples_of(self.blocks[0], 0)
            self.samples += samples
            return Appended(samples, len(times), 0)
        ends = np.array([block.last_ns for block in self.blocks], np.int64)
        owners = ends.searchsorted(times, "left")
        # Rows behind the newest remaining block: newer ones were dropped meanwhile.
        owners = np.minimum(owners, len(ends) - 1)
        samples = overwritten = 0
        for owner in np.unique(owners)[::-1].tolist():
            mine = owners == owner
            gained, replaced = self._merge_block(owner, times[mine], columns[:, mine], holes=holes)
            samples += gained
            overwritten += replaced
        self.samples += samples
        return Appended(samples, len(times), overwritten)

    def _merge_block(
        self, place: int, times: Times, columns: Values, *, holes: bool
    ) -> tuple[int, int]:
        block = self.blocks[place]
        old_times = block.times[: block.rows]
        at = np.minimum(old_times.searchsorted(times, "left"), block.rows - 1)
        same_time = old_times[at] == times
        # After a restart a tape is read again: its rows are here already, and change nothing.
        same = columns.view(np.uint64) == block.values[:, at].view(np.uint64)
        if not self.keeps_nan and holes:
            same |= is_absent(columns)
        news = ~(same_time & same.all(axis=0))
        if not news.any():
            return 0, 0
        times, columns = times[news], columns[:, news]
        first_changed = int(old_times.searchsorted(times[0], "left"))
        old_samples = self._samples_of(block, 0)
        folded = fold(
            np.concatenate((old_times, times)),
            np.concatenate((block.values[:, : block.rows], columns), axis=1),
            keeps_nan=self.keeps_nan,
        )
        merged = Block.of(
            folded.times,
            folded.values,
            persisted=min(block.persisted, first_changed),
            holes=block.holes or holes,
        )
        self.blocks[place : place + 1] = _split(merged)
        return self._samples_of(merged, 0) - old_samples, folded.overwritten

    def _has_row(self, time_ns: int) -> bool:
        return time_ns <= self._last_ns and bool(self.ranges(time_ns, time_ns))

    def _samples_of(self, block: Block, start: int) -> int:
        values = block.values[:, start : block.rows]
        samples: int = values.size
        if block.holes and not self.keeps_nan:
            samples -= int(is_absent(values).sum())
        return samples

    def _find_latest(self) -> Latest:
        if self.keeps_nan and self.blocks and self.width == 1:
            newest = self.blocks[-1]
            last = newest.rows - 1
            return Latest([newest.times.item(last)], [newest.values.item(0, last)])
        latest = Latest([None] * self.width, [math.nan] * self.width)
        missing = list(range(self.width))
        for block in reversed(self.blocks):
            last = block.rows - 1
            row_time = int(block.times[last])
            row = block.values[:, last]
            holes = block.holes and not self.keeps_nan
            absent = is_absent(row).tolist() if holes else None
            values = row.tolist()
            still = []
            for column in missing:
                if absent is None or not absent[column]:
                    latest.times[column], latest.values[column] = row_time, values[column]
                    continue
                rows = np.flatnonzero(~is_absent(block.values[column, : block.rows]))
                if len(rows):
                    at = rows[-1]
                    latest.times[column] = int(block.times[at])
                    latest.values[column] = float(block.values[column, at])
                else:
                    still.append(column)
            missing = still
            if not missing:
                break
        return latest


def _split(block: Block) -> list[Block]:
    """Return the block, in two if merges have made it much larger than a full one."""
    if block.rows <= 2 * MAX_ROWS:
        return [block]
    half = block.rows // 2
    return [
        Block.of(
            block.times[part].copy(),
            block.values[:, part].copy(),
            persisted=persisted,
            holes=block.holes,
        )
        for part, persisted in (
            (slice(None, half), min(block.persisted, half)),
            (slice(half, None), max(0, block.persisted - half)),
        )
    ]


def ends_here(value: float) -> bool:
    """Return whether a single value is a stale marker."""
    return math.isnan(value) and bool(is_stale(np.array([value]))[0])
