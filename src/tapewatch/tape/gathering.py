"""What a poll has gathered so far, before it becomes a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tapewatch.tape.layout import NOTHING_BITS, RecordKind
from tapewatch.tape.types import FrameRun, Layout, TapeRecord

_Part = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.uint64]]


class Gathering:
    """Joins frames by layout, so that a batch has one run for each, however they alternate."""

    def __init__(self) -> None:
        self.count = 0
        self.ticks = 0
        self.lost = 0
        self.torn = 0
        self.skipped_bytes = 0
        self.records: list[TapeRecord] = []
        self._parts: dict[int, tuple[Layout, list[_Part]]] = {}

    def add_frames(
        self,
        layout: Layout,
        mono_ns: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        numbers: npt.NDArray[np.uint64],
    ) -> None:
        """Add frames of one layout."""
        self.count += len(mono_ns)
        if layout.kind is RecordKind.TICK:
            self.ticks += len(mono_ns)
        self._parts.setdefault(layout.id, (layout, []))[1].append((mono_ns, values, numbers))

    def add_record(
        self,
        kind: RecordKind,
        mono_ns: int,
        number: int,
        body: dict[str, Any],
        *,
        frame_ring: bool,
    ) -> None:
        """Add a record with a msgpack body."""
        self.count += 1
        if kind is RecordKind.TICK:
            self.ticks += 1
        self.records.append(TapeRecord(kind, mono_ns, number, body, frame_ring))

    def runs(self) -> list[FrameRun]:
        """Return one run for each layout, in order of first appearance."""
        found = []
        for layout, parts in self._parts.values():
            mono, values, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
            # An engine's NaN may carry any bits, also those that mean "stale" further on.
            nothing = int((values.view(np.uint64) == np.uint64(NOTHING_BITS)).sum())
            values[np.isnan(values)] = np.nan
            found.append(FrameRun(layout, mono, values, numbers, nothing))
        return found
