"""A day of engines' samples on disk, beside Prometheus's TSDB with the same ones."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.engine_data import engine_columns
from bench.prometheus_peer import Series, milliseconds, prometheus
from bench.report import Figure, report
from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine
from tapewatch.series.head import Head
from tapewatch.series.merged import MergedQuerier
from tapewatch.storage.samples import SampleStore

BENCH = "storage"
ENGINES = 7
EVERY_S = 15
ROWS = 86_400 // EVERY_S
FLUSH_ROWS = 20
WIDE = 10_000
SCRAPES = 100
FOREVER = 1 << 62


def a_day(now_s: int) -> list[Series]:
    """Return 105 series with a sample each 15 s: prices, counters, states, random floats."""
    times = now_s - EVERY_S * np.arange(ROWS)[::-1]
    found = []
    for number in range(ENGINES):
        columns = engine_columns(ROWS, seed=number)
        labels = [Labels.of(name, engine=f"e{number}") for name in columns]
        found.append((labels, times, np.stack(list(columns.values()), axis=1)))
    return found


def write_day(store: SampleStore, data: list[Series]) -> None:
    """Let the samples go the way that they go in the daemon: memory, chunks, joined chunks."""
    head = Head()
    tables = [head.table(labels) for labels, _, _ in data]
    for start in range(0, ROWS, FLUSH_ROWS):
        rows = slice(start, start + FLUSH_ROWS)
        for table, (_, times, values) in zip(tables, data, strict=True):
            table.append(times[rows].astype(np.int64) * SECOND, values[rows])
        drained = head.drain_for_chunks(FOREVER)
        store.write(drained)
        head.persisted(drained)
        head.truncate(int(times[start]) * SECOND)
    store.prune(0)


def ingest_rate(directory: Path) -> float:
    """Return samples a second: scrapes of 10,000 series into memory and, each ten, onto disk."""
    store = SampleStore.open(directory / "wide.db", now_ns=0)
    head = Head()
    luck = np.random.default_rng(3)
    table = head.table([Labels.of("x", i=str(i)) for i in range(WIDE)], max_series=WIDE)
    rows = np.round(luck.normal(100, 3, (SCRAPES, 1, WIDE)), 2)
    began = time.perf_counter()
    for scrape in range(SCRAPES):
        table.append(np.array([scrape * 30 * SECOND], dtype=np.int64), rows[scrape])
        if scrape % 10 == 9:
            drained = head.drain_for_chunks(FOREVER)
            store.write(drained)
            head.persisted(drained)
    took = time.perf_counter() - began
    store.close()
    return SCRAPES * WIDE / took


def peer_ingest_rate(directory: Path) -> float | None:
    """Return the samples a second of promtool's own benchmark of the TSDB's appender."""
    tool = shutil.which("promtool")
    if tool is None:
        return None
    lines = "".join(json.dumps({"__name__": "x", "i": str(i)}) + "\n" for i in range(WIDE))
    (directory / "series.json").write_text(lines)
    sizes = [f"--metrics={WIDE}", f"--scrapes={SCRAPES}"]
    done = subprocess.run(
        [tool, "tsdb", "bench", "write", *sizes, "--out=out", "series.json"],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"samples/sec: ([0-9.e+]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"promtool said: {done.stdout[-300:]}")
    return float(found[1])


def bytes_of(directory: Path) -> int:
    """Return the size of all blocks, their indexes included."""
    return sum(file.stat().st_size for file in directory.glob("*/**/*") if file.is_file())


def main() -> int:
    """Measure both, report, and exit 1 if a limit is not kept."""
    now = int(time.time()) // EVERY_S * EVERY_S
    data = a_day(now)
    samples = ROWS * sum(len(labels) for labels, _, _ in data)
    with tempfile.TemporaryDirectory() as name, prometheus(data, []) as peer:
        directory = Path(name)
        store = SampleStore.open(directory / "samples.db", now_ns=0)
        write_day(store, data)
        store.close()
        store = SampleStore.open(directory / "samples.db", now_ns=0)
        size = (directory / "samples.db").stat().st_size / samples
        engine = QueryEngine(MergedQuerier(Head(), store), monotonic=time.monotonic)
        begin = (now - 86_400) * SECOND
        query = '{engine=~"e[0-6]"}'
        if len(engine.instant(f"{query}[1d]", now * SECOND).matrix) != len(data) * 15:
            raise RuntimeError("not every series came back")
        day = milliseconds(lambda: engine.instant(f"{query}[1d]", now * SECOND), 5)
        steps = milliseconds(lambda: engine.range(query, begin, now * SECOND, MINUTE), 5)
        store.close()
        rates = [ingest_rate(Path(tempfile.mkdtemp(dir=directory))) for _ in range(3)]
        theirs = {}
        if peer is not None:
            theirs["bytes"] = bytes_of(peer.data) / samples
            theirs["day"] = peer.query_ms("/api/v1/query", query=f"{query}[1d]", time=now)
            span = {"start": now - 86_400, "end": now, "step": 60}
            theirs["steps"] = peer.query_ms("/api/v1/query_range", query=query, **span)
        rate = peer_ingest_rate(directory)
    name = "Prometheus"
    bytes_peer, day_peer, steps_peer = (theirs.get(k) for k in ("bytes", "day", "steps"))
    ours_ns = 1e9 / statistics.median(rates)
    rate_ns = 1e9 / rate if rate else None
    figures = [
        Figure(BENCH, "bytes a sample on disk", size, "bytes", bytes_peer, name, 0.8),
        Figure(BENCH, "a day of 105 series, as stored", day, "ms", day_peer, name, 0.2),
        Figure(BENCH, "a day of 105 series, each minute", steps, "ms", steps_peer, name, 0.2),
        Figure(BENCH, "take a sample in, 10,000 series", ours_ns, "ns", rate_ns, name, 2.0),
    ]
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
