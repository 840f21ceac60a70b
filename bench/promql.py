"""Queries over ten thousand series in the head, beside the engine of a Prometheus on the same data.

Both are asked for the time of the evaluation alone, without HTTP and JSON: Prometheus tells it in
the statistics of its answers and of its rule groups. Without the binary our figures stand alone.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from bench.prometheus_peer import Series, milliseconds, prometheus
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


def make_data(now_s: int) -> list[Series]:
    """Return the series of all queries."""
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
    alerts = [{"alert": f"r{i}", "expr": f'x{{i="{i}"}} > 105'} for i in range(RULES)]
    with prometheus(data, alerts) as peer:
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
