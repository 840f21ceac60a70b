"""Cost of one scrape of 10,000 series beside prometheus_client's ``generate_latest``."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from bench.report import Figure, report
from tapewatch.model.labels import Labels
from tapewatch.web.exposition import MetricFamily, Renderer

FAMILIES = 20
SERIES = 500
ROUNDS = 40
LIMIT_MS = 5.0
LIMIT_RATIO = 0.1


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call in milliseconds, after one call to warm up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> int:
    """Measure both in one run; return 1 when a limit does not hold."""
    chance = random.Random(7)
    families = []
    registry = CollectorRegistry()
    for number in range(FAMILIES):
        name = f"bench_metric_{number}"
        labels = tuple(
            Labels({"engine": f"engine-{i % 25}", "symbol": f"SYM{i}", "venue": "XNSE"})
            for i in range(SERIES)
        )
        values = [chance.uniform(-1e5, 1e5) for _ in labels]
        families.append(MetricFamily(name, help="A gauge.", labels=labels, values=values))
        gauge = Gauge(name, "A gauge.", ["engine", "symbol", "venue"], registry=registry)
        for each, value in zip(labels, values, strict=True):
            gauge.labels(*(text for _, text in each.pairs)).set(value)
    # A daemon that builds its columns anew at each scrape keeps only the label sets.
    rebuilt = [dataclasses.replace(family, labels=list(family.labels)) for family in families]

    peer = median_ms(lambda: generate_latest(registry), ROUNDS // 4)
    figures = []
    for title, openmetrics, shown in (
        ("text", False, families),
        ("openmetrics", True, families),
        ("text, columns rebuilt", False, rebuilt),
    ):
        renderer = Renderer(openmetrics=openmetrics)
        ours = median_ms(lambda r=renderer, f=shown: r.render(f), ROUNDS)  # type: ignore[misc]
        name = f"10,000 series, {title}"
        figures.append(
            Figure("metrics_endpoint", name, ours, "ms", peer, "generate_latest", LIMIT_RATIO)
        )
        figures.append(Figure("metrics_endpoint", f"{name}, absolute", ours, "ms", limit=LIMIT_MS))
    return 0 if report(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
