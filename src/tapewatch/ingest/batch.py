"""What one round of reading brought in, before any of it takes effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapewatch.series.querier import Times


@dataclass(frozen=True, slots=True)
class IngestedEvent:
    """One event of an engine: a fill, an error, a state change."""

    source: str
    kind: str
    time_ns: int
    number: int
    """The record's number on its tape: with the source, its identity."""
    body: Mapping[str, Any]


@dataclass(slots=True)
class IngestBatch:
    """The arrivals of one round over all sources.

    ``changed`` maps a metric name to the instants of its new samples; several columns that share
    their time axis share the array.
    """

    changed: dict[str, list[Times]] = field(default_factory=dict)
    events: list[IngestedEvent] = field(default_factory=list)
    ticks: int = 0
    records: int = 0
    """Records of any kind, ticks included; above zero, offsets have moved."""

    def touch(self, name: str, times: Times) -> None:
        """Note new samples of a metric."""
        self.changed.setdefault(name, []).append(times)

    def touch_at(self, name: str, time_ns: int) -> None:
        """Note one new sample of a metric."""
        self.touch(name, np.array([time_ns], dtype=np.int64))

    def arrivals(self) -> dict[str, Times]:
        """Return for each changed metric its arrival instants, rising and each once."""
        return {
            name: times[0] if len(times) == 1 else np.unique(np.concatenate(times))
            for name, times in self.changed.items()
        }

    @property
    def is_empty(self) -> bool:
        """True when nothing arrived."""
        return not (self.changed or self.records)
