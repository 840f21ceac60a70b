"""Every engine that was seen or is configured: its life, its tapes and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tapewatch.ingest.liveness import EngineLife, EngineState
from tapewatch.ingest.tape_source import TapeCounts, TapeSource
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels

UP = "tapewatch_engine_up"
CRASHED = "tapewatch_engine_crashed"
STALLED = "tapewatch_engine_stalled"
NEVER_STARTED = "tapewatch_engine_never_started"
LAST_TICK = "tapewatch_engine_last_tick_timestamp_seconds"
TICKS = "tapewatch_engine_ticks_total"
TRADES = "tapewatch_engine_trades_total"
FRAMES_LOST = "tapewatch_engine_frames_lost_total"
EVENTS_LOST = "tapewatch_engine_events_lost_total"
DROPPED = "tapewatch_engine_records_dropped_total"
ERRORS = "tapewatch_engine_errors_total"
INVALID_VALUES = "tapewatch_engine_invalid_values_total"
INVALID = "tapewatch_engine_invalid"
TORN = "tapewatch_engine_records_torn_total"
INSTANCES = "tapewatch_engine_instances"

COUNTERS = frozenset(
    (TICKS, TRADES, FRAMES_LOST, EVENTS_LOST, DROPPED, ERRORS, INVALID_VALUES, TORN)
)


@dataclass(slots=True)
class Engine:
    """One engine name, over all its runs."""

    name: str
    life: EngineLife
    sources: list[TapeSource] = field(default_factory=list)
    """Tapes being read, the oldest first; more than one while a successor starts."""
    finished: TapeCounts = field(default_factory=TapeCounts)
    """Sum over the tapes that were read to their end."""
    finished_dropped: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Records that the recorder dropped and counted, by live tape."""
    last_tick_ns: int | None = None
    started_ns: int = 0
    """Wall clock at the start of its newest run."""
    pid: int | None = None
    stop_reason: str = ""
    cadence_ns: int = 0

    @property
    def labels(self) -> Labels:
        """The labels on everything told of the engine."""
        return Labels({"engine": self.name})

    def total(self, counter: str) -> int:
        """Return a count over all runs."""
        live = sum(int(getattr(s.counts, counter)) for s in self.sources)
        return int(getattr(self.finished, counter)) + live

    def errors(self) -> dict[str, int]:
        """Return the errors by type over all runs."""
        out = dict(self.finished.errors)
        for source in self.sources:
            for kind, count in source.counts.errors.items():
                out[kind] = out.get(kind, 0) + count
        return out

    def close_source(self, source: TapeSource) -> None:
        """Move the counts of a tape that was read to its end into the finished ones."""
        for name in TapeCounts.__slots__:
            if name == "errors":
                for kind, count in source.counts.errors.items():
                    self.finished.errors[kind] = self.finished.errors.get(kind, 0) + count
            else:
                total = getattr(self.finished, name) + getattr(source.counts, name)
                setattr(self.finished, name, total)
        self.finished_dropped += self.dropped.pop(source.id, 0)
        self.sources.remove(source)
        source.reader.close()

    def samples(self) -> Iterator[tuple[Labels, float]]:
        """Yield the present value of each family that the daemon keeps of the engine."""
        labels, state = self.labels, self.life.state

        def one(name: str, value: float) -> tuple[Labels, float]:
            return labels.with_(__name__=name), value

        yield one(UP, float(state.is_live))
        yield one(CRASHED, float(state is EngineState.CRASHED))
        yield one(STALLED, float(state is EngineState.STALLED))
        yield one(NEVER_STARTED, float(state is EngineState.NEVER_STARTED))
        # An engine that never ticked reads as the epoch: "gone since for ever" must be able to
        # fire, and an absent series could not.
        yield one(LAST_TICK, (self.last_tick_ns or 0) / SECOND)
        yield one(TICKS, self.total("ticks"))
        yield one(TRADES, self.total("trades"))
        yield one(FRAMES_LOST, self.total("frames_lost"))
        yield one(EVENTS_LOST, self.total("events_lost"))
        yield one(TORN, self.total("torn"))
        yield one(DROPPED, self.finished_dropped + sum(self.dropped.values()))
        yield one(INVALID_VALUES, self.total("invalid_values"))
        yield one(INVALID, float(any(s.invalid_recently for s in self.sources)))
        yield one(INSTANCES, float(len(self.sources)))
        for kind, count in self.errors().items():
            yield labels.with_(__name__=ERRORS, type=kind), float(count)

    def to_saved(self) -> dict[str, Any]:
        """Return what must survive a restart, JSON-able."""
        return {
            "state": self.life.state.value,
            "last_tick_ns": self.last_tick_ns,
            "started_ns": self.started_ns,
            "pid": self.pid,
            "stop_reason": self.stop_reason,
            "cadence_ns": self.cadence_ns,
            "finished": self.finished.to_saved(),
            "finished_dropped": self.finished_dropped,
            "tapes": {s.id: s.counts.to_saved() for s in self.sources},
        }

    def restore(self, saved: Mapping[str, Any], awake_ns: int) -> None:
        """Take up what an earlier daemon saved; live states are found anew from the tapes."""
        self.last_tick_ns = saved.get("last_tick_ns")
        self.started_ns = saved.get("started_ns", 0)
        self.pid = saved.get("pid")
        self.stop_reason = saved.get("stop_reason", "")
        self.cadence_ns = saved.get("cadence_ns", 0)
        self.finished = TapeCounts.from_saved(saved.get("finished", {}))
        self.finished_dropped = saved.get("finished_dropped", 0)
        state = EngineState(saved.get("state", EngineState.EXPECTED))
        if not state.is_live:
            self.life.state = state
            self.life.since_ns = awake_ns
