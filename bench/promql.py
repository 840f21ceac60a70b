"""Queries over ten thousand series in the head, beside the engine of a Prometheus on the same data.

Both are asked for the time of the evaluation alone, without HTTP and JSON: Prometheus tells it in
the statistics of its answers and of its rule groups. Without the binary our figures stand alone.
"""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Figure, report
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine, parse
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.rules.load import load_rules
from tapewatch.series.head import Head

SECOND = 1_000_000_000
EVERY = 15
SHORT, LONG = 40, 1440
RULES = 1000
QUERIES = {
    "sum by (job) (rate(c_total[5m])), 10,000 series": ("sum by (job) (rate(c_total[5m]))", 0.5),
    "x > 5, 9,500 series, all of them": ("x > 5", 1.0),
    "x > 105, 9,500 series, a few": ("x > 105", 0.5),
    "histogram_quantile over rate, 1,000 buckets": (
        "histogram_quantile(0.9, rate(h_bucket[5m]))",
        None,
    ),
}
"""By title: the query, and the most of the peer's time that it may take."""
RANGE = ("g, 100 series, 6 h at 15 s", "g")

Table = tuple[list[Labels], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def make_data(now_s: int) -> list[Table]:
    """Return tables of series: labels, times in seconds, values of shape (times, series)."""
    rng = np.random.default_rng(7)
    short = now_s - EVERY * np.arange(SHORT)[::-1]
    long = now_s - EVERY * np.arange(LONG)[::-1]
    bounds = [*(f"{2.0**i:g}" for i in range(9)), "+Inf"]
    buckets = [Labels.of("h_bucket", i=str(i), le=le) for i in range(100) for le in bounds]
    return [
        (
            [Labels.of("c_total", job=f"j{i % 10}", i=str(i)) for i in range(10_000)],
            short,
            np.cumsum(rng.random((SHORT, 10_000)), axis=0),
        ),
        (
            [Labels.of("x", i=str(i)) for i in range(9_500)],
            short,
            6 + 100 * rng.random((SHORT, 9_500)),
        ),
        (buckets, short, np.cumsum(rng.random((SHORT, 1000)), axis=0) * np.arange(1, 1001)),
        ([Labels.of("g", i=str(i)) for i in range(100)], long, rng.normal(size=(LONG, 100))),
    ]


def milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Return the median time of a call, after one to warm up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


class Peer:
    """A Prometheus over the same data, with a thousand rules."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: object) -> Any:
        url = f"{self.base}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=60) as response:
            return json.load(response)["data"]

    def query_ms(self, path: str, **parameters: object) -> float:
        """Return the median of what it says a query's evaluation took."""
        seconds: list[float] = [
            self.get(path, stats="all", **parameters)["stats"]["timings"]["execTotalTime"]
            for _ in range(8)
        ]
        return statistics.median(seconds[1:]) * 1000

    def rules_ms(self) -> float:
        """Return what the evaluation of its rule group took, when it has had a few rounds."""
        found: list[float] = []
        for _ in range(40):
            group = self.get("/api/v1/rules")["groups"][0]
            if group["evaluationTime"] and group["evaluationTime"] not in found:
                found.append(group["evaluationTime"])
            if len(found) == 4:
                break
            time.sleep(0.5)
        return statistics.median(found[1:]) * 1000


@contextmanager
def prometheus(data: list[Table]) -> Iterator[Peer | None]:
    """Run a Prometheus over the data; None without the binaries."""
    binary, tool = shutil.which("prometheus"), shutil.which("promtool")
    if binary is None or tool is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_open_metrics(directory / "in.om", data)
        subprocess.run(
            [tool, "tsdb", "create-blocks-from", "openmetrics", "in.om", "data"],
            cwd=directory,
            check=True,
            capture_output=True,
        )
        rules = [{"alert": f"r{i}", "expr": f'x{{i="{i}"}} > 105'} for i in range(RULES)]
        groups = {"groups": [{"name": "g", "interval": "1s", "rules": rules}]}
        (directory / "rules.yml").write_text(json.dumps(groups))
        (directory / "p.yml").write_text("rule_files: [rules.yml]\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [binary, "--config.file=p.yml", "--storage.tsdb.path=data"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"],
                cwd=directory,
                stdout=log,
                stderr=log,
            )
        try:
            peer = Peer(port)
            wait_until_ready(peer)
            yield peer
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_ready(peer: Peer) -> None:
    for _ in range(300):
        try:
            peer.get("/api/v1/status/buildinfo")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError("prometheus did not become ready")


def write_open_metrics(path: Path, data: list[Table]) -> None:
    with path.open("w") as file:
        for labels, times, values in data:
            for column, own in enumerate(labels):
                inner = ",".join(f'{k}="{v}"' for k, v in own if k != "__name__")
                for at, value in zip(times.tolist(), values[:, column].tolist(), strict=True):
                    file.write(f"{own.name}{{{inner}}} {value!r} {at}\n")
        file.write("# EOF\n")


def rule_rounds(head: Head, engine: QueryEngine, at: int) -> tuple[float, float]:
    """Return what an interval's round takes, in ms: with a scrape that arrives first, and alone."""
    rules = "".join(f"  - {{alert: r{i}, expr: 'x{{i=\"{i}\"}} > 105'}}\n" for i in range(RULES))
    groups = load_rules(f"groups:\n- name: g\n  interval: 1s\n  rules:\n{rules}", "bench.yaml")
    evaluator = RuleEvaluator(
        groups, engine, started_ns=at, record=head.append, newest=head, monotonic=time.monotonic
    )
    table = head.table([Labels.of("x", i=str(i)) for i in range(9_500)])
    row = np.full((1, 9_500), 50.0)
    scrapes, rounds = [], []
    for second in range(1, 12):
        now = at + second * SECOND
        times = np.array([now - SECOND // 2], dtype=np.int64)
        table.append(times, row)
        began = time.perf_counter()
        evaluator.on_arrival({"x": times}, now)
        arrived = time.perf_counter()
        evaluator.on_interval(now)
        rounds.append(time.perf_counter() - arrived)
        scrapes.append(time.perf_counter() - began)
    return statistics.median(scrapes[1:]) * 1000, statistics.median(rounds[1:]) * 1000


def main() -> int:
    """Measure both in one run; return 1 when a limit does not hold."""
    now = int(time.time()) // EVERY * EVERY
    data = make_data(now)
    head = Head()
    for labels, times, values in data:
        head.table(labels).append(times.astype(np.int64) * SECOND, values)
    engine = QueryEngine(head, monotonic=time.monotonic)
    at = now * SECOND
    figures = []
    one = parse('x{i="7"} > 5')
    micros = milliseconds(lambda: [engine.instant(one, at) for _ in range(1000)])
    figures.append(Figure("promql", "x{i=...} > 5, one series, one instant", micros, "µs"))
    rules = [parse(f'x{{i="{i}"}} > 105') for i in range(RULES)]
    with prometheus(data) as peer:
        name = "Prometheus"
        for title, (query, limit) in QUERIES.items():
            expr = parse(query)
            ours = milliseconds(lambda expr=expr: engine.instant(expr, at))  # type: ignore[misc]
            theirs = peer.query_ms("/api/v1/query", query=query, time=now) if peer else None
            figures.append(Figure("promql", title, ours, "ms", theirs, name, limit))
        title, query = RANGE
        begin = at - LONG * EVERY * SECOND
        ours = milliseconds(lambda: engine.range(query, begin, at, EVERY * SECOND))
        span = {"start": begin // SECOND, "end": now, "step": EVERY}
        theirs = peer.query_ms("/api/v1/query_range", query=query, **span) if peer else None
        figures.append(Figure("promql", title, ours, "ms", theirs, name, 1.0))
        theirs = peer.rules_ms() if peer else None
        ours = milliseconds(lambda: [engine.instant(rule, at) for rule in rules])
        figures.append(
            Figure("promql", f"{RULES:,} simple rules, each in full", ours, "ms", theirs, name)
        )
        scrape, alone = rule_rounds(head, engine, at)
        title = f"{RULES:,} alert rules, one round"
        figures += [
            Figure("promql", title, alone, "ms", theirs, name, 0.2),
            Figure("promql", f"{title}, and a scrape before it", scrape, "ms", theirs, name, 0.2),
        ]
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
