"""Read one engine's tape into samples, events and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapewatch.ingest.batch import IngestBatch, IngestedEvent
from tapewatch.ingest.error_type import error_type
from tapewatch.ingest.flatten import flatten
from tapewatch.ingest.naming import name_columns
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue
from tapewatch.series.head import Head, Table
from tapewatch.series.querier import Times, Values
from tapewatch.tape.layout import RecordKind
from tapewatch.tape.reader import TapeReader
from tapewatch.tape.types import FrameRun, TapeBatch, TapePosition, TapeRecord

INVALID_NS = 30 * SECOND
"""NaN in a table that got nothing since counts as recent for so long."""

FUTURE_TOLERANCE_NS = 5 * SECOND
"""Stamps further ahead than this are refused and counted."""


@dataclass(slots=True)
class TapeCounts:
    """What was read from a tape so far; part of the committed state, so it is exact."""

    ticks: int = 0
    records: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """Errors by their type."""
    trades: int = 0
    frames_lost: int = 0
    events_lost: int = 0
    torn: int = 0
    skipped_bytes: int = 0
    invalid_values: int = 0
    refused_values: int = 0
    future_samples: int = 0

    def copy(self) -> TapeCounts:
        """Return counts that go their own way."""
        return replace(self, errors=dict(self.errors))

    def to_saved(self) -> dict[str, Any]:
        """Return a JSON-able copy."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> TapeCounts:
        """Read a copy back; fields that the saver did not know start at zero."""
        return cls(**{name: saved[name] for name in cls.__slots__ if name in saved})


@dataclass(slots=True)
class _Columns:
    table: Table
    columns: list[int] | None
    """None when every column of the frame is a series, in order."""
    names: tuple[str, ...]


_Key = tuple[object, ...]
_NO_TIMES: frozenset[str] = frozenset()


class TapeSource:
    """One tape on its way into the head.

    ``map_time`` turns the tape's monotonic nanoseconds into the steady timeline. The source
    changes nothing but the head and its own counts; everything with an effect is in the batch.
    """

    def __init__(
        self,
        path: Path,
        *,
        head: Head,
        catalogue: MetricCatalogue,
        labels: Labels,
        map_time: Callable[[int], int],
        position: TapePosition | None = None,
        counts: TapeCounts | None = None,
    ) -> None:
        self.path = path
        self.reader = TapeReader(path, position)
        self.labels = labels
        self.counts = counts or TapeCounts()
        self.last_tick_ns: int | None = None
        self.wall_deviation_ns = 0
        """Wall clock minus steady timeline, as the daemon last measured it."""
        self._head = head
        self._catalogue = catalogue
        self._map_time = map_time
        self._tables: dict[_Key, _Columns] = {}
        self._invalid_ns: dict[int, int] = {}
        self._newest_ns = 0

    @property
    def id(self) -> str:
        """The tape's identity: the key of its offset in the stores."""
        return f"tape:{self.reader.header.tape_id}"

    @property
    def invalid_recently(self) -> bool:
        """Whether NaN is among the newest values of anything on this tape that still arrives."""
        return any(at > self._newest_ns - INVALID_NS for at in self._invalid_ns.values())

    def series(self) -> list[Labels]:
        """Return every series this tape has fed."""
        return [labels for known in self._tables.values() for labels in known.table.labels]

    def rewind(self, position: TapePosition) -> None:
        """Read from a position again, for example after a reading that failed half-way.

        Raises:
            TapeError: The file cannot be opened any more.
        """
        fresh = TapeReader(self.path, position)
        self.reader.close()
        self.reader = fresh

    def refill(self, now_ns: int) -> None:
        """Put what the tape still holds into the head, without any effect.

        Used once after a restart, on a reader that starts at the samples' watermark; the reader
        that starts at the effects' offset finds those samples there already.
        """
        unseen = TapeCounts()
        while True:
            read = self.reader.poll()
            self._absorb(read, IngestBatch(), unseen, now_ns)
            if not read.more:
                return

    def poll(self, batch: IngestBatch, now_ns: int) -> bool:
        """Read what is new into the head and the batch.

        Returns:
            True when there is more to be had at once.
        """
        read = self.reader.poll()
        self.absorb(read, batch, now_ns)
        return read.more

    def absorb(self, read: TapeBatch, batch: IngestBatch, now_ns: int) -> None:
        """Take what was read into the head and the batch; the counts count all of it or nothing.

        Samples and events of a reading that fails are taken twice when it is repeated, and have
        the same identity both times.
        """
        if read.is_empty:
            return
        counts = self.counts.copy()
        self._absorb(read, batch, counts, now_ns)
        self.counts = counts

    def _absorb(self, read: TapeBatch, batch: IngestBatch, counts: TapeCounts, now_ns: int) -> None:
        counts.frames_lost += read.lost_frames
        counts.events_lost += read.lost_events
        counts.torn += read.torn
        counts.skipped_bytes += read.skipped_bytes
        records = len(read.records)
        for run in read.frames:
            records += len(run.mono_ns)
            if run.layout.kind is RecordKind.TICK:
                self.last_tick_ns = self._map_time(int(run.mono_ns.max()))
            self._frames(run, batch, counts, now_ns)
        if read.records:
            self._records(read.records, batch, counts, now_ns)
        counts.records += records
        counts.ticks += read.ticks
        batch.ticks += read.ticks
        batch.records += records

    def _frames(self, run: FrameRun, batch: IngestBatch, counts: TapeCounts, now_ns: int) -> None:
        known = self._tables.get((run.layout.id,))
        if known is None:
            labels = self.labels.merged(dict(run.layout.labels))
            known = self._open((run.layout.id,), run.layout.paths, _NO_TIMES, labels, counts)
        times = run.mono_ns + self._map_time(0)
        self._append(known, times, run.values, batch, counts, now_ns, nothing=run.nothing)

    def _records(
        self, records: list[TapeRecord], batch: IngestBatch, counts: TapeCounts, now_ns: int
    ) -> None:
        # Ticks that arrived as dictionaries are gathered by shape, so that a run of them costs
        # one append.
        pending: dict[_Key, tuple[list[int], list[list[float]]]] = {}
        nothing: dict[_Key, int] = {}
        for record in records:
            time_ns = self._map_time(record.mono_ns)
            if record.kind is RecordKind.TICK:
                self.last_tick_ns = time_ns
                flat = flatten(record.body)
                counts.refused_values += flat.refused
                times = {path: self._engine_time(t, time_ns) for path, t in flat.times.items()}
                paths = (*flat.numbers, *times)
                key = (paths, len(flat.numbers))
                if key not in self._tables:
                    self._open(key, paths, frozenset(times), self.labels, counts)
                rows = pending.setdefault(key, ([], []))
                rows[0].append(time_ns)
                rows[1].append([*flat.numbers.values(), *times.values()])
                nothing[key] = nothing.get(key, 0) + flat.nothing
            elif record.frame_ring:
                self._unregistered(record, time_ns, batch, counts, now_ns)
            else:
                self._event(record, time_ns, batch, counts)
        for shape, (row_times, row_values) in pending.items():
            self._append(
                self._tables[shape],
                np.array(row_times, dtype=np.int64),
                np.array(row_values, dtype=np.float64),
                batch,
                counts,
                now_ns,
                nothing=nothing[shape],
            )

    def _unregistered(
        self,
        record: TapeRecord,
        time_ns: int,
        batch: IngestBatch,
        counts: TapeCounts,
        now_ns: int,
    ) -> None:
        """Take a metric or timer for which the tape had no room for one more layout."""
        values = flatten(record.body.get("values") or {}).numbers
        labels = self.labels.merged(record.body.get("labels") or {})
        key = (tuple(values), labels)
        known = self._tables.get(key) or self._open(key, tuple(values), _NO_TIMES, labels, counts)
        row = np.array([list(values.values())], dtype=np.float64)
        self._append(known, np.array([time_ns], dtype=np.int64), row, batch, counts, now_ns)

    def _event(
        self, record: TapeRecord, time_ns: int, batch: IngestBatch, counts: TapeCounts
    ) -> None:
        if record.kind is RecordKind.ERROR:
            kind = error_type(record.body, counts.errors)
            counts.errors[kind] = counts.errors.get(kind, 0) + 1
        elif record.kind in (RecordKind.FILL, RecordKind.TRADE_CLOSED):
            counts.trades += 1
        batch.events.append(
            IngestedEvent(self.id, record.kind.name.lower(), time_ns, record.number, record.body)
        )

    def _open(
        self,
        key: _Key,
        paths: tuple[str, ...],
        time_paths: frozenset[str],
        labels: Labels,
        counts: TapeCounts,
    ) -> _Columns:
        named = name_columns(paths, self._catalogue, labels, time_paths=time_paths)
        counts.refused_values += named.collisions
        table = self._head.table(named.labels, source=self.id)
        complete = named.columns == tuple(range(len(paths)))
        known = _Columns(
            table, None if complete else list(named.columns), tuple(s.name for s in named.labels)
        )
        self._tables[key] = known
        return known

    def _append(
        self,
        known: _Columns,
        times: Times,
        values: Values,
        batch: IngestBatch,
        counts: TapeCounts,
        now_ns: int,
        *,
        nothing: int = 0,
    ) -> None:
        """Append rows; ``nothing`` of their NaN cells stand for values that the engine left out."""
        if known.columns is not None:
            values = values[:, known.columns]
        if len(times) > 1 and bool((times[1:] < times[:-1]).any()):
            # Threads of the engine may write a little out of order; rules want rising instants.
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        latest = now_ns + FUTURE_TOLERANCE_NS
        if times[-1] > latest:
            timely = int(np.searchsorted(times, latest, side="right"))
            counts.future_samples += (len(times) - timely) * values.shape[1]
            times, values = times[:timely], values[:timely]
            if not timely:
                return
        invalid = max(int(np.isnan(values).sum()) - nothing, 0)
        counts.invalid_values += invalid
        newest = int(times[-1])
        self._newest_ns = max(self._newest_ns, newest)
        if invalid:
            self._invalid_ns[id(known)] = newest
        elif self._invalid_ns:
            self._invalid_ns.pop(id(known), None)
        known.table.append(times, values)
        for name in known.names:
            batch.touch(name, times)

    def _engine_time(self, stamp: float, record_ns: int) -> float:
        """Return an engine's own wall-clock stamp on the steady timeline.

        After a step of the wall clock the engine's stamps carry the step and the timeline does
        not. Of the two readings the one nearer to the record itself is the one that was meant.
        """
        deviation = self.wall_deviation_ns / SECOND
        if abs(deviation) < 1:
            return stamp
        record = record_ns / SECOND
        return min(stamp, stamp - deviation, key=lambda candidate: abs(record - candidate))
