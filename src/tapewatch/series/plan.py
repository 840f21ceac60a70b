"""Where the series of a selection lie in the head, so that whole tables are read at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tapewatch.model.labels import Labels
from tapewatch.series.columns import ColumnGroup, Range
from tapewatch.series.querier import LabelList, Sheet


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Columns of one table that a selection takes."""

    group: ColumnGroup
    columns: npt.NDArray[np.intp] | None
    """None when it takes all of them, in order."""
    labels: list[Labels]

    def members(self) -> Iterator[tuple[Labels, int]]:
        """Yield labels and column of each series."""
        columns = range(len(self.labels)) if self.columns is None else self.columns.tolist()
        return zip(self.labels, columns, strict=True)

    def sheet(self, ranges: Sequence[Range]) -> Sheet:
        """Return the rows of these ranges; blocks are views where that is possible."""
        if len(ranges) == 1:
            block, low, high = ranges[0]
            times, values = block.times[low:high], self._cells(ranges[0])
        else:
            times = np.concatenate([block.times[low:high] for block, low, high in ranges])
            values = np.concatenate([self._cells(found) for found in ranges], axis=1)
        times.flags.writeable = False
        values.flags.writeable = False
        return Sheet(times, values)

    def _cells(self, found: Range) -> npt.NDArray[np.float64]:
        block, low, high = found
        if self.columns is None:
            return block.values[:, low:high]
        if len(self.columns) == 1:
            column = self.columns.item(0)
            return block.values[column : column + 1, low:high]
        return block.values[self.columns, low:high]


Places = Sequence[tuple[ColumnGroup, int]]
"""Tables that a series is in, and its column in each."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A selection's series by table; valid while the index finds the same ones in their places."""

    numbers: tuple[int, ...]
    moves: int
    """The head's count of moved series when this was made."""
    stretches: list[Stretch]
    scattered: list[int]
    """Series that lie in several tables: each is put together by itself."""
    labels: LabelList
    """Of all stretches' series, in order."""

    @classmethod
    def of(
        cls, numbers: tuple[int, ...], series: Mapping[int, tuple[Labels, Places]], moves: int
    ) -> Plan:
        """Return the plan for these series."""
        tables: dict[ColumnGroup, tuple[list[int], list[Labels]]] = {}
        scattered = []
        for number in numbers:
            labels, places = series[number]
            if len(places) != 1:
                scattered.append(number)
                continue
            group, column = places[0]
            columns, members = tables.setdefault(group, ([], []))
            columns.append(column)
            members.append(labels)
        stretches = []
        for group, (columns, members) in tables.items():
            every = columns == list(range(group.width))
            stretches.append(
                Stretch(group, None if every else np.array(columns, dtype=np.intp), members)
            )
        together = LabelList(one for stretch in stretches for one in stretch.labels)
        return cls(numbers, moves, stretches, scattered, together)
