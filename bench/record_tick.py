"""What ``record_tick`` costs the engine, beside prometheus_client with cached children.

Both are called in turn, in short rounds, in one process on the same 1,000 different ticks, so that
a busy machine hits both alike; of the rounds the median counts.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bench.report import Figure, percentile, report
from tapewatch.record import Recorder

FIELDS = 15
TICKS = 1000
ROUNDS = 60
PEER = "prometheus_client"


def flat_ticks() -> list[dict[str, float]]:
    """Return different ticks of 15 numbers with the same keys."""
    draw = random.Random(1)
    return [{f"field_{i}": draw.uniform(-1e5, 1e5) for i in range(FIELDS)} for _ in range(TICKS)]


def nested_ticks(count: int = TICKS) -> list[dict[str, Any]]:
    """Return different ticks in the shape of an equity engine (requirement S5).

    An engine has just built the tick that it records, so it lies in the processor's cache. A
    hundred of these do; a thousand (3 MB of dictionaries) do not, and cost a tenth more.
    """
    draw = random.Random(2)
    return [
        {
            "timestamp": "2025-01-02T10:30:00+05:30",
            "heartbeat": {"last_tick": "2025-01-02T10:30:00+05:30", "uptime_seconds": i + 0.5},
            "positions": {
                "count": 3,
                "total_value": draw.uniform(1e5, 2e5),
                "symbols": ["RELIANCE", "TCS", "INFY"],
            },
            "pnl": {
                "daily": draw.uniform(-5e3, 5e3),
                "unrealized": draw.uniform(-5e3, 5e3),
                "realized": draw.uniform(-5e3, 5e3),
            },
            "risk": {
                "circuit_breaker_active": False,
                "daily_loss_pct": draw.uniform(-3, 3),
                "max_position_value": draw.uniform(4e4, 6e4),
            },
            "sentiment": {
                "last_score": draw.uniform(-1, 1),
                "provider_errors_1h": i % 5,
                "cache_hit_rate": draw.random(),
            },
            "connectivity": {
                "breeze_authenticated": True,
                "last_api_call": "2025-01-02T10:29:58+05:30",
            },
            "artifacts": {
                "teacher_model_age_hours": draw.uniform(0, 30),
                "student_model_age_hours": draw.uniform(0, 30),
            },
        }
        for i in range(count)
    ]


def peer_tick() -> Callable[[dict[str, float]], None]:
    """Return a tick of 15 gauges, a histogram and a counter with every child at hand."""
    registry = CollectorRegistry()
    gauges = [
        (f"field_{i}", Gauge(f"field_{i}", "x", ["engine"], registry=registry).labels("demo").set)
        for i in range(FIELDS)
    ]
    latency = Histogram("latency", "x", ["engine"], registry=registry).labels("demo").observe
    ticks = Counter("ticks", "x", ["engine"], registry=registry).labels("demo").inc

    def tick(values: dict[str, float]) -> None:
        for name, put in gauges:
            put(values[name])
        latency(0.001)
        ticks()

    return tick


def round_ns(call: Callable[[Any], None], items: Sequence[Any]) -> float:
    """Return the mean cost of one call over one round, the loop itself included."""
    begin = time.perf_counter_ns()
    for item in items:
        call(item)
    return (time.perf_counter_ns() - begin) / len(items)


def interleaved(cases: dict[str, tuple[Callable[[Any], None], Sequence[Any]]]) -> dict[str, float]:
    """Return the median cost of each case over rounds run in turn."""
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (call, items) in cases.items():
            costs[name].append(round_ns(call, items))
    return {name: statistics.median(values) for name, values in costs.items()}


def single_calls(call: Callable[[Any], None], items: Sequence[Any], rounds: int) -> list[int]:
    """Return the cost of every single call, in rising order, the clock's own included."""
    clock = time.perf_counter_ns
    costs = []
    for _ in range(rounds):
        for item in items:
            begin = clock()
            call(item)
            costs.append(clock() - begin)
    return sorted(costs)


def import_ms() -> float:
    """Return what ``import tapewatch.record`` adds to an interpreter that is up."""
    code = (
        "import time; t = time.perf_counter(); import tapewatch.record; "
        "print((time.perf_counter() - t) * 1e3)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(9)
    ]
    return statistics.median(runs)


def resident_bytes() -> int:
    """Return the private memory of this process: what it allocated, without mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def growth_bytes(recorder: Recorder, ticks: Sequence[Any], count: int) -> int:
    """Return by how much private memory grows over many ticks, after one round of warming up."""
    round_ns(recorder.record_tick, ticks)
    before = resident_bytes()
    for _ in range(count // len(ticks)):
        round_ns(recorder.record_tick, ticks)
    return resident_bytes() - before


def main() -> int:
    """Measure, report, and exit 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="10 million ticks instead of 1 million")
    options = parser.parse_args()
    flat, nested = flat_ticks(), nested_ticks(100) * 10
    peer = peer_tick()
    with tempfile.TemporaryDirectory() as directory:
        recorder = Recorder("bench", data_dir=directory)
        tick = recorder.record_tick
        cost = interleaved({"peer": (peer, flat), "flat": (tick, flat), "nested": (tick, nested)})
        singles = single_calls(tick, flat, 200)
        peers = single_calls(peer, flat, 50)
        count = 10_000_000 if options.long else 1_000_000
        growth = growth_bytes(recorder, flat, count)
        recorder.close()
    name = "record_tick"
    kept = report(
        [
            Figure(name, "flat 15 fields", cost["flat"], "ns", cost["peer"], PEER, 1 / 5),
            Figure(name, "nested S5", cost["nested"], "ns", cost["peer"], PEER, 1 / 3),
            Figure(name, "flat p50", percentile(singles, 0.5), "ns", percentile(peers, 0.5), PEER),
            Figure(
                name, "flat p99", percentile(singles, 0.99), "ns", percentile(peers, 0.99), PEER
            ),
            Figure(name, "flat p99.9", percentile(singles, 0.999) / 1e3, "us", limit=20),
            Figure(name, "import tapewatch.record", import_ms(), "ms", limit=30),
            Figure(name, f"growth over {count:,} ticks", growth / 1024, "KiB", limit=512),
        ]
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
