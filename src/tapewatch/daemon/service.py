"""The daemon as the web room and the command line see it."""

from __future__ import annotations

import asyncio
import math
import platform
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from tapewatch._version import __version__
from tapewatch.alerts.acknowledge import UnknownAlertError
from tapewatch.alerts.record import format_time
from tapewatch.daemon.core import Core
from tapewatch.daemon.own_families import own_families
from tapewatch.daemon.refused_reload import RefusedReload, configuration_health
from tapewatch.daemon.view import (
    SLOW_ROUND_NS,
    Painter,
    Picture,
    alert_status,
    overall,
    record_of,
)
from tapewatch.model.alert import Alert
from tapewatch.model.clock import MINUTE, SECOND, Clock
from tapewatch.model.health import HealthStatus
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue, MetricType
from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.dispatcher import Dispatcher
from tapewatch.promql import QueryEngine, QueryResult, format_expr
from tapewatch.rules.model import AlertingRule
from tapewatch.series.head import Head
from tapewatch.series.merged import MergedQuerier
from tapewatch.series.querier import Matcher, MatchType, Querier
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.state import StateStore
from tapewatch.web.exposition import MetricFamily
from tapewatch.web.facade import (
    ChartView,
    ConflictError,
    EngineView,
    HealthView,
    LiveSnapshot,
    NotFoundError,
    ReceiverView,
    RuleGroupView,
    RuleView,
)

CHART_WINDOW_S = 600
CHART_POINTS = 600
CHART_METRICS = ("pnl_daily", "equity")
SHOWN_NS = 5 * MINUTE
"""A series without a newer sample than this is not on ``/metrics``."""

_RULE_SERIES = {
    "ALERTS": "1 for each pending or firing alert.",
    "ALERTS_FOR_STATE": "When each alert became pending, Unix seconds.",
}
_UNDESCRIBED = "Told by an engine or a recording rule; no pack describes it."

log = structlog.get_logger(component="monitoring")


class DaemonService:
    """Implements ``tapewatch.web.facade.Service``.

    What it shows comes from the picture that the core painted last, so no request ever waits for
    the core; what it changes is handed to the core and awaited.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        core: Core,
        painter: Painter,
        head: Head,
        querier: Querier,
        merged: MergedQuerier,
        samples: SampleStore,
        queries: QueryEngine,
        state: StateStore,
        dispatcher: Dispatcher,
        catalogue: MetricCatalogue,
        zone: tzinfo,
        data_dir: Path,
        config_view: Callable[[], Mapping[str, Any]],
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        refused_reload: Callable[[], RefusedReload | None],
    ) -> None:
        self._clock = clock
        self._core = core
        self._painter = painter
        self._head = head
        self._querier = querier
        self._queries = queries
        self._merged = merged
        self._samples = samples
        self._state = state
        self._dispatcher = dispatcher
        self._catalogue = catalogue
        self._zone = zone
        self._data_dir = data_dir
        self._config_view = config_view
        self._reload = reload
        self._refused_reload = refused_reload
        self._started_ns = clock.now_ns()
        self._columns: dict[str, tuple[Labels, ...]] = {}
        self.draining = False

    @property
    def picture(self) -> Picture:
        """What the core painted last."""
        return self._painter.picture

    @property
    def querier(self) -> Querier:
        """All series, in memory and on disk."""
        return self._querier

    def now_ns(self) -> int:
        """Return the time on the steady timeline."""
        return self._clock.now_ns()

    # -- health -------------------------------------------------------------------------------

    def live(self) -> bool:
        """Return whether the loop goes round: judged by its progress, not by its thread."""
        return self.now_ns() - self._core.round_ended_ns < SLOW_ROUND_NS

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Return whether the daemon has caught up and can serve."""
        reasons = []
        if self.draining:
            reasons.append("draining: the daemon is stopping")
        if not self.picture.caught_up:
            reasons.append("starting: tapes are still being read")
        if not self.live():
            reasons.append("the evaluation loop does not make progress")
        return not reasons, reasons

    def health(self) -> HealthView:
        """Return the overall health; checks are our own parts and every engine."""
        picture = self.picture
        checks = {
            "evaluation": self._evaluation(),
            "storage": _storage(picture),
            "clock": _clock_health(picture),
            "configuration": configuration_health(self._refused_reload(), self._zone),
            "alerts": alert_status(picture.active),
        }
        for receiver in self.receivers():
            checks[f"receiver:{receiver['name']}"] = HealthView(
                status=receiver["status"],
                message=receiver.get("last_error")
                or ("delivers" if receiver["accepted"] else "nothing was to be sent so far"),
                details={k: receiver[k] for k in ("accepted", "failed", "queued")},
            )
        for name, view in picture.engine_health.items():
            checks[f"engine:{name}"] = view
        return overall(checks)

    def service_health(self, name: str) -> HealthView:
        """Return the health of one part; engines and receivers also by their bare names."""
        checks = self.health().get("checks", {})
        for key in (name, f"engine:{name}", f"receiver:{name}"):
            if key in checks:
                return checks[key]
        raise NotFoundError(
            f"there is no service {name!r}",
            next_step=f"known ones: {', '.join(checks)}",
        )

    def _evaluation(self) -> HealthView:
        age = max(self.now_ns() - self._core.round_ended_ns, 0) / SECOND
        failing = [
            f"{health.rule}: {health.last_error}"
            for health in self._core.evaluator.health()
            if health.last_error
        ]
        details = {"rounds": self._core.counts.rounds, "last_round_age_seconds": round(age, 3)}
        if not self.live():
            return HealthView(
                status=HealthStatus.CRITICAL,
                message=f"no round for {age:.1f} s",
                details=details,
            )
        if failing:
            return HealthView(
                status=HealthStatus.DEGRADED, message="; ".join(failing[:3]), details=details
            )
        return HealthView(status=HealthStatus.HEALTHY, message="works", details=details)

    def status(self) -> Mapping[str, Any]:
        """Return the summary that ``tapewatch status`` shows."""
        picture = self.picture
        counts = self._core.counts
        health = self.health()
        refused = self._refused_reload()
        return {
            "version": __version__,
            "data_dir": str(self._data_dir),
            "python": platform.python_version(),
            "status": health["status"],
            "message": health.get("message", ""),
            "started_at": format_time(self._started_ns, self._zone),
            "uptime_seconds": round((self.now_ns() - self._started_ns) / SECOND, 3),
            "now": format_time(self.now_ns(), self._zone),
            "engines": list(picture.engines),
            "alerts": {
                "active": len(picture.active),
                "unacknowledged": sum(a.acknowledged is None for a in picture.active),
                "by_severity": {
                    s.name: sum(a.severity is s for a in picture.active) for s in AlertSeverity
                },
            },
            "ticks": picture.ticks,
            "series": self._head.series_count,
            "samples_in_memory": self._head.sample_count,
            "commits": counts.commits,
            "commit_failures": counts.commit_failures,
            "storage": picture.storage_reason or "ok",
            "configuration": "ok" if refused is None else refused.sentence(self._zone),
            "clock_deviation_seconds": picture.clock_deviation_s,
            "unreadable_tapes": picture.unreadable_tapes,
            "receivers": list(self.receivers()),
        }

    def config_view(self) -> Mapping[str, Any]:
        """Return the effective settings with origins, secrets masked."""
        return self._config_view()

    # -- engines and alerts -------------------------------------------------------------------

    def engines(self) -> Sequence[EngineView]:
        """Return every engine seen or configured."""
        return self.picture.engines

    def receivers(self) -> list[ReceiverView]:
        """Return how each receiver does."""
        views = []
        for stats in self._dispatcher.statistics():
            status = HealthStatus.HEALTHY if stats.up else HealthStatus.UNHEALTHY
            view = ReceiverView(
                name=stats.receiver,
                kind=stats.kind,
                status=status,
                accepted=stats.outcomes.get("accepted", 0),
                failed=stats.outcomes.get("failed", 0),
                queued=stats.queued,
            )
            if stats.last_error:
                view["last_error"] = stats.last_error
            views.append(view)
        return views

    def alerts(
        self,
        *,
        active: bool | None = None,
        severity: AlertSeverity | None = None,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> Sequence[Mapping[str, Any]]:
        """Return alert records, the newest first."""
        picture = self.picture
        found: list[Alert] = []
        if active is not False:
            found += picture.active
        if active is not True:
            known = {alert.id for alert in found}
            stored = self._state.alerts(active=False, since_ns=since_ns, limit=limit)
            found += [alert for alert in stored if alert.id not in known]
        found = [
            alert
            for alert in found
            if (severity is None or alert.severity >= severity)
            and (since_ns is None or alert.updated_at_ns >= since_ns)
        ]
        found.sort(key=lambda alert: alert.updated_at_ns, reverse=True)
        return [record_of(alert, self._zone, picture.told_ms) for alert in found[:limit]]

    async def acknowledge(
        self, alert_ref: str, *, by: str, note: str
    ) -> Sequence[Mapping[str, Any]]:
        """Put alerts into a person's hands."""
        future = self._core.submit(lambda: self._core.acknowledge(alert_ref, by, note))
        try:
            taken = await asyncio.wrap_future(future)
        except UnknownAlertError as error:
            ended = self._state.alerts(active=False)
            if any(alert_ref in (alert.id, alert.rule, alert.fingerprint) for alert in ended):
                raise ConflictError(
                    f"{alert_ref!r} is over already", next_step="see tapewatch status"
                ) from error
            raise NotFoundError(error.message, next_step=error.next_step) from error
        named = [a for a in taken if alert_ref in (a.id, a.rule, a.fingerprint)]
        others = [a for a in taken if a not in named]
        told_ms = self.picture.told_ms
        return [record_of(alert, self._zone, told_ms) for alert in (*named, *others)]

    async def retire(self, name: str) -> Mapping[str, Any]:
        """Forget an engine that will not come back."""
        try:
            gone = await asyncio.wrap_future(self._core.submit(lambda: self._core.retire(name)))
        except KeyError:
            known = ", ".join(view["name"] for view in self.engines()) or "none"
            raise NotFoundError(
                f"there is no engine {name!r}", next_step=f"known ones: {known}"
            ) from None
        if not gone:
            raise ConflictError(
                f"engine {name!r} is alive or its tape is still being read",
                next_step="stop the engine first",
            )
        return {"engine": name, "state": "retired"}

    async def reload(self) -> Mapping[str, Any]:
        """Load configuration and rules again, whole or not at all."""
        return await self._reload()

    def on_auth_failure(self, address: str, *, throttled: bool) -> None:
        """Log a wrong token; the guard counts it."""
        log.warning("auth_failure", address=address, throttled=throttled)

    # -- queries ------------------------------------------------------------------------------

    def query(self, expr: str, time_ns: int) -> QueryResult:
        """Evaluate PromQL at one instant."""
        return self._queries.instant(expr, time_ns)

    def query_range(self, expr: str, start_ns: int, end_ns: int, step_ns: int) -> QueryResult:
        """Evaluate PromQL over a range."""
        return self._queries.range(expr, start_ns, end_ns, step_ns)

    def rule_groups(self) -> Sequence[RuleGroupView]:
        """Return every rule with its state."""
        evaluator = self._core.evaluator
        health = {(h.group, h.rule, h.index): h for h in evaluator.health()}
        alerts: dict[tuple[str, str], list[Alert]] = {}
        for alert in evaluator.active():
            alerts.setdefault((alert.group, alert.rule), []).append(alert)
        views = []
        for group in evaluator.groups:
            rules = []
            for index, rule in enumerate(group.rules):
                state = health.get((group.name, rule.name, index))
                alerting = isinstance(rule, AlertingRule)
                rules.append(
                    RuleView(
                        name=rule.name,
                        query=format_expr(rule.expr),
                        alerting=alerting,
                        labels=dict(rule.labels),
                        annotations=dict(rule.annotations)
                        if isinstance(rule, AlertingRule)
                        else {},
                        for_ns=rule.for_ns if isinstance(rule, AlertingRule) else 0,
                        keep_firing_for_ns=(
                            rule.keep_firing_for_ns if isinstance(rule, AlertingRule) else 0
                        ),
                        alerts=alerts.get((group.name, rule.name), []) if alerting else (),
                        last_error=state.last_error if state else "",
                        evaluated_at_ns=state.last_evaluation_ns if state else None,
                        evaluation_ns=state.duration_ns if state else 0,
                    )
                )
            views.append(
                RuleGroupView(
                    name=group.name,
                    file=group.source,
                    interval_ns=group.interval_ns,
                    rules=rules,
                    limit=group.limit,
                )
            )
        return views

    # -- exposition and the live page ---------------------------------------------------------

    def families(self) -> Iterable[MetricFamily]:
        """Yield the daemon's own families, then every live series of the engines."""
        yield from own_families(
            self._core,
            self._dispatcher,
            self._head,
            self._merged,
            self._samples,
            self._started_ns,
        )
        columns: dict[str, tuple[list[Labels], list[float]]] = {}
        for labels, _, value in self._head.latest(since_ns=self.now_ns() - SHOWN_NS):
            names, values = columns.setdefault(labels.name, ([], []))
            names.append(labels)
            values.append(value)
        for name, (names, values) in columns.items():
            known = self._columns.get(name)
            if (
                known is None
                or len(known) != len(names)
                or any(a is not b for a, b in zip(known, names, strict=True))
            ):
                known = self._columns[name] = tuple(names)
            definition = self._catalogue.by_name(name)
            counter = name.endswith("_total")
            kind = MetricType.COUNTER if counter else MetricType.GAUGE
            yield MetricFamily(
                name,
                definition.type if definition else kind,
                (definition and definition.help) or _RULE_SERIES.get(name, _UNDESCRIBED),
                definition.unit if definition else "",
                known,
                values,
            )

    def live_version(self) -> int:
        """Return the revision of the picture."""
        return self.picture.revision

    def live_snapshot(self, charts_since: float | None = None) -> LiveSnapshot:
        """Return what the live page shows."""
        picture = self.picture
        health = self.health()
        return LiveSnapshot(
            now=picture.now_ns / SECOND,
            version=__version__,
            started_at=format_time(self._started_ns, self._zone),
            overall=health["status"],
            overall_reason=(
                "" if health["status"] is HealthStatus.HEALTHY else health.get("message", "")
            ),
            engines=picture.engines,
            charts=self._charts(picture, charts_since),
            window_seconds=CHART_WINDOW_S,
            active_alerts=[record_of(a, self._zone, picture.told_ms) for a in picture.active],
            recent_alerts=[record_of(a, self._zone, picture.told_ms) for a in picture.recent],
            receivers=self.receivers(),
        )

    def _charts(self, picture: Picture, since: float | None) -> list[ChartView]:
        end = picture.now_ns
        start = end - CHART_WINDOW_S * SECOND
        if since is not None:
            start = max(start, int(since * SECOND) + 1)
        charts = []
        for metric in CHART_METRICS:
            by_name = [Matcher("__name__", MatchType.EQUAL, metric)]
            for series in self._head.select(by_name, start, end):
                # Thin out on a fixed grid, so that points do not wander between two snapshots.
                grid = CHART_WINDOW_S * SECOND // CHART_POINTS
                buckets = series.times // grid
                last = [*np.flatnonzero(np.diff(buckets)).tolist(), len(buckets) - 1]
                values = [float(series.values[i]) for i in last]
                charts.append(
                    ChartView(
                        engine=series.labels.get("engine"),
                        metric=metric,
                        times=[float(series.times[i]) / SECOND for i in last],
                        values=[None if math.isnan(v) else v for v in values],
                    )
                )
        return charts


def _storage(picture: Picture) -> HealthView:
    if picture.storage_reason:
        return HealthView(
            status=HealthStatus.DEGRADED,
            message=f"not persisting: {picture.storage_reason}",
        )
    if picture.recovered:
        return HealthView(
            status=HealthStatus.DEGRADED, message="persists, but " + "; ".join(picture.recovered)
        )
    return HealthView(status=HealthStatus.HEALTHY, message="persists")


def _clock_health(picture: Picture) -> HealthView:
    deviation = picture.clock_deviation_s
    if deviation:
        return HealthView(
            status=HealthStatus.DEGRADED,
            message=f"the wall clock jumped by {deviation:+.1f} s; times go on as before the jump",
            details={"deviation_seconds": deviation},
        )
    return HealthView(status=HealthStatus.HEALTHY, message="steady")
