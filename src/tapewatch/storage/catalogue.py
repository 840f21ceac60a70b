"""The sample store's series and tables, kept in memory: what is where in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapewatch.model.labels import Labels
from tapewatch.series.index import SeriesIndex
from tapewatch.series.querier import Matcher
from tapewatch.storage.codec import from_text, to_text

_IDS = np.dtype("<i8")

TableKey = tuple[tuple[Labels, ...], bool]
"""The series of a table, and whether NaN is a sample in it."""
Place = tuple[int, int]
"""A table's id and a column in it."""


@dataclass(slots=True)
class Additions:
    """Series and tables that a transaction makes; they count once it has been committed."""

    series: dict[Labels, int] = field(default_factory=dict)
    tables: dict[TableKey, int] = field(default_factory=dict)


class Catalogue:
    """Finds series by matchers, and tables by their series. Its owner holds a lock."""

    def __init__(self) -> None:
        self._index = SeriesIndex()
        self._tables: dict[TableKey, int] = {}
        self._series_of: dict[int, tuple[int, ...]] = {}
        self._keeps_nan: dict[int, bool] = {}
        self._places: dict[int, list[Place]] = {}
        self._next_series = 1
        self._next_table = 1

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Catalogue:
        """Read the catalogue of a file."""
        catalogue = cls()
        for number, text in connection.execute("SELECT id, labels FROM series"):
            catalogue._index.add(Labels(map(tuple, from_text(text))), number)
            catalogue._next_series = max(catalogue._next_series, number + 1)
        rows = connection.execute("SELECT id, keeps_nan, series FROM tables")
        for table, keeps_nan, blob in rows:
            numbers = np.frombuffer(blob, _IDS).tolist()
            labels = tuple(catalogue._index.labels(number) for number in numbers)
            catalogue._add_table((labels, bool(keeps_nan)), table)
        return catalogue

    @property
    def series_count(self) -> int:
        """Series known."""
        return len(self._index)

    def places(self, matchers: Sequence[Matcher]) -> list[tuple[Labels, list[Place]]]:
        """Return the matching series, and the columns that hold them."""
        return [
            (self._index.labels(number), list(self._places.get(number, ())))
            for number in self._index.match(matchers)
        ]

    def label_names(self, matchers: Sequence[Matcher]) -> list[str]:
        """Return the sorted label names of the matching series."""
        return self._index.label_names(matchers)

    def label_values(self, name: str, matchers: Sequence[Matcher]) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        return self._index.label_values(name, matchers)

    def shape(self, table: int) -> tuple[int, bool]:
        """Return a table's number of columns, and whether NaN is a sample in it.

        A table that is gone meanwhile has no columns.
        """
        return len(self._series_of.get(table, ())), self._keeps_nan.get(table, True)

    def table(self, connection: sqlite3.Connection, key: TableKey, new: Additions) -> int:
        """Return the table's id, writing the table and its series if they are new."""
        known = self._tables.get(key) or new.tables.get(key)
        if known is not None:
            return known
        numbers = []
        for labels in key[0]:
            number = self._index.number(labels) or new.series.get(labels)
            if number is None:
                number = new.series[labels] = self._next_series + len(new.series)
                connection.execute(
                    "INSERT INTO series VALUES (?, ?)", (number, to_text(labels.pairs))
                )
            numbers.append(number)
        table = new.tables[key] = self._next_table + len(new.tables)
        blob = np.array(numbers, _IDS).tobytes()
        connection.execute("INSERT INTO tables VALUES (?, ?, ?)", (table, key[1], blob))
        return table

    def committed(self, new: Additions) -> None:
        """Take in what a committed transaction has made."""
        for labels, number in new.series.items():
            self._index.add(labels, number)
            self._next_series = max(self._next_series, number + 1)
        for key, table in new.tables.items():
            self._add_table(key, table)

    def orphans(self, empty: Iterable[int]) -> list[int]:
        """Return the series that are in no other table than these."""
        gone = set(empty)
        touched = {number for table in gone for number in self._series_of[table]}
        return [n for n in touched if all(table in gone for table, _ in self._places[n])]

    def removed(self, tables: Iterable[int], series: Iterable[int]) -> None:
        """Forget tables and series that a committed transaction has deleted."""
        for table in tables:
            numbers = self._series_of.pop(table)
            labels = tuple(self._index.labels(number) for number in numbers)
            del self._tables[labels, self._keeps_nan.pop(table)]
            for number in numbers:
                self._places[number] = [p for p in self._places[number] if p[0] != table]
        for number in series:
            self._index.remove(number)
            del self._places[number]

    def _add_table(self, key: TableKey, table: int) -> None:
        numbers = tuple(number for n in key[0] if (number := self._index.number(n)) is not None)
        self._tables[key] = table
        self._series_of[table] = numbers
        self._keeps_nan[table] = key[1]
        self._next_table = max(self._next_table, table + 1)
        for column, number in enumerate(numbers):
            self._places.setdefault(number, []).append((table, column))
