"""What is kept on disk besides the state: samples, snapshots, and how long each stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

import structlog

from tapewatch.daemon.core import Core
from tapewatch.daemon.snapshot import metrics_snapshot, moment
from tapewatch.daemon.view import Painter
from tapewatch.model.clock import DAY, HOUR, MINUTE, SECOND, Clock
from tapewatch.model.errors import StorageError
from tapewatch.model.metric import MetricCatalogue
from tapewatch.series.head import Head, TableSlice
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.snapshots import prune_snapshots, write_snapshot

FLUSH_NS = 10 * SECOND
RETRY_NS = 2 * SECOND
"""A flush that failed is tried again so soon."""
FLUSH_SAMPLES = 2_000_000
"""So many samples in memory that are not on disk are flushed before their time."""
IN_MEMORY_NS = 10 * MINUTE
"""How far back memory answers alone; older samples are read from disk."""
CROWDED_NS = MINUTE
"""What memory keeps while more arrives than fits."""
PRUNE_NS = HOUR
MAX_PRUNES = 1_000
"""Deletions of a few thousand rows each in one go; the rest waits for the next hour."""
KEEP_TAPES_NS = 7 * DAY
KEEP_TAPES = 20

log = structlog.get_logger(component="monitoring")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in nanoseconds."""

    metrics_ns: int
    alerts_ns: int


class Keeper:
    """A thread that moves samples to disk and removes what has had its time.

    It never decides anything: the core hands it slices and positions that belong together, and
    it tells the core when they are durable.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        head: Head,
        samples: SampleStore,
        core: Core,
        painter: Painter,
        catalogue: MetricCatalogue,
        zone: tzinfo,
        retention: Retention,
        snapshots: Path | None,
        snapshot_ns: int,
        tapes: Path,
        durable: dict[str, dict[str, Any]],
        prune_alert_files: Callable[[int], None],
    ) -> None:
        self.reason = ""
        """Why samples cannot be written; empty while they can."""
        self._clock = clock
        self._head = head
        self._samples = samples
        self._core = core
        self._painter = painter
        self._catalogue = catalogue
        self._zone = zone
        self._retention = retention
        self._snapshots = snapshots
        self._snapshot_ns = snapshot_ns
        self._tapes = tapes
        self._durable = durable
        self._prune_alert_files = prune_alert_files
        now = clock.now_ns()
        self._flush_due = now + FLUSH_NS
        self._snapshot_due = now + min(snapshot_ns, 5 * SECOND)
        self._prune_due = now + MINUTE
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end. The core's loop must have ended before."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        positions = dict(self._core.committed)
        self._flush(self._head.drain_for_chunks(self._clock.now_ns()), positions)
        self._core.close_ended(self._durable)
        self._core.finish()

    def abandon(self) -> None:
        """End without another flush: the core has failed, and what it holds is not to be kept."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(0.25)
            self._wake.clear()
            now = self._clock.now_ns()
            try:
                self._run_due(now)
            except Exception as error:
                log.error("keeper_failed", reason=f"{type(error).__name__}: {error}")

    def _run_due(self, now: int) -> None:
        crowded = self._head.sample_count > FLUSH_SAMPLES
        if not self._stopping and (now >= self._flush_due or crowded):
            self._flush_due = now + FLUSH_NS
            # Slices and positions must be of one moment, between two rounds, and the positions
            # committed: samples are then never ahead of effects.
            drained, positions = self._core.submit(self._cut).result(timeout=30)
            self._flush(drained, positions)
            window = CROWDED_NS if crowded else IN_MEMORY_NS
            self._head.truncate(now - window)
        if self._snapshots is not None and now >= self._snapshot_due:
            self._snapshot_due = now + self._snapshot_ns
            self._write_snapshot(self._snapshots, now)
        if now >= self._prune_due:
            self._prune_due = now + PRUNE_NS
            self._prune(now)

    def _cut(self) -> tuple[list[TableSlice], dict[str, dict[str, Any]]]:
        self._core.commit_now()
        now = self._clock.now_ns()
        return self._head.drain_for_chunks(now), dict(self._core.committed)

    def _flush(self, drained: list[TableSlice], positions: Mapping[str, Mapping[str, Any]]) -> None:
        if not drained and positions == self._durable:
            return
        try:
            self._samples.write(drained, positions)
        except StorageError as error:
            if self.reason != error.message:
                log.error("samples_not_written", reason=error.message)
            self.reason = error.message
            self._flush_due = self._clock.now_ns() + RETRY_NS
            return
        self.reason = ""
        self._head.persisted(drained)
        self._durable.update({k: dict(v) for k, v in positions.items()})
        if not self._stopping:
            self._core.submit(lambda: self._core.close_ended(positions))

    def _write_snapshot(self, directory: Path, now: int) -> None:
        picture = self._painter.picture
        metrics = metrics_snapshot(self._head, self._catalogue, picture.engines, now, self._zone)
        try:
            write_snapshot(directory, metrics, moment(now, self._zone))
        except StorageError as error:
            log.warning("snapshot_not_written", reason=error.message)

    def _prune(self, now: int) -> None:
        metrics_before = now - self._retention.metrics_ns
        alerts_before = now - self._retention.alerts_ns
        self._samples.prune(metrics_before)
        # A little at a time, between the core's rounds: alerts must not wait for housekeeping.
        for _ in range(MAX_PRUNES):
            pruned = self._core.submit(
                lambda: self._core.state.prune(
                    alerts_before_ns=alerts_before, events_before_ns=metrics_before
                )
            ).result(timeout=60)
            if not pruned or self._stopping:
                break
        if self._snapshots is not None:
            prune_snapshots(self._snapshots, moment(metrics_before, self._zone))
        self._prune_alert_files(now)
        self._core.submit(lambda: self._core.fleet.remove_old(now, KEEP_TAPES, KEEP_TAPES_NS))
