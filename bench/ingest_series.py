"""What it costs to keep samples: append, write away, find again; bytes a sample on disk."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.engine_data import engine_columns
from bench.report import Figure, percentile, report
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.querier import Matcher, MatchType
from tapewatch.storage.effects import Effects, EventRow
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.state import StateStore

BENCH = "ingest_series"
TICKS_PER_SECOND = 50_000
SECONDS = 10
BATCH = 256
FOREVER = (-(1 << 62), 1 << 62)


def median_us(call: Callable[[], object], rounds: int = 300) -> float:
    """Return the median microseconds of a call."""
    costs = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        call()
        costs.append(time.perf_counter_ns() - begin)
    return statistics.median(costs) / 1e3


def steady_load(directory: Path) -> list[Figure]:
    """Fifteen fields at 50,000 ticks a second: memory, then disk once a second."""
    rows = TICKS_PER_SECOND * SECONDS
    columns = engine_columns(rows)
    values = np.stack(list(columns.values()), axis=1)
    luck = np.random.default_rng(2)
    times = time.time_ns() + np.cumsum(luck.gamma(5, 4_000, rows)).astype(np.int64)
    store = SampleStore.open(directory / "samples.db", now_ns=0)
    head = Head(max_samples=4_000_000)
    table = head.table([Labels.of(name, engine="alpha") for name in columns], source="tape:1")
    appends: list[int] = []
    written = 0.0
    for start in range(0, rows, BATCH):
        begin = time.perf_counter_ns()
        table.append(times[start : start + BATCH], values[start : start + BATCH])
        appends.append(time.perf_counter_ns() - begin)
        if start // TICKS_PER_SECOND != (start + BATCH) // TICKS_PER_SECOND:
            before = time.process_time()
            drained = head.drain_for_chunks(FOREVER[1])
            store.write(drained, {"tape:1": {"row": start}})
            head.persisted(drained)
            head.truncate(int(times[start]) - 2_000_000_000)
            written += time.process_time() - before
    store.write(head.drain_for_chunks(FOREVER[1]))
    one = [Matcher("__name__", MatchType.EQUAL, "equity_added_up")]
    last = int(times[-1])
    begin_ns = time.perf_counter_ns()
    found = store.select([], *FOREVER)
    unpacked = sum(len(series.times) for series in found)
    seconds = (time.perf_counter_ns() - begin_ns) / 1e9
    if unpacked != rows * len(columns):
        raise RuntimeError(f"read {unpacked} samples of {rows * len(columns)}")
    exact = next(s for s in found if s.labels.name == "equity_added_up")
    if not (exact.values == columns["equity_added_up"]).all():
        raise RuntimeError("what was read is not what was written")
    disk_us = median_us(lambda: store.select(one, int(times[1_000]), int(times[1_300])), 50)
    store.close()
    bytes_per_sample = (directory / "samples.db").stat().st_size / unpacked
    window = median_us(lambda: head.select(one, int(times[-300]), last))
    newest = median_us(lambda: head.columns(one, int(times[0]), last, first_ns=last))
    steady = sorted(appends[len(appends) // 2 :])
    return [
        Figure(BENCH, "append 256 rows x 15, p50", percentile(steady, 0.5) / 1e3, "us", limit=20),
        Figure(BENCH, "append 256 rows x 15, p99", percentile(steady, 0.99) / 1e3, "us"),
        Figure(
            BENCH,
            "write away 750,000 samples/s, share of a core",
            written / SECONDS,
            "cores",
            limit=0.5,
        ),
        Figure(BENCH, "bytes a sample on disk", bytes_per_sample, "bytes"),
        Figure(BENCH, "read back from disk", unpacked / seconds / 1e6, "million samples/s"),
        Figure(BENCH, "select 300 rows from memory", window, "us", limit=100),
        Figure(BENCH, "newest sample behind a long look back", newest, "us", limit=100),
        Figure(BENCH, "select 300 rows from disk", disk_us / 1e3, "ms", limit=20),
    ]


def many_series() -> list[Figure]:
    """Ten thousand series of one sample each: what /metrics asks for."""
    head = Head()
    labels = [Labels.of(f"metric_{i % 100}", engine="alpha", i=str(i)) for i in range(10_000)]
    for each in labels:
        head.append(each, 1, 1.0)
    begin = time.perf_counter_ns()
    for each in labels:
        head.append(each, 2, 1.0)
    single = (time.perf_counter_ns() - begin) / 1e3 / len(labels)
    latest = median_us(head.latest, 20) / 1e3
    return [
        Figure(BENCH, "append one sample", single, "us", limit=5),
        Figure(BENCH, "latest of 10,000 series", latest, "ms", limit=20),
    ]


def commits(directory: Path) -> list[Figure]:
    """A commit with an offset and ten events, durable when it returns."""
    store = StateStore.open(directory / "state.db", now_ns=0)
    costs = []
    for n in range(500):
        events = [EventRow("tape:1", "fill", n, 10 * n + k, {"price": 1.5}) for k in range(10)]
        effects = Effects(offsets={"tape:1": {"n": n}}, events=events)
        begin = time.perf_counter_ns()
        store.commit(effects)
        costs.append(time.perf_counter_ns() - begin)
    store.close()
    costs.sort()
    return [
        Figure(BENCH, "durable commit, p50", percentile(costs, 0.5) / 1e6, "ms"),
        Figure(BENCH, "durable commit, p99", percentile(costs, 0.99) / 1e6, "ms"),
    ]


def main() -> int:
    """Measure, report, and exit 1 if a limit is not kept."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        figures = [*steady_load(place), *many_series(), *commits(place)]
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
