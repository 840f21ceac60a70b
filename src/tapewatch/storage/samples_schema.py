"""The form of the sample store's file, version by version."""

from __future__ import annotations

from tapewatch.storage.database import Schema

COLUMN_BITS = 12
MAX_COLUMNS = 1 << COLUMN_BITS
"""Columns of one chunk; a wider table is written as several."""

# A column's id is its chunk's id and its place, so that a chunk's columns lie side by side and one
# of them is found without an index.
_VERSION_1 = """
CREATE TABLE watermarks (source TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, labels TEXT NOT NULL);
CREATE TABLE tables (id INTEGER PRIMARY KEY, keeps_nan INTEGER NOT NULL, series BLOB NOT NULL);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, table_id INTEGER NOT NULL, min_ns INTEGER NOT NULL,
  max_ns INTEGER NOT NULL, rows INTEGER NOT NULL, samples INTEGER NOT NULL, times BLOB NOT NULL
);
CREATE INDEX chunks_by_table ON chunks (table_id, max_ns, min_ns, rows);
CREATE INDEX chunks_by_end ON chunks (max_ns);
CREATE TABLE columns (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""

SAMPLES_SCHEMA = Schema(
    what="sample store",
    migrations=(_VERSION_1,),
    columns={
        "watermarks": "source, body",
        "series": "id, labels",
        "tables": "id, keeps_nan, series",
        "chunks": "id, table_id, min_ns, max_ns, rows, samples, times",
        "columns": "id, data",
    },
)


def column_id(chunk: int, column: int) -> int:
    """Return the id of a chunk's column."""
    return chunk << COLUMN_BITS | column
