"""Put a series together from pieces that lie in several blocks, tables or chunks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tapewatch.model.labels import Labels
from tapewatch.series.block import is_absent
from tapewatch.series.querier import SeriesSlice, Times, Values

_NO_TIMES: Times = np.empty(0, np.int64)
_NO_VALUES: Values = np.empty(0, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rising samples of one series in one place."""

    times: Times
    values: Values
    holes: bool
    """True when NaN cells that are no stale markers are absent."""
    origin: Hashable
    """Equal for pieces that have the same times, so that these are joined once."""


def join(picked: Sequence[tuple[Labels, Sequence[Piece]]]) -> list[SeriesSlice]:
    """Return each series in one slice; series without a sample are left out.

    Where two pieces hold the same instant the later piece wins. Series that were picked from the
    same rows share one array of times.
    """
    shared: dict[Hashable, Times] = {}
    slices = []
    for labels, pieces in picked:
        times, values = _join_one(pieces, shared)
        if len(times):
            times.flags.writeable = False
            values.flags.writeable = False
            slices.append(SeriesSlice(labels, times, values))
    return slices


def merge(parts: Sequence[tuple[Times, Values]]) -> tuple[Times, Values]:
    """Return rising samples out of several rising parts; of equal instants the last part wins."""
    times = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    order = np.argsort(times, kind="stable")
    times = times[order]
    last = np.ones(len(times), np.bool_)
    np.not_equal(times[1:], times[:-1], out=last[:-1])
    return times[last], values[order][last]


def _join_one(pieces: Sequence[Piece], shared: dict[Hashable, Times]) -> tuple[Times, Values]:
    parts = []
    whole = True
    for piece in pieces:
        times, values = piece.times, piece.values
        if piece.holes:
            absent = is_absent(values)
            if absent.any():
                whole = False
                times, values = times[~absent], values[~absent]
                if not len(times):
                    continue
        parts.append((times, values))
    if not parts:
        return _NO_TIMES.copy(), _NO_VALUES.copy()
    if len(parts) == 1 and not whole:
        return parts[0]
    if not whole or not _follow(parts):
        return merge(parts)
    key = tuple(piece.origin for piece in pieces)
    joined = shared.get(key)
    if len(parts) == 1:
        # Views of their own: making them read-only must not touch the block.
        if joined is None:
            joined = shared[key] = parts[0][0].view()
        return joined, parts[0][1].view()
    if joined is None:
        joined = shared[key] = np.concatenate([part[0] for part in parts])
    return joined, np.concatenate([part[1] for part in parts])


def _follow(parts: Sequence[tuple[Times, Values]]) -> bool:
    """Return whether the parts follow each other in time."""
    return all(a[0][-1] < b[0][0] for a, b in pairwise(parts))
