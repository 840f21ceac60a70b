"""What the dispatcher counts about one receiver, as ``/metrics`` and ``status`` show it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
OUTCOMES = ("accepted", "retried", "failed", "expired", "deferred")
"""``retried`` counts attempts that failed and are made again, ``deferred`` notifications that
found the queue full and went back to the outbox."""


@dataclass(frozen=True, slots=True)
class ReceiverStatistics:
    """A picture of one receiver at one moment."""

    receiver: str
    kind: str
    up: bool
    """False after an attempt that failed, until one is accepted."""
    queued: int
    capacity: int
    outcomes: dict[str, int]
    """``tapewatch_notifications_total`` by outcome; each only rises."""
    latency_counts: tuple[int, ...]
    """Accepted notifications by latency, not cumulative: one count for each bound, then +Inf."""
    latency_sum_s: float
    last_error: str
    """Why the last attempt failed; empty while up. Holds no secrets."""
    failures: int
    """Failed attempts since the last accepted one."""

    @property
    def latency_count(self) -> int:
        """Accepted notifications in all."""
        return sum(self.latency_counts)


@dataclass(slots=True)
class LatencyHistogram:
    """Counts latencies into ``LATENCY_BOUNDS_S``; a bound belongs to the bucket that it closes."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def observe(self, latency_s: float) -> None:
        """Count one latency in seconds."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self.sum_s += latency_s
