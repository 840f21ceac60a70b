"""One querier over memory and disk: the newest samples from the head, older ones from the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tapewatch.model.errors import StorageError
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.millisecond import MillisecondView
from tapewatch.series.pieces import Piece, join
from tapewatch.series.querier import Matcher, Querier, Selection, SeriesSlice

__all__ = ["MergedQuerier", "MillisecondView", "Store"]


class Store(Querier, Protocol):
    """What has left the memory."""

    newest_at_open_ns: int | None
    """Time of the newest sample when it was opened; None when there was none."""

    def newest(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        known: frozenset[Labels] = frozenset(),
    ) -> list[SeriesSlice]:
        """Return the newest sample in [start, end] of each matching series but the known ones."""
        ...


class MergedQuerier:
    """Implements ``Querier`` over a head and a store.

    The store is asked only for the time of which the head does not have everything: before the
    newest sample that was dropped from memory or written by an earlier run. Where both hold an
    instant the head's value is the answer. If the store cannot be read the answer is the head's
    alone: rules go on over what is in memory, and ``store_failure`` says so.
    """

    def __init__(self, head: Head, store: Store) -> None:
        self._head = head
        self._store = store
        self.store_failure: str | None = None
        """Why the last question to the store had no answer; None when it had."""
        self.store_failures = 0

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return the matching series' samples in [start, end]."""
        return self.columns(matchers, start_ns, end_ns).slices()

    def columns(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        first_ns: int | None = None,
    ) -> Selection:
        """Return the matching series' samples in [start, end], table by table from memory.

        With ``first_ns`` given, of the samples in [start, first] each series' newest one alone.
        """
        # The head first: what is dropped from it after that is below the boundary asked next.
        recent = self._head.columns(matchers, start_ns, end_ns, first_ns=first_ns)
        until = self._boundary_ns()
        if until is None or start_ns > until:
            return recent
        try:
            if first_ns is None:
                older = self._store.select(matchers, start_ns, min(end_ns, until))
            else:
                older = self._older(matchers, start_ns, first_ns, end_ns, until, recent)
        except StorageError as error:
            self._failed(error)
            return recent
        self.store_failure = None
        return Selection.of(_merge(older, recent.slices())) if older else recent

    def _older(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        first_ns: int,
        end_ns: int,
        until_ns: int,
        recent: Selection,
    ) -> list[SeriesSlice]:
        """Return what instants from [first, end] see on disk.

        A late sample may be in memory while a newer one is on disk, from before a restart: only
        beyond the boundary is the head's newest sample the newest of all.
        """
        known = frozenset(
            s.labels for s in recent.slices() if _newest_before(s, first_ns) > until_ns
        )
        older = self._store.newest(matchers, start_ns, min(first_ns, until_ns), known=known)
        if first_ns >= until_ns:
            return older
        # A question about the past: its instants are on disk as well.
        later = self._store.select(matchers, first_ns + 1, min(end_ns, until_ns))
        return _merge(older, later)

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        names = self._head.label_names(matchers)
        return sorted({*names, *self._store.label_names(matchers)})

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        values = self._head.label_values(name, matchers)
        return sorted({*values, *self._store.label_values(name, matchers)})

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series that may have samples in [start, end]."""
        recent = self._head.series(matchers, start_ns, end_ns)
        until = self._boundary_ns()
        if until is None or start_ns > until:
            return recent
        try:
            older = self._store.series(matchers, start_ns, min(end_ns, until))
        except StorageError as error:
            self._failed(error)
            return recent
        self.store_failure = None
        return sorted({*recent, *older})

    def _boundary_ns(self) -> int | None:
        """Return the newest instant of which the head may lack samples."""
        known = (self._head.dropped_until_ns, self._store.newest_at_open_ns)
        return max((at for at in known if at is not None), default=None)

    def _failed(self, error: StorageError) -> None:
        self.store_failure = error.message
        self.store_failures += 1


def _newest_before(series: SeriesSlice, at_ns: int) -> int:
    """Return the time of the newest sample up to an instant; a time before all others if none."""
    row = int(series.times.searchsorted(at_ns, "right")) - 1
    return int(series.times[row]) if row >= 0 else -(1 << 63)


def _merge(older: Sequence[SeriesSlice], newer: Sequence[SeriesSlice]) -> list[SeriesSlice]:
    """Return the series of both; the newer one's value wins where both have an instant."""
    pieces: dict[Labels, list[Piece]] = {}
    for part in (older, newer):
        for piece in part:
            # Series of one table share their array of times, and go on sharing it.
            origin = id(piece.times)
            pieces.setdefault(piece.labels, []).append(
                Piece(piece.times, piece.values, False, origin)
            )
    return join(list(pieces.items()))
