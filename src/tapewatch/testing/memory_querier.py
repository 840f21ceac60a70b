"""Series in plain lists behind the `Querier` protocol, for tests of what reads series."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.series.matching import compile_matchers
from tapewatch.series.querier import Matcher, MatchType, SeriesSlice


class MemoryQuerier:
    """A `Querier` over samples given by hand. Times must rise per series."""

    def __init__(self, series: Iterable[SeriesSlice] = ()) -> None:
        self._series: dict[Labels, SeriesSlice] = {}
        self._by_name: dict[str, dict[Labels, SeriesSlice]] = {}
        for one in series:
            self.put(one)

    def add(self, labels: Labels, samples: Iterable[tuple[int, float]]) -> None:
        """Add samples (nanoseconds, value); a sample at a time already there replaces it.

        Raises:
            ValueError: A time occurs before one that was added earlier in the same call.
        """
        old = self._series.get(labels)
        pairs = {} if old is None else dict(zip(old.times.tolist(), old.values, strict=True))
        given = list(samples)
        if any(b[0] < a[0] for a, b in itertools.pairwise(given)):
            raise ValueError(f"sample times of {labels} must rise")
        pairs.update(given)
        ordered = sorted(pairs)
        self.put(
            SeriesSlice(
                labels,
                np.array(ordered, dtype=np.int64),
                np.array([pairs[t] for t in ordered], dtype=np.float64),
            )
        )

    def put(self, series: SeriesSlice) -> None:
        """Add a whole series, in place of one with the same labels."""
        self._series[series.labels] = series
        self._by_name.setdefault(series.labels.name, {})[series.labels] = series

    def clear(self) -> None:
        """Forget everything."""
        self._series.clear()
        self._by_name.clear()

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return matching series with their samples in [start, end]; none without any there."""
        found = []
        for series in self._matching(matchers):
            lo = int(series.times.searchsorted(start_ns, side="left"))
            hi = int(series.times.searchsorted(end_ns, side="right"))
            if hi > lo:
                found.append(SeriesSlice(series.labels, series.times[lo:hi], series.values[lo:hi]))
        return found

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series with samples in [start, end]."""
        return sorted(s.labels for s in self.select(matchers, start_ns, end_ns))

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        return sorted({name for s in self._matching(matchers) for name, _ in s.labels})

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        values = {s.labels.get(name) for s in self._matching(matchers)}
        return sorted(values - {""})

    def _matching(self, matchers: Sequence[Matcher]) -> list[SeriesSlice]:
        candidates: Iterable[SeriesSlice] = self._series.values()
        rest = list(matchers)
        for matcher in matchers:
            if matcher.name == METRIC_NAME and matcher.type is MatchType.EQUAL:
                candidates = self._by_name.get(matcher.value, {}).values()
                rest.remove(matcher)
                break
        if not rest:
            return list(candidates)
        accepts = compile_matchers(rest)
        return [s for s in candidates if accepts(s.labels)]
