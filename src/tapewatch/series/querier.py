"""What a reader of series may ask: the one protocol between storage and the query engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tapewatch.model.labels import Labels

Times = npt.NDArray[np.int64]
"""Nanoseconds since the Unix epoch, strictly rising."""
Values = npt.NDArray[np.float64]

STALE_BITS = 0x7FF0000000000002
"""Bit pattern of a stale marker: the series has ended for now. Compare bits, never values."""
STALE = float(np.uint64(STALE_BITS).view(np.float64))


def is_stale(values: Values) -> npt.NDArray[np.bool_]:
    """Return which values are stale markers; an ordinary NaN is not one."""
    result: npt.NDArray[np.bool_] = values.view(np.uint64) == np.uint64(STALE_BITS)
    return result


class MatchType(StrEnum):
    """How a matcher compares a label value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label test. An absent label has the empty value. Regexes are RE2, fully anchored."""

    name: str
    type: MatchType
    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.type.value}"{escaped}"'


@dataclass(frozen=True, slots=True)
class SeriesSlice:
    """The samples of one series in an interval. Arrays are never changed after they are given."""

    labels: Labels
    times: Times
    values: Values


@dataclass(frozen=True, slots=True)
class Sheet:
    """Samples of k series that share their n instants; no cell is absent, stale markers count."""

    times: Times
    values: Values
    """Shape (k, n): a row for each series."""


class LabelList(list[Labels]):
    """Labels of series that are likely to be selected together again.

    What a reader derives from all of them is kept here, and goes when the list goes. The list
    itself is never changed.
    """

    __slots__ = ("derived",)

    def __init__(self, labels: Iterable[Labels] = ()) -> None:
        super().__init__(labels)
        self.derived: dict[object, Any] = {}


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of many series, as few arrays as possible. None of them is ever changed."""

    labels: list[Labels]
    """Of every row of every sheet, in order."""
    sheets: list[Sheet]

    @classmethod
    def of(cls, slices: Sequence[SeriesSlice]) -> Selection:
        """Return the selection of these series; those without a sample are left out."""
        full = [one for one in slices if len(one.times)]
        return cls(
            [one.labels for one in full], [Sheet(one.times, one.values[None, :]) for one in full]
        )

    def slices(self) -> list[SeriesSlice]:
        """Return each series by itself."""
        labels = iter(self.labels)
        return [
            SeriesSlice(next(labels), sheet.times, row)
            for sheet in self.sheets
            for row in sheet.values
        ]


class Digest(NamedTuple):
    """What the samples of one series in a window come to; there is at least one."""

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


class Querier(Protocol):
    """Reads series. Implementations are safe to call from any thread."""

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return every series that all matchers accept, with its samples in [start, end].

        Both ends are closed. Series without a sample there may be left out. Stale markers are
        returned as samples; it is the reader's work to obey them. Order is free.
        """
        ...

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        ...

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        ...

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series that may have samples in [start, end]."""
        ...


@runtime_checkable
class ColumnarQuerier(Querier, Protocol):
    """A querier that answers for whole tables, and for instants without all that lies before."""

    def columns(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        first_ns: int | None = None,
    ) -> Selection:
        """Return the matching series' samples in [start, end]; series without one are left out.

        With ``first_ns`` given, of the samples in [start, first] only each series' newest one is
        wanted: what instant selectors see that look back to ``start`` from [first, end].
        """
        ...
