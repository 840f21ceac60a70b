"""The sample store: what the head has written away, in compressed chunks, for as long as asked."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapewatch.model.errors import QueryLimitError, StorageError, StorageFailure
from tapewatch.model.labels import EMPTY, Labels
from tapewatch.series.block import is_absent
from tapewatch.series.chunk import (
    MAX_ROWS,
    ChunkError,
    decode_times,
    decode_values,
    encode_times,
    encode_values,
    has_absent,
)
from tapewatch.series.head import TableSlice
from tapewatch.series.pieces import Piece, join
from tapewatch.series.querier import Matcher, SeriesSlice, Times, Values
from tapewatch.storage.catalogue import Additions, Catalogue, TableKey
from tapewatch.storage.codec import from_text, plain, to_text
from tapewatch.storage.compaction import crowded_tables, join_run, runs
from tapewatch.storage.database import Database, Settings
from tapewatch.storage.samples_schema import COLUMN_BITS, MAX_COLUMNS, SAMPLES_SCHEMA, column_id

MAX_SELECTED_SAMPLES = 50_000_000
"""Samples that one select may unpack; Prometheus's limit for a query."""
MIN_FREE_BYTES = 8 << 20
"""Room on the disk that is left to the state store: below it the oldest samples are given up."""
_PRUNED_AT_ONCE = 512
_PRUNED_TRANSACTIONS = 100
_VACUUMED_PAGES = 2048
_COMPACTED_TABLES = 4000
_COMPACTED_RUNS = 64
_GIVEN_UP_AT_ONCE = 8
_NAMED_COLUMNS = 32
"""Up to so many columns of a chunk are asked for by name; of more, the whole chunk is read."""
_SETTINGS = Settings(synchronous="NORMAL", busy_seconds=0.1, page_size=8192)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A chunk before it has an id."""

    key: TableKey
    min_ns: int
    max_ns: int
    rows: int
    samples: int
    times: bytes
    columns: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: int
    table: int
    rows: int


class SampleStore:
    """Chunks of tables in one SQLite file; implements ``Querier``.

    One transaction takes samples together with the watermarks of their sources, so a source may
    forget what lies behind its watermark. Writing is for one thread at a time (a lock sees to
    it); reading is for any thread, and sees one moment of the file.
    """

    def __init__(self, database: Database, *, max_selected: int, min_free_bytes: int) -> None:
        self._database = database
        self._max_selected = max_selected
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        """Guards the catalogue."""
        self.path = database.path
        self.samples_written = 0
        self.samples_given_up = 0
        """Samples deleted before their time because the disk was nearly full."""
        self.damaged_columns = 0
        """Columns of chunks that could not be read and were left out of an answer."""
        with database.reading("loading") as connection:
            self._catalogue = Catalogue.load(connection)
            newest = connection.execute("SELECT max(max_ns) FROM chunks").fetchone()[0]
        self._openings = database.openings
        self.newest_at_open_ns: int | None = newest
        """Time of the newest sample when the store was opened: no newer one is here alone."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        now_ns: int,
        max_selected: int = MAX_SELECTED_SAMPLES,
        min_free_bytes: int = MIN_FREE_BYTES,
        patient: bool = False,
    ) -> SampleStore:
        """Open the file, or make it.

        A damaged file, or one of a newer version, is moved aside, never deleted, and a fresh one
        is begun; see ``recovered``.

        Args:
            path: The database file.
            now_ns: For the name of a damaged file.
            max_selected: Samples that one select may unpack.
            min_free_bytes: Room on the disk that writing leaves free.
            patient: Go on without the file while it cannot be opened for a reason that may pass;
                each write tries to open it.

        Raises:
            StorageError: The file cannot be read or made, is locked, or is no file of ours.
        """
        database = Database.open(path, SAMPLES_SCHEMA, _SETTINGS, now_ns=now_ns, patient=patient)
        return cls(database, max_selected=max_selected, min_free_bytes=min_free_bytes)

    @property
    def recovered(self) -> str | None:
        """Why a fresh file was begun although there was one; None when that was not so."""
        return self._database.recovered

    # -- writing ---------------------------------------------------------------------------

    def write(
        self,
        drained: Iterable[TableSlice],
        watermarks: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> int:
        """Write samples and how far their sources have been written; return the samples.

        All of it or nothing. Samples that are here already are kept once more and told once: of
        two for one instant the one written last is the answer.

        Args:
            drained: From ``Head.drain_for_chunks``; tell the head by ``persisted`` afterwards.
            watermarks: JSON-able positions by source; None forgets the source.

        Raises:
            StorageError: Nothing was written. ``full`` also when only the room that belongs to
                the state store is left and there is nothing older to give up.
        """
        chunks = [chunk for piece in drained for chunk in _encode(piece)]
        samples = sum(chunk.samples for chunk in chunks)
        with self._database.lock:
            self._make_room(sum(_size(chunk) for chunk in chunks))
            new = Additions()
            with self._database.transaction("writing samples to") as connection:
                self._meet(connection)
                for chunk in chunks:
                    table = self._catalogue.table(connection, chunk.key, new)
                    _insert(connection, table, chunk)
                for source, body in (watermarks or {}).items():
                    _set_watermark(connection, source, body)
            with self._lock:
                self._catalogue.committed(new)
        self.samples_written += samples
        return samples

    def prune(self, before_ns: int) -> int:
        """Delete chunks whose samples are all older than this; return how many chunks went.

        A chunk that reaches the edge stays whole. What is kept is tidied on the same round: see
        ``compact``. The work of one call is bounded, and done in short transactions so that nobody
        waits for it; what is left goes with the next call. Freed pages go back to the disk bit by
        bit.

        Raises:
            StorageError: The file cannot be written.
        """
        deleted = 0
        for _ in range(_PRUNED_TRANSACTIONS):
            with self._database.lock:
                chunks, _ = self._delete("max_ns < ?", (before_ns,), _PRUNED_AT_ONCE)
                if chunks:
                    self._database.vacuum(_VACUUMED_PAGES)
            deleted += chunks
            if chunks < _PRUNED_AT_ONCE:
                break
        bounds = self.bounds()
        if bounds is not None:
            # By the samples' own clock: an hour that newer samples follow is over.
            self.compact(bounds[1])
        return deleted

    def compact(self, before_ns: int) -> int:
        """Join the small chunks of each hour that ended before this; return how many chunks went.

        Every flush writes a chunk of each table, however few rows it has; after an hour those
        become one. Nothing that can be read changes. The work of one call is bounded, and done
        in short transactions: call it now and then.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._database.reading("looking for small chunks in") as connection:
            tables = crowded_tables(connection, before_ns, _COMPACTED_TABLES)
        joined = 0
        for table in tables:
            with self._database.lock:
                with self._lock:
                    width, keeps_nan = self._catalogue.shape(table)
                with self._database.transaction("joining chunks of") as connection:
                    for run in runs(connection, table, before_ns)[:_COMPACTED_RUNS]:
                        if join_run(connection, run, width, keeps_nan=keeps_nan):
                            joined += len(run) - 1
        if joined:
            self._database.vacuum(_VACUUMED_PAGES)
        return joined

    # -- reading ---------------------------------------------------------------------------

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return the matching series' samples in [start, end]; series without one are left out.

        Raises:
            QueryLimitError: More samples would have to be unpacked than one select may.
            StorageError: The file cannot be read.
        """
        with self._lock:
            places = self._catalogue.places(matchers)
        wanted: dict[int, set[int]] = {}
        for _, columns in places:
            for table, column in columns:
                wanted.setdefault(table, set()).add(column)
        if not wanted:
            return []
        found: dict[tuple[int, int], list[tuple[int, Piece]]] = {}
        with self._database.reading("reading samples from") as connection:
            for chunk in self._chunks(connection, wanted, start_ns, end_ns):
                self._unpack(connection, chunk, wanted[chunk.table], start_ns, end_ns, found)
        picked = []
        for labels, columns in places:
            pieces = [pair for place in columns for pair in found.get(place, ())]
            # What was written later is the truth where two chunks hold the same instant.
            pieces.sort(key=lambda pair: pair[0])
            picked.append((labels, [piece for _, piece in pieces]))
        return join(picked)

    def newest(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        known: frozenset[Labels] = frozenset(),
    ) -> list[SeriesSlice]:
        """Return the newest sample in [start, end] of each matching series but the known ones.

        Chunks are unpacked from the newest backwards until every series has its sample.

        Raises:
            StorageError: The file cannot be read.
        """
        with self._lock:
            places = [p for p in self._catalogue.places(matchers) if p[0] not in known]
        wanted: dict[int, set[int]] = {}
        for _, columns in places:
            for table, column in columns:
                wanted.setdefault(table, set()).add(column)
        if not wanted:
            return []
        newest: dict[tuple[int, int], tuple[Times, Values]] = {}
        with self._database.reading("reading samples from") as connection:
            for table, wanted_columns in wanted.items():
                found_in = self._newest_of(connection, table, wanted_columns, start_ns, end_ns)
                newest.update({(table, column): part for column, part in found_in.items()})
        slices = []
        for labels, columns in places:
            found = [newest[place] for place in columns if place in newest]
            if found:
                slices.append(SeriesSlice(labels, *max(found, key=lambda part: int(part[0][0]))))
        return slices

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        with self._lock:
            return self._catalogue.label_names(matchers)

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        with self._lock:
            return self._catalogue.label_values(name, matchers)

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series with chunks in [start, end]."""
        with self._lock:
            places = self._catalogue.places(matchers)
        tables = {table for _, columns in places for table, _ in columns}
        with self._database.reading("reading series from") as connection:
            alive = {
                table
                for table in tables
                if connection.execute(
                    "SELECT 1 FROM chunks WHERE table_id = ? AND max_ns >= ? AND min_ns <= ? "
                    "LIMIT 1",
                    (table, start_ns, end_ns),
                ).fetchone()
            }
        return sorted(labels for labels, columns in places if any(t in alive for t, _ in columns))

    def watermarks(self) -> dict[str, Any]:
        """Return how far each source has been written."""
        with self._database.reading("reading watermarks from") as connection:
            rows = connection.execute("SELECT source, body FROM watermarks").fetchall()
        return {source: from_text(body) for source, body in rows}

    def sizes(self) -> dict[str, int]:
        """Return the numbers of series, chunks and samples, and ``bytes`` on disk."""
        with self._database.reading("measuring") as connection:
            chunks, samples = connection.execute(
                "SELECT count(*), coalesce(sum(samples), 0) FROM chunks"
            ).fetchone()
        return {
            "series": self._catalogue.series_count,
            "chunks": int(chunks),
            "samples": int(samples),
            "bytes": self._database.size_bytes(),
        }

    def bounds(self) -> tuple[int, int] | None:
        """Return the times of the oldest and the newest sample; None for an empty store."""
        with self._database.reading("measuring") as connection:
            row = connection.execute("SELECT min(min_ns), max(max_ns) FROM chunks").fetchone()
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def integrity(self) -> str:
        """Return ``ok``, or what a full check finds wrong. Reads the whole file."""
        return self._database.integrity()

    def backup(self, target: Path) -> None:
        """Write a consistent copy while writing goes on.

        Raises:
            StorageError: The copy cannot be written.
        """
        self._database.backup(target)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # -- inside ----------------------------------------------------------------------------

    def _chunks(
        self,
        connection: sqlite3.Connection,
        wanted: Mapping[int, set[int]],
        start_ns: int,
        end_ns: int,
    ) -> list[_Chunk]:
        """Return the chunks to be unpacked, or refuse when they are too much."""
        chunks = []
        cells = 0
        for table, columns in wanted.items():
            rows = connection.execute(
                "SELECT id, rows FROM chunks "
                "WHERE table_id = ? AND max_ns >= ? AND min_ns <= ? ORDER BY id",
                (table, start_ns, end_ns),
            )
            for number, count in rows:
                chunks.append(_Chunk(number, table, count))
                cells += count * len(columns)
        if cells > self._max_selected:
            raise QueryLimitError(
                f"the selection would unpack {cells} stored samples; at most "
                f"{self._max_selected} are allowed: ask for fewer series or a shorter time"
            )
        return chunks

    def _unpack(
        self,
        connection: sqlite3.Connection,
        chunk: _Chunk,
        wanted: set[int],
        start_ns: int,
        end_ns: int,
        found: dict[tuple[int, int], list[tuple[int, Piece]]],
    ) -> None:
        row = connection.execute("SELECT times FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
        # What is damaged must not hide what is not; the count makes it visible.
        try:
            times = decode_times(row[0])
        except ChunkError:
            self.damaged_columns += 1
            return
        low = int(times.searchsorted(start_ns, "left"))
        high = int(times.searchsorted(end_ns, "right"))
        if low == high:
            return
        rows = times[low:high]
        for column, data in _columns(connection, chunk.id, wanted):
            try:
                values = decode_values(data)
                if len(values) != len(times):
                    raise ChunkError("a column must be as long as its times")
            except ChunkError:
                self.damaged_columns += 1
                continue
            piece = Piece(rows, values[low:high], has_absent(data), (chunk.id, low, high))
            found.setdefault((chunk.table, column), []).append((chunk.id, piece))

    def _newest_of(
        self,
        connection: sqlite3.Connection,
        table: int,
        columns: set[int],
        start_ns: int,
        end_ns: int,
    ) -> dict[int, tuple[Times, Values]]:
        """Return the newest sample of some columns of one table."""
        best: dict[int, tuple[tuple[int, int], Times, Values]] = {}
        chunks = connection.execute(
            "SELECT id, rows, max_ns FROM chunks "
            "WHERE table_id = ? AND max_ns >= ? AND min_ns <= ? ORDER BY max_ns DESC",
            (table, start_ns, end_ns),
        )
        for number, rows, max_ns in chunks:
            # Chunks may overlap where samples came late. One that reaches no further than what
            # was found cannot have a newer sample; one that reaches as far may have a later word.
            missing = {c for c in columns if c not in best or best[c][0][0] <= max_ns}
            if not missing:
                break
            found: dict[tuple[int, int], list[tuple[int, Piece]]] = {}
            chunk = _Chunk(number, table, rows)
            self._unpack(connection, chunk, missing, start_ns, end_ns, found)
            for (_, column), [(_, piece)] in found.items():
                for series in join([(EMPTY, [piece])]):
                    rank = int(series.times[-1]), number
                    if column not in best or rank > best[column][0]:
                        best[column] = rank, series.times[-1:], series.values[-1:]
        return {column: (times, values) for column, (_, times, values) in best.items()}

    def _meet(self, connection: sqlite3.Connection) -> None:
        """Learn what the file holds, if it could not be opened before now."""
        if self._openings != self._database.openings:
            self._openings = self._database.openings
            with self._lock:
                self._catalogue = Catalogue.load(connection)

    def _delete(
        self, condition: str, arguments: Sequence[Any], limit: int
    ) -> tuple[int, tuple[int, int]]:
        """Delete chunks, the oldest first, and what nothing else needs; return their number.

        The second value is the samples and about the bytes that went with them. The caller holds
        the database's lock.
        """
        with self._database.transaction("deleting samples from") as connection:
            self._meet(connection)
            rows = connection.execute(
                "SELECT id, table_id, samples, length(times) FROM chunks "  # noqa: S608 - our words
                f"WHERE {condition} ORDER BY max_ns LIMIT {limit}",
                arguments,
            ).fetchall()
            size = sum(row[3] for row in rows)
            for number, *_ in rows:
                edges = (column_id(number, 0), column_id(number, MAX_COLUMNS - 1))
                size += connection.execute(
                    "SELECT coalesce(sum(length(data)), 0) FROM columns WHERE id BETWEEN ? AND ?",
                    edges,
                ).fetchone()[0]
                connection.execute("DELETE FROM columns WHERE id BETWEEN ? AND ?", edges)
                connection.execute("DELETE FROM chunks WHERE id = ?", (number,))
            empty = [
                table
                for table in {row[1] for row in rows}
                if not connection.execute(
                    "SELECT 1 FROM chunks WHERE table_id = ? LIMIT 1", (table,)
                ).fetchone()
            ]
            with self._lock:
                orphans = self._catalogue.orphans(empty)
            connection.executemany("DELETE FROM tables WHERE id = ?", [(t,) for t in empty])
            connection.executemany("DELETE FROM series WHERE id = ?", [(n,) for n in orphans])
        with self._lock:
            self._catalogue.removed(empty, orphans)
        return len(rows), (sum(row[2] for row in rows), size)

    def _make_room(self, needed: int) -> None:
        """Give up the oldest samples when the disk has little room left besides them.

        Their pages are used again, so the file need not grow.
        """
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return
        if disk.f_bavail * disk.f_frsize >= self._min_free_bytes + needed:
            return
        room = self._database.free_bytes()
        # Pages are not filled to the brim, so twice as much is asked for.
        while room < 2 * needed:
            chunks, (samples, size) = self._delete("1", (), _GIVEN_UP_AT_ONCE)
            if not chunks:
                raise StorageError(
                    f"writing samples to {self.path}: less than {self._min_free_bytes >> 20} MiB "
                    "are free on the disk, and those are kept for alerts",
                    reason=StorageFailure.FULL,
                    next_step="free space on the disk; it is tried again",
                )
            self.samples_given_up += samples
            room += size


def _encode(piece: TableSlice) -> list[_Encoded]:
    """Return the chunks of a table's rows: one, unless it is very wide or very long."""
    chunks = []
    for first in range(0, len(piece.labels), MAX_COLUMNS):
        columns = slice(first, first + MAX_COLUMNS)
        for start in range(0, len(piece.times), MAX_ROWS):
            rows = slice(start, start + MAX_ROWS)
            key = (piece.labels[columns], piece.keeps_nan)
            chunks.append(_encode_chunk(key, piece.times[rows], piece.values[columns, rows]))
    return chunks


def _encode_chunk(key: TableKey, times: Times, values: Values) -> _Encoded:
    keeps_nan = key[1]
    columns = []
    samples = 0
    for column, cells in enumerate(values):
        present = len(cells) if keeps_nan else len(cells) - int(is_absent(cells).sum())
        if present:
            samples += present
            columns.append((column, encode_values(cells, keeps_nan=keeps_nan)))
    return _Encoded(
        key,
        int(times[0]),
        int(times[-1]),
        len(times),
        samples,
        encode_times(times),
        tuple(columns),
    )


def _insert(connection: sqlite3.Connection, table: int, chunk: _Encoded) -> None:
    number = connection.execute(
        "INSERT INTO chunks (table_id, min_ns, max_ns, rows, samples, times) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (table, chunk.min_ns, chunk.max_ns, chunk.rows, chunk.samples, chunk.times),
    ).lastrowid
    if number is None:
        raise StorageError("SQLite gave a new chunk no id")
    connection.executemany(
        "INSERT INTO columns VALUES (?, ?)",
        [(column_id(number, column), data) for column, data in chunk.columns],
    )


def _set_watermark(
    connection: sqlite3.Connection, source: str, body: Mapping[str, Any] | None
) -> None:
    if body is None:
        connection.execute("DELETE FROM watermarks WHERE source = ?", (plain(source),))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO watermarks VALUES (?, ?)", (plain(source), to_text(dict(body)))
        )


def _columns(
    connection: sqlite3.Connection, chunk: int, wanted: set[int]
) -> list[tuple[int, bytes]]:
    """Return the wanted columns of a chunk with their places."""
    if len(wanted) <= _NAMED_COLUMNS:
        ids = [column_id(chunk, column) for column in sorted(wanted)]
        marks = ", ".join("?" * len(ids))
        rows = connection.execute(
            f"SELECT id, data FROM columns WHERE id IN ({marks})",  # noqa: S608 - question marks
            ids,
        )
    else:
        rows = connection.execute(
            "SELECT id, data FROM columns WHERE id BETWEEN ? AND ?",
            (column_id(chunk, 0), column_id(chunk, MAX_COLUMNS - 1)),
        )
    places = ((number & (1 << COLUMN_BITS) - 1, data) for number, data in rows)
    return [(column, data) for column, data in places if column in wanted]


def _size(chunk: _Encoded) -> int:
    return len(chunk.times) + sum(len(data) for _, data in chunk.columns)
