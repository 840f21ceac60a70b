"""What the daemon tells of itself on ``/metrics``."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from tapewatch._version import __version__
from tapewatch.daemon.core import Core
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricType
from tapewatch.notify.dispatcher import Dispatcher
from tapewatch.notify.statistics import LATENCY_BOUNDS_S
from tapewatch.series.head import Head
from tapewatch.series.merged import MergedQuerier
from tapewatch.storage.samples import SampleStore
from tapewatch.web.exposition import MetricFamily

_COUNTER = MetricType.COUNTER
_BUILD = (Labels({"version": __version__, "python": platform.python_version()}),)


def own_families(
    core: Core,
    dispatcher: Dispatcher,
    head: Head,
    querier: MergedQuerier,
    samples: SampleStore,
    started_ns: int,
) -> Iterator[MetricFamily]:
    """Yield the families that live outside the head."""
    counts, single = core.counts, MetricFamily.single
    yield MetricFamily(
        "tapewatch_build_info", MetricType.INFO, "Version of Tapewatch.", "", _BUILD, (1.0,)
    )
    yield single(
        "tapewatch_start_time_seconds",
        started_ns / SECOND,
        "When the daemon started, Unix seconds.",
        unit="seconds",
    )
    yield single(
        "tapewatch_last_round_timestamp_seconds",
        core.round_ended_ns / SECOND,
        "When the evaluation loop last went round, Unix seconds.",
        unit="seconds",
    )
    yield single("tapewatch_rounds_total", counts.rounds, "Rounds of the loop.", _COUNTER)
    yield single("tapewatch_ticks_total", counts.ticks, "Ticks read from all tapes.", _COUNTER)
    yield single(
        "tapewatch_commits_total", counts.commits, "Transactions of the state store.", _COUNTER
    )
    yield single(
        "tapewatch_commit_failures_total",
        counts.commit_failures,
        "Transactions of the state store that failed and were tried again.",
        _COUNTER,
    )
    yield single(
        "tapewatch_events_given_up_total",
        core.pending.events_given_up,
        "Events given up because the store could not be written for too long.",
        _COUNTER,
    )
    yield single(
        "tapewatch_daemon_slept_seconds_total",
        core.wakefulness.slept_ns / SECOND,
        "Time that the daemon itself did not run (stopped, frozen, starved).",
        _COUNTER,
        "seconds",
    )
    yield single("tapewatch_series", head.series_count, "Series in memory.")
    yield single("tapewatch_samples", head.sample_count, "Samples in memory.")
    yield single(
        "tapewatch_series_refused_total",
        head.counts.refused_series,
        "Series refused because a cap was reached.",
        _COUNTER,
    )
    yield single(
        "tapewatch_samples_given_up_total",
        head.counts.given_up_samples,
        "Samples dropped from memory before they were on disk.",
        _COUNTER,
    )
    yield single(
        "tapewatch_sample_store_failures_total",
        querier.store_failures,
        "Queries that the sample store could not answer; memory answered alone.",
        _COUNTER,
    )
    yield single(
        "tapewatch_sample_store_given_up_total",
        samples.samples_given_up,
        "Samples that were not written because the disk is nearly full.",
        _COUNTER,
    )
    yield single(
        "tapewatch_sample_store_damaged_columns_total",
        samples.damaged_columns,
        "Stored columns that could not be read back.",
        _COUNTER,
    )
    yield single("tapewatch_alerts_active", len(core.book.active()), "Firing and unknown alerts.")
    yield from _suppressed(core)
    yield from _receivers(dispatcher)


def _suppressed(core: Core) -> Iterator[MetricFamily]:
    suppressed = dict(core.book.suppressed)
    if suppressed:
        yield MetricFamily(
            "tapewatch_notifications_suppressed_total",
            _COUNTER,
            "Changes of alerts that a receiver was not told of at once, by reason.",
            "",
            tuple(Labels({"reason": reason}) for reason in suppressed),
            [float(n) for n in suppressed.values()],
        )


def _receivers(dispatcher: Dispatcher) -> Iterator[MetricFamily]:
    stats = dispatcher.statistics()
    outcomes = [(s, outcome, n) for s in stats for outcome, n in s.outcomes.items()]
    names = tuple(Labels({"receiver": s.receiver}) for s in stats)
    yield MetricFamily(
        "tapewatch_notifications_total",
        _COUNTER,
        "Notifications by receiver and outcome.",
        "",
        tuple(Labels({"receiver": s.receiver, "outcome": outcome}) for s, outcome, _ in outcomes),
        [float(n) for _, _, n in outcomes],
    )
    yield MetricFamily(
        "tapewatch_notifications_queued",
        MetricType.GAUGE,
        "Notifications waiting for a receiver.",
        "",
        names,
        [float(s.queued) for s in stats],
    )
    labels: list[Labels] = []
    values: list[float] = []
    suffixes: list[str] = []
    for each, name in zip(stats, names, strict=True):
        running = 0
        bounds = [*map(repr, LATENCY_BOUNDS_S), "+Inf"]
        for bound, count in zip(bounds, each.latency_counts, strict=True):
            running += count
            labels.append(name.with_(le=bound))
            values.append(float(running))
            suffixes.append("_bucket")
        labels += [name, name]
        values += [each.latency_sum_s, float(running)]
        suffixes += ["_sum", "_count"]
    yield MetricFamily(
        "tapewatch_notification_latency_seconds",
        MetricType.HISTOGRAM,
        "From the decision to notify to the receiver's acceptance.",
        "seconds",
        tuple(labels),
        values,
        suffixes=tuple(suffixes),
    )
