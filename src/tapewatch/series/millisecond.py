"""Series as the query API shows them: in milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tapewatch.model.clock import MILLISECOND
from tapewatch.model.labels import Labels
from tapewatch.series.querier import (
    ColumnarQuerier,
    Matcher,
    Selection,
    SeriesSlice,
    Sheet,
    Times,
)


class MillisecondView:
    """Implements ``ColumnarQuerier`` over another one; all times are whole milliseconds.

    Samples are stored in nanoseconds and asked for in milliseconds, as Prometheus has them. A
    time is cut to its millisecond; of several samples in one the last is shown, and the others
    are counted.
    """

    def __init__(self, querier: ColumnarQuerier) -> None:
        self._querier = querier
        self._lock = threading.Lock()
        self.hidden_samples = 0
        """Samples that a later one in the same millisecond has hidden, over all answers."""

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return the matching series' samples whose millisecond is in [start, end]."""
        return self.columns(matchers, start_ns, end_ns).slices()

    def columns(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        first_ns: int | None = None,
    ) -> Selection:
        """Return the matching series' samples whose millisecond is in [start, end].

        With ``first_ns`` given, of those up to its millisecond each series' newest one alone.
        """
        start_ns, end_ns = _widened(start_ns, end_ns)
        if first_ns is not None:
            first_ns = _widened(first_ns, first_ns)[1]
        found = self._querier.columns(matchers, start_ns, end_ns, first_ns=first_ns)
        hidden = 0
        sheets = []
        for sheet in found.sheets:
            times, last = _cut(sheet.times)
            values = sheet.values
            if last is not None:
                hidden += (len(sheet.times) - len(times)) * len(values)
                values = values[:, last]
            sheets.append(Sheet(times, values))
        if hidden:
            with self._lock:
                self.hidden_samples += hidden
        return Selection(found.labels, sheets)

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        return self._querier.label_names(matchers)

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        return self._querier.label_values(name, matchers)

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series that may have samples in [start, end]."""
        return self._querier.series(matchers, *_widened(start_ns, end_ns))


def _widened(start_ns: int, end_ns: int) -> tuple[int, int]:
    """Return the nanoseconds whose milliseconds lie in [start, end]."""
    return -(-start_ns // MILLISECOND) * MILLISECOND, (end_ns // MILLISECOND + 1) * MILLISECOND - 1


def _cut(times: Times) -> tuple[Times, npt.NDArray[np.bool_] | None]:
    """Return the times in whole milliseconds, each once, and which samples are shown."""
    cut = times - times % MILLISECOND
    last = np.ones(len(cut), np.bool_)
    np.not_equal(cut[1:], cut[:-1], out=last[:-1])
    if last.all():
        return cut, None
    return cut[last], last
