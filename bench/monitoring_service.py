"""What ``MonitoringService`` costs an engine's loop, with its daemon running beside it.

A tick of the loop hands the nested figures over and, every tenth time, asks for the collected
metrics as a status page would. prometheus_client gets the same figures in 15 gauges, a histogram
and a counter with cached children, and renders its page as often. Each call is timed by itself, in
turn, in one process, at the pace of an engine: the daemon reads meanwhile, as it does in life.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bench.record_tick import nested_ticks
from bench.report import Figure, percentile, report
from tapewatch import MonitoringService
from tapewatch.storage.lock import holder_pid
from tapewatch.testing.daemon import eventually, free_port

TICKS = 10_000
TICKS_PER_SECOND = 1_000
COLLECT_EVERY = 10
PEER = "prometheus_client"
LIMIT_MS = 50


class Peer:
    """The same figures in prometheus_client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.gauges = [
            (group, name, self._gauge(f"{group}_{name}"))
            for group, fields in nested_ticks(1)[0].items()
            if isinstance(fields, dict)
            for name, value in fields.items()
            if isinstance(value, (int, float))
        ]
        histogram = Histogram("latency", "x", ["engine"], registry=self.registry)
        counter = Counter("ticks", "x", ["engine"], registry=self.registry)
        self.observe, self.count = histogram.labels("bench").observe, counter.labels("bench").inc

    def _gauge(self, name: str) -> Callable[[float], None]:
        gauge = Gauge(name, "x", ["engine"], registry=self.registry)
        put: Callable[[float], None] = gauge.labels("bench").set
        return put

    def record_tick(self, metrics: dict[str, Any]) -> None:
        """Set every gauge."""
        for group, name, put in self.gauges:
            put(metrics[group][name])
        self.observe(0.001)
        self.count()

    def collect_metrics(self) -> bytes:
        """Render the page."""
        return generate_latest(self.registry)


class Costs:
    """What each call of one candidate cost, in nanoseconds."""

    def __init__(self, candidate: MonitoringService | Peer) -> None:
        self.candidate = candidate
        self.record: list[int] = []
        self.collect: list[int] = []
        self.tick: list[int] = []

    def run(self, metrics: dict[str, Any], *, collect: bool) -> None:
        """Do what one tick of the loop asks of it."""
        clock = time.perf_counter_ns
        begin = clock()
        self.candidate.record_tick(metrics)
        recorded = end = clock()
        self.record.append(recorded - begin)
        if collect:
            self.candidate.collect_metrics()
            end = clock()
            self.collect.append(end - recorded)
        self.tick.append(end - begin)


def measure(service: MonitoringService) -> tuple[Costs, Costs]:
    """Run the loop; return our costs and the peer's."""
    ours, peer = Costs(service), Costs(Peer())
    ticks = nested_ticks(100)
    begin = time.monotonic()
    for number in range(TICKS):
        order = (ours, peer) if number % 2 else (peer, ours)
        # Each goes first as often as the other, with and without collecting.
        collect = number // 2 % COLLECT_EVERY == 0
        for each in order:
            each.run(ticks[number % len(ticks)], collect=collect)
        wait = begin + number / TICKS_PER_SECOND - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    return ours, peer


def main() -> int:
    """Measure, report, and exit 1 if a limit is not kept."""
    logging.getLogger("tapewatch").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model = directory / "teacher.pkl"
        model.write_bytes(b"model")
        config = directory / "tapewatch.yaml"
        config.write_text(
            f"data_dir: {directory}/data\nlisten: 127.0.0.1:{free_port()}\n"
            f"artifacts: [{{name: teacher_model, path: {model}}}]\n"
        )
        service = MonitoringService("bench", config=config, cadence_s=1 / TICKS_PER_SECOND)
        eventually(lambda: holder_pid(directory / "data"), "the daemon to hold the directory")
        try:
            ours, peer = measure(service)
        finally:
            service.close()
    bench = "monitoring_service"
    figures = []
    for what in ("record", "collect", "tick"):
        mine, theirs = sorted(getattr(ours, what)), sorted(getattr(peer, what))
        said = {"record": "record_tick", "collect": "collect_metrics", "tick": "whole tick"}[what]
        for q in (0.5, 0.99):
            pair = percentile(mine, q) / 1e3, percentile(theirs, q) / 1e3
            figures.append(Figure(bench, f"{said} p{q * 100:g}", pair[0], "us", pair[1], PEER))
    p99 = percentile(sorted(ours.tick), 0.99) / 1e6
    figures.append(Figure(bench, "overhead per tick p99", p99, "ms", limit=LIMIT_MS))
    worst = max(ours.collect) / 1e6
    figures.append(Figure(bench, "tick that collects, worst", worst, "ms", limit=LIMIT_MS))
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
