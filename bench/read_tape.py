"""How fast a tape is read, and what a poll of a quiet tape costs."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.record_tick import flat_ticks, nested_ticks
from bench.report import Figure, report
from tapewatch.record import Recorder
from tapewatch.tape import TapeReader

FRAMES = 200_000
NESTED = 50_000
IDLE_POLLS = 20_000


def rate(path: Path, expected: int) -> float:
    """Return ticks read in a second, the best of five full reads."""
    best = 0.0
    for _ in range(5):
        reader = TapeReader(path)
        begin = time.perf_counter()
        count, more = 0, True
        while more:
            batch = reader.poll()
            count, more = count + batch.ticks, batch.more
        best = max(best, count / (time.perf_counter() - begin))
        reader.close()
        if count != expected:
            raise RuntimeError(f"read {count} ticks of {expected}")
    return best


def idle_us(path: Path) -> float:
    """Return the median microseconds of a poll that finds nothing."""
    reader = TapeReader(path)
    while reader.poll().more:
        pass
    costs = []
    for _ in range(IDLE_POLLS):
        begin = time.perf_counter_ns()
        reader.poll()
        costs.append(time.perf_counter_ns() - begin)
    reader.close()
    return statistics.median(costs) / 1e3


def main() -> int:
    """Measure, report, and exit 1 if a limit is not kept."""
    with tempfile.TemporaryDirectory() as directory:
        flat = Recorder("flat", data_dir=directory)
        ticks = flat_ticks()
        for i in range(FRAMES):
            flat.record_tick(ticks[i % len(ticks)])
        nested = Recorder("nested", data_dir=directory)
        deep = nested_ticks()
        for i in range(NESTED):
            nested.record_tick(deep[i % len(deep)])
        paths = [Path(r.path) for r in (flat, nested) if r.path]
        flat_rate, nested_rate = rate(paths[0], FRAMES), rate(paths[1], NESTED)
        idle = idle_us(paths[0])
        flat.close()
        nested.close()
    name = "read_tape"
    kept = report(
        [
            Figure(name, "flat 15 fields, per tick", 1e9 / flat_rate, "ns", limit=5000),
            Figure(name, "nested S5, per tick", 1e9 / nested_rate, "ns"),
            Figure(name, "poll of a quiet tape", idle, "us", limit=25),
        ]
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
