"""The head: the newest samples of every series, in memory, in columns."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan

from tapewatch.model.labels import Labels
from tapewatch.series.block import Block, is_absent
from tapewatch.series.columns import Appended, ColumnGroup, Latest, Range, ends_here
from tapewatch.series.digest import ColumnDigests
from tapewatch.series.index import SeriesIndex
from tapewatch.series.pieces import Piece, join
from tapewatch.series.plan import Plan, Stretch
from tapewatch.series.querier import Digest, Matcher, Selection, SeriesSlice, Times, Values

MAX_SERIES = 1_000_000
MAX_SERIES_PER_SOURCE = 2_000
MAX_SAMPLES = 12_000_000
"""About 100 MB. When more arrive before the window ends, the oldest go first."""
_MAX_GROUPS_OF_SERIES = 16
_MAX_PLANNED = 200_000
"""Shapes of ticks that one series may be part of; later shapes keep each series by itself."""
_ROOM = 0.9
"""After the cap on samples was met the head is cut to this share of it, so that it cuts rarely."""


@dataclass(slots=True)
class HeadCounts:
    """What the head refused or gave up since it began."""

    refused_series: int = 0
    """Series that would have been beyond a cap."""
    refused_samples: int = 0
    """Cells that arrived for refused series."""
    late_rows: int = 0
    """Rows that were not newer than the newest of their table; they were merged in."""
    overwritten_samples: int = 0
    """Samples replaced by another value of the very same nanosecond."""
    given_up_samples: int = 0
    """Samples dropped for want of room before they were persisted."""


@dataclass(frozen=True, slots=True, eq=False)
class TableSlice:
    """Rows that share their times: what is persisted as one chunk."""

    labels: tuple[Labels, ...]
    times: Times
    values: Values
    """k columns of n cells."""
    keeps_nan: bool
    """False: a NaN cell that is no stale marker is absent."""
    block: Block
    start: int
    stop: int

    @property
    def samples(self) -> int:
        """Number of samples, absent cells left out."""
        if self.keeps_nan or not self.block.holes:
            return self.values.size
        return self.values.size - int(is_absent(self.values).sum())


@dataclass(slots=True)
class _Series:
    labels: Labels
    source: str
    groups: list[tuple[ColumnGroup, int]]


class Table:
    """Series that always arrive together, as ``Head.table`` gave them."""

    __slots__ = ("_head", "_parts", "_refused", "_whole", "labels", "source")

    def __init__(self, head: Head, labels: tuple[Labels, ...], source: str) -> None:
        self._head = head
        self.labels = labels
        """The series asked for, one for each column; refused ones included."""
        self.source = source
        self._parts: list[tuple[ColumnGroup, list[int] | None]] = []
        self._whole: ColumnGroup | None = None
        self._refused = 0

    @property
    def refused(self) -> int:
        """Columns that are beyond a cap: what arrives for them is dropped and counted."""
        return self._refused

    def append(self, times: Times, values: Values) -> int:
        """Append n rows and return n.

        Args:
            times: n instants in nanoseconds. Rows that are not newer than the newest one are
                merged in; of two values for one nanosecond the last one wins.
            values: n rows of k cells. A NaN that is no stale marker means: no sample.

        Raises:
            ValueError: The shapes do not fit.
        """
        count = len(times)
        if values.shape != (count, len(self.labels)):
            raise ValueError(
                f"a table of {len(self.labels)} series got {count} times and values of shape "
                f"{values.shape}; expected ({count}, {len(self.labels)})"
            )
        head = self._head
        with head._lock:
            whole = self._whole
            if whole is not None and whole.alive:
                head._note(whole, whole.append(times, values))
            else:
                head._append_parts(self, times, values)
        return count


class Head:
    """Keeps the newest samples and answers for them; implements ``Querier``.

    Safe for threads. One lock is held while arrays are picked or appended, never while they are
    joined or filtered: rows that were written never change, so a reader's views stay true.

    Args:
        max_series: Cap on all series.
        max_series_per_source: Cap on the series that one source may bring; a source without a
            name is ours, and has none.
        max_samples: Cap on the samples in memory.
    """

    def __init__(
        self,
        *,
        max_series: int = MAX_SERIES,
        max_series_per_source: int = MAX_SERIES_PER_SOURCE,
        max_samples: int = MAX_SAMPLES,
    ) -> None:
        self.max_series = max_series
        self.max_series_per_source = max_series_per_source
        self.max_samples = max_samples
        self.counts = HeadCounts()
        self._lock = threading.Lock()
        self._index = SeriesIndex()
        self._series: dict[int, _Series] = {}
        self._groups: dict[tuple[tuple[int, ...], bool], ColumnGroup] = {}
        self._singles: dict[Labels, ColumnGroup] = {}
        self._of_source: dict[str, int] = {}
        self._dirty: list[ColumnGroup] = []
        self._samples = 0
        self._dropped_until: int | None = None
        self._plans: dict[tuple[Matcher, ...], Plan] = {}
        self._planned = 0
        """Series in all plans."""
        self._moves = 0
        """How often a known series got or lost a place: plans from before do not hold."""

    # -- writing ---------------------------------------------------------------------------

    def table(
        self, labels: Sequence[Labels], *, source: str = "", max_series: int | None = None
    ) -> Table:
        """Return the table of these series; the same label sets share one storage.

        A series beyond a cap is refused: its column is dropped and counted, the others go on.

        Args:
            labels: One label set for each column.
            source: Who brings them, for the cap of one source.
            max_series: That source's own cap, where the general one does not fit.

        Raises:
            ValueError: A label set is given twice.
        """
        asked = tuple(labels)
        if len(set(asked)) != len(asked):
            raise ValueError("a table's series must differ; a label set is given twice")
        table = Table(self, asked, source)
        with self._lock:
            self._resolve(table, max_series)
        return table

    def append(self, labels: Labels, time_ns: int, value: float) -> None:
        """Append one sample. NaN is a value here."""
        with self._lock:
            group = self._single(labels)
            if group is not None:
                done = group.append_one(time_ns, value)
                if done is None:
                    self._samples += 1
                    self._touch(group)
                else:
                    self._note(group, done)

    def append_many(self, labels: Labels, times: Times, values: Values) -> None:
        """Append n samples of one series, in any order. NaN is a value here."""
        with self._lock:
            group = self._single(labels)
            if group is not None:
                self._note(group, group.append(times, values.reshape(len(times), 1)))
            else:
                self.counts.refused_samples += len(times) - 1

    def mark_stale(self, labels: Iterable[Labels], at_ns: int) -> None:
        """End these series at an instant: they have no value until a new sample comes.

        A sample of that very instant stays; the marker then follows it by a nanosecond. Series
        that are unknown or have ended already are left as they are.
        """
        with self._lock:
            ending: dict[ColumnGroup, list[int]] = {}
            for each in labels:
                newest = self._newest(each)
                if newest is not None and not ends_here(newest[3]):
                    ending.setdefault(newest[0], []).append(newest[1])
            for group, columns in ending.items():
                self._note(group, group.mark_stale(columns, at_ns))

    # -- reading ---------------------------------------------------------------------------

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return the matching series' samples in [start, end]; series without one are left out.

        Series of one table share their array of times where no cell is absent.
        """
        return self.columns(matchers, start_ns, end_ns).slices()

    def columns(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        first_ns: int | None = None,
    ) -> Selection:
        """Return the matching series' samples in [start, end], table by table.

        Args:
            matchers: As for ``select``.
            start_ns: The oldest instant that is meant.
            end_ns: The newest one.
            first_ns: Of the samples in [start, first] each series' newest one alone is wanted: a
                look back over a window of millions of samples costs no more than over a few.
        """
        whole: list[tuple[Stretch, list[Range]]] = []
        loose: list[tuple[Labels, list[Piece]]] = []

        def ranges(group: ColumnGroup, column: int | None = None) -> list[Range]:
            if first_ns is None:
                return group.ranges(start_ns, end_ns)
            return group.newest_ranges(start_ns, first_ns, end_ns, column)

        with self._lock:
            plan = self._plan(tuple(matchers))
            for stretch in plan.stretches:
                found = ranges(stretch.group)
                if not stretch.group.may_have_holes(found):
                    if found:
                        whole.append((stretch, found))
                    continue
                for labels, column in stretch.members():
                    own = found if first_ns is None else ranges(stretch.group, column)
                    loose.append((labels, _pieces(stretch.group, column, own)))
            for number in plan.scattered:
                series = self._series[number]
                pieces: list[Piece] = []
                for group, column in series.groups:
                    found = ranges(group)
                    if first_ns is not None and group.may_have_holes(found):
                        found = ranges(group, column)
                    pieces += _pieces(group, column, found)
                if first_ns is not None:
                    pieces.sort(key=lambda piece: int(piece.times[-1]))
                loose.append((series.labels, pieces))
        sheets = [stretch.sheet(found) for stretch, found in whole]
        if len(whole) == len(plan.stretches) and not loose:
            return Selection(plan.labels, sheets)
        rest = Selection.of(join([(labels, pieces) for labels, pieces in loose if pieces]))
        together = [one for stretch, _ in whole for one in stretch.labels]
        return Selection(together + rest.labels, sheets + rest.sheets)

    def digest(
        self, selections: Sequence[Sequence[Matcher]], start_ns: int, end_ns: int
    ) -> list[list[Digest]]:
        """Return for each selection the digests of its series that have samples in [start, end].

        All columns of a table are digested at once, however many selections ask for them.
        """
        shared: dict[ColumnGroup, ColumnDigests | None] = {}
        found: list[list[Digest]] = []
        with self._lock:
            for matchers in selections:
                digests: list[Digest] = []
                for number in self._index.match(matchers):
                    series = self._series[number]
                    group, column = series.groups[0]
                    if group not in shared:
                        shared[group] = group.digests(start_ns, end_ns)
                    columns = shared[group]
                    if columns is not None and len(series.groups) == 1:
                        digests.append(columns.of(series.labels, column))
                        continue
                    pieces = [
                        piece
                        for group, column in series.groups
                        for piece in _pieces(group, column, group.ranges(start_ns, end_ns))
                    ]
                    digests += [Digest.of(samples) for samples in join([(series.labels, pieces)])]
                found.append(digests)
        return found

    def last_value(self, labels: Labels) -> tuple[int, float] | None:
        """Return time and value of a series' newest sample; None if there is none or it ended."""
        with self._lock:
            newest = self._newest(labels)
        if newest is None or ends_here(newest[3]):
            return None
        return newest[2], newest[3]

    def latest(
        self, matchers: Sequence[Matcher] = (), *, since_ns: int | None = None
    ) -> list[tuple[Labels, int, float]]:
        """Return labels, time and value of each matching series that has not ended.

        Args:
            matchers: As for ``select``.
            since_ns: Leave out series whose newest sample is older.
        """
        result = []
        with self._lock:
            rows: dict[ColumnGroup, Latest] = {}
            for number in self._index.match(matchers):
                series = self._series[number]
                newest: int | None = None
                value = nan
                for group, column in series.groups:
                    row = rows.get(group)
                    if row is None:
                        row = rows[group] = group.latest()
                    time_ns = row.times[column]
                    if time_ns is not None and (newest is None or time_ns >= newest):
                        newest, value = time_ns, row.values[column]
                if newest is None or (since_ns is not None and newest < since_ns):
                    continue
                if isnan(value) and ends_here(value):
                    continue
                result.append((series.labels, newest, value))
        return result

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        with self._lock:
            return self._index.label_names(matchers)

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        with self._lock:
            return self._index.label_values(name, matchers)

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series with rows in [start, end]."""
        with self._lock:
            found = [
                self._index.labels(number)
                for number in self._index.match(matchers)
                if any(g.ranges(start_ns, end_ns) for g, _ in self._series[number].groups)
            ]
        return sorted(found)

    @property
    def series_count(self) -> int:
        """Series known."""
        return len(self._index)

    @property
    def sample_count(self) -> int:
        """Samples in memory."""
        return self._samples

    @property
    def oldest_ns(self) -> int | None:
        """Time of the oldest row in memory, or None."""
        with self._lock:
            firsts = [g.blocks[0].first_ns for g in self._groups.values() if g.blocks]
        return min(firsts, default=None)

    @property
    def dropped_until_ns(self) -> int | None:
        """Time of the newest row that was dropped from memory; newer ones are all here."""
        return self._dropped_until

    def series_of(self, source: str) -> int:
        """Return how many series a source has brought."""
        return self._of_source.get(source, 0)

    # -- towards the disk ------------------------------------------------------------------

    def drain_for_chunks(self, up_to_ns: int) -> list[TableSlice]:
        """Return the rows with times up to this instant that are not persisted yet.

        They stay in the head. Once they are in the sample store, say so with ``persisted``;
        until then they are returned again.
        """
        drained: list[TableSlice] = []
        with self._lock:
            self._dirty = [group for group in self._dirty if group.alive]
            for group in self._dirty:
                labels = tuple(self._index.labels(n) for n in group.numbers)
                for block in group.blocks:
                    start = block.persisted
                    if start == block.rows:
                        continue
                    stop = max(start, block.rows_until(up_to_ns))
                    if start < stop:
                        drained.append(
                            TableSlice(
                                labels,
                                block.times[start:stop],
                                block.values[:, start:stop],
                                group.keeps_nan,
                                block,
                                start,
                                stop,
                            )
                        )
        return drained

    def persisted(self, drained: Iterable[TableSlice]) -> None:
        """Note that these rows are in the sample store, so that they may leave the memory.

        Rows that a late arrival has changed since they were drained stay marked for the next time.
        """
        with self._lock:
            for piece in drained:
                # A merge replaces the block, so a changed block is simply not this one any more.
                if piece.block.persisted == piece.start:
                    piece.block.persisted = piece.stop
            still = [g for g in self._dirty if any(b.persisted < b.rows for b in g.blocks)]
            for group in self._dirty:
                group.dirty = False
            for group in still:
                group.dirty = True
            self._dirty = still

    def truncate(self, before_ns: int, *, keep_unpersisted: bool = True) -> int:
        """Drop blocks whose rows are all older than this; return the number of samples dropped.

        Series that have nothing left are forgotten, and come back with their next sample.

        Args:
            before_ns: Rows of this instant and younger stay.
            keep_unpersisted: Keep what the sample store does not have. False where there is no
                sample store.
        """
        dropped = 0
        with self._lock:
            for group in list(self._groups.values()):
                while group.blocks and group.blocks[0].last_ns < before_ns:
                    block = group.blocks[0]
                    if keep_unpersisted and block.persisted < block.rows:
                        break
                    dropped += self._drop_oldest(group)[0]
                if not group.blocks:
                    self._forget(group)
            self._samples -= dropped
        return dropped

    # -- below the lock --------------------------------------------------------------------

    def _plan(self, matchers: tuple[Matcher, ...]) -> Plan:
        """Return where the matching series lie; kept until that changes."""
        numbers = self._index.match(matchers)
        plan = self._plans.get(matchers)
        if plan is None or plan.numbers is not numbers or plan.moves != self._moves:
            if plan is not None:
                self._planned -= len(plan.numbers)
            elif self._planned + len(numbers) > _MAX_PLANNED:
                self._plans.clear()
                self._planned = 0
            places = {n: (self._series[n].labels, self._series[n].groups) for n in numbers}
            plan = self._plans[matchers] = Plan.of(numbers, places, self._moves)
            self._planned += len(numbers)
        return plan

    def _resolve(self, table: Table, max_series: int | None = None) -> None:
        """Find or make the storage of a table's series."""
        accepted: list[int] = []
        columns: list[int] = []
        for column, labels in enumerate(table.labels):
            number = self._admit(labels, table.source, max_series)
            if number is not None:
                accepted.append(number)
                columns.append(column)
        table._refused = len(table.labels) - len(accepted)
        table._whole = None
        table._parts = []
        if not accepted:
            return
        numbers = tuple(accepted)
        crowded = (numbers, False) not in self._groups and any(
            len(self._series[n].groups) >= _MAX_GROUPS_OF_SERIES for n in numbers
        )
        if crowded:
            table._parts = [
                (self._group((n,), keeps_nan=False), [c])
                for n, c in zip(numbers, columns, strict=True)
            ]
        elif table._refused:
            table._parts = [(self._group(numbers, keeps_nan=False), columns)]
        else:
            table._whole = self._group(numbers, keeps_nan=False)
            table._parts = [(table._whole, None)]

    def _append_parts(self, table: Table, times: Times, values: Values) -> None:
        if not all(group.alive for group, _ in table._parts) or not table._parts:
            self._resolve(table)
        self.counts.refused_samples += table._refused * len(times)
        for group, columns in table._parts:
            rows = values if columns is None else values[:, columns]
            self._note(group, group.append(times, rows))

    def _single(self, labels: Labels) -> ColumnGroup | None:
        group = self._singles.get(labels)
        if group is None or not group.alive:
            number = self._admit(labels, "", None)
            if number is None:
                self.counts.refused_samples += 1
                return None
            group = self._singles[labels] = self._group((number,), keeps_nan=True)
        return group

    def _admit(self, labels: Labels, source: str, max_series: int | None) -> int | None:
        """Return the series' number; None if it is new and beyond a cap."""
        number = self._index.number(labels)
        if number is not None:
            return number
        of_source = self._of_source.get(source, 0)
        limit = self.max_series_per_source if max_series is None else max_series
        if len(self._index) >= self.max_series or (source and of_source >= limit):
            self.counts.refused_series += 1
            return None
        number = self._index.add(labels)
        self._series[number] = _Series(labels, source, [])
        self._of_source[source] = of_source + 1
        return number

    def _group(self, numbers: tuple[int, ...], *, keeps_nan: bool) -> ColumnGroup:
        key = (numbers, keeps_nan)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = ColumnGroup(numbers, keeps_nan=keeps_nan)
            for column, number in enumerate(numbers):
                places = self._series[number].groups
                self._moves += bool(places)
                places.append((group, column))
        return group

    def _forget(self, group: ColumnGroup) -> None:
        group.alive = False
        del self._groups[group.numbers, group.keeps_nan]
        for number in group.numbers:
            series = self._series[number]
            series.groups = [pair for pair in series.groups if pair[0] is not group]
            self._moves += bool(series.groups)
            if not series.groups:
                self._singles.pop(self._index.labels(number), None)
                self._index.remove(number)
                del self._series[number]
                self._of_source[series.source] -= 1
                if not self._of_source[series.source]:
                    del self._of_source[series.source]

    def _newest(self, labels: Labels) -> tuple[ColumnGroup, int, int, float] | None:
        """Return where a series' newest sample is, with its time and value."""
        number = self._index.number(labels)
        if number is None:
            return None
        best: tuple[ColumnGroup, int, int, float] | None = None
        for group, column in self._series[number].groups:
            row = group.latest()
            time_ns = row.times[column]
            if time_ns is not None and (best is None or time_ns >= best[2]):
                best = group, column, time_ns, row.values[column]
        return best

    def _touch(self, group: ColumnGroup) -> None:
        if not group.dirty:
            group.dirty = True
            self._dirty.append(group)
        if self._samples > self.max_samples:
            self._make_room()

    def _note(self, group: ColumnGroup, done: Appended) -> None:
        self._samples += done.samples
        if done.late_rows:
            self.counts.late_rows += done.late_rows
            self.counts.overwritten_samples += done.overwritten
        self._touch(group)

    def _drop_oldest(self, group: ColumnGroup) -> tuple[int, int]:
        last_ns = group.blocks[0].last_ns
        if self._dropped_until is None or last_ns > self._dropped_until:
            self._dropped_until = last_ns
        return group.drop_oldest()

    def _make_room(self) -> None:
        """Drop the oldest blocks, persisted ones first, down to a share of the cap."""
        goal = int(self.max_samples * _ROOM)
        for only_persisted in (True, False):
            ages = sorted(
                (block.last_ns, place, group_place)
                for group_place, group in enumerate(self._groups.values())
                for place, block in enumerate(group.blocks)
            )
            groups = list(self._groups.values())
            for _, _, group_place in ages:
                if self._samples <= goal:
                    return
                group = groups[group_place]
                block = group.blocks[0]
                if only_persisted and block.persisted < block.rows:
                    continue
                samples, unpersisted = self._drop_oldest(group)
                self._samples -= samples
                self.counts.given_up_samples += unpersisted


def _pieces(group: ColumnGroup, column: int, ranges: Sequence[Range]) -> list[Piece]:
    return [
        Piece(
            block.times[low:high],
            block.values[column, low:high],
            block.holes and not group.keeps_nan,
            (id(block), low, high),
        )
        for block, low, high in ranges
    ]
