"""Join the small chunks of each past hour into one: what was written often is kept well."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tapewatch.model.clock import HOUR
from tapewatch.series.block import MAX_ROWS, is_absent
from tapewatch.series.chunk import (
    ChunkError,
    decode_times,
    decode_values,
    encode_times,
    encode_values,
)
from tapewatch.storage.samples_schema import MAX_COLUMNS, column_id

WINDOW_NS = HOUR
"""Chunks are joined within one window only, so that retention stays exact to the hour."""
SMALL_ROWS = MAX_ROWS // 2
"""A chunk of more rows is left as it is."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A chunk in the file."""

    id: int
    min_ns: int
    max_ns: int
    rows: int


def crowded_tables(connection: sqlite3.Connection, before_ns: int, limit: int) -> list[int]:
    """Return tables with several small chunks in one window that ended before an instant."""
    rows = connection.execute(
        "SELECT DISTINCT table_id FROM ("
        "SELECT table_id FROM chunks WHERE max_ns < ? AND rows < ? "
        "GROUP BY table_id, min_ns / ? HAVING count(*) > 1) LIMIT ?",
        (before_ns // WINDOW_NS * WINDOW_NS, SMALL_ROWS, WINDOW_NS, limit),
    )
    return [row[0] for row in rows]


def runs(connection: sqlite3.Connection, table: int, before_ns: int) -> list[list[Stored]]:
    """Return the runs of a table's chunks that can be joined, each of two chunks at least.

    A run is in order of time and of writing, without another chunk of the table in between: so
    it changes nothing about which word on an instant was the last.
    """
    stored = [
        Stored(*row)
        for row in connection.execute(
            "SELECT id, min_ns, max_ns, rows FROM chunks WHERE table_id = ? AND max_ns < ? "
            "ORDER BY id",
            (table, before_ns // WINDOW_NS * WINDOW_NS),
        )
    ]
    found = []
    for _, window in groupby(stored, key=lambda chunk: chunk.min_ns // WINDOW_NS):
        found += [run for run in _runs(list(window)) if len(run) > 1]
    return found


def join_run(
    connection: sqlite3.Connection, run: Sequence[Stored], width: int, *, keeps_nan: bool
) -> bool:
    """Put a run into one chunk under its last chunk's id; False if one of them is damaged."""
    columns = np.full((width, sum(chunk.rows for chunk in run)), np.nan)
    times = []
    start = 0
    try:
        for chunk in run:
            data = connection.execute(
                "SELECT times FROM chunks WHERE id = ?", (chunk.id,)
            ).fetchone()
            times.append(decode_times(data[0]))
            stop = start + chunk.rows
            for number, values in connection.execute(
                "SELECT id, data FROM columns WHERE id BETWEEN ? AND ?", _edges(chunk.id)
            ):
                columns[number - column_id(chunk.id, 0), start:stop] = decode_values(values)
            start = stop
        joined = np.concatenate(times)
    except (ChunkError, ValueError, IndexError):
        return False
    if len(joined) != start:
        return False
    last = run[-1].id
    samples = connection.execute(
        f"SELECT sum(samples) FROM chunks WHERE id IN ({', '.join('?' * len(run))})",  # noqa: S608
        [chunk.id for chunk in run],
    ).fetchone()[0]
    for chunk in run:
        connection.execute("DELETE FROM columns WHERE id BETWEEN ? AND ?", _edges(chunk.id))
        if chunk.id != last:
            connection.execute("DELETE FROM chunks WHERE id = ?", (chunk.id,))
    connection.execute(
        "UPDATE chunks SET min_ns = ?, max_ns = ?, rows = ?, samples = ?, times = ? WHERE id = ?",
        (int(joined[0]), int(joined[-1]), len(joined), samples, encode_times(joined), last),
    )
    connection.executemany(
        "INSERT INTO columns VALUES (?, ?)",
        [
            (column_id(last, column), encode_values(values, keeps_nan=keeps_nan))
            for column, values in enumerate(columns)
            if keeps_nan or not is_absent(values).all()
        ],
    )
    return True


def _runs(window: Sequence[Stored]) -> Iterator[list[Stored]]:
    run: list[Stored] = []
    rows = 0
    for chunk in window:
        small = chunk.rows < SMALL_ROWS
        follows = bool(run) and run[-1].max_ns < chunk.min_ns
        if small and follows and rows + chunk.rows <= MAX_ROWS:
            run.append(chunk)
            rows += chunk.rows
            continue
        if run:
            yield run
        run, rows = ([chunk], chunk.rows) if small else ([], 0)
    if run:
        yield run


def _edges(chunk: int) -> tuple[int, int]:
    return column_id(chunk, 0), column_id(chunk, MAX_COLUMNS - 1)
