"""A stand-in for the daemon behind the web room: a calm trading day that a test can disturb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tapewatch.alerts.record import alert_record
from tapewatch.model.alert import Acknowledgement, Alert, AlertState, TransitionReason
from tapewatch.model.clock import SECOND, Clock
from tapewatch.model.errors import ConfigError, StorageError
from tapewatch.model.health import HealthStatus
from tapewatch.model.labels import Labels
from tapewatch.model.severity import AlertSeverity
from tapewatch.series.matching import compile_matchers
from tapewatch.series.querier import Matcher, SeriesSlice
from tapewatch.testing.clock import TestClock
from tapewatch.web.exposition import MetricFamily
from tapewatch.web.facade import (
    ChartView,
    ConflictError,
    EngineView,
    FaultView,
    HealthView,
    LiveSnapshot,
    NotFoundError,
    ReceiverView,
    RuleGroupView,
)

if TYPE_CHECKING:
    from tapewatch.promql import QueryResult

ENGINE = "momentum-equities"
WINDOW_S = 900.0


class FakeService:
    """Implements ``tapewatch.web.facade.Service`` over plain attributes.

    Every attribute may be set by a test; ``fail_with`` makes the changing methods raise. Queries
    run on the real query engine over ``series``.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or TestClock()
        self.is_live = True
        self.not_ready: tuple[str, ...] = ()
        self.checks: dict[str, HealthView] = {
            "storage": {"status": HealthStatus.HEALTHY, "message": "last commit 3 ms ago"},
            "rules": {"status": HealthStatus.HEALTHY},
            ENGINE: {"status": HealthStatus.HEALTHY, "details": {"last_tick_age_seconds": 0.2}},
        }
        self.overall = HealthStatus.HEALTHY
        self.overall_reason = ""
        self.engine_views: list[EngineView] = [engine_view(ENGINE)]
        self.all_alerts: list[Alert] = []
        self.told_ms: dict[str, float] = {}
        self.receiver_views: list[ReceiverView] = []
        self.fault_views: list[FaultView] = []
        self.chart_views: list[ChartView] = []
        self.groups: list[RuleGroupView] = []
        self.metric_families: list[MetricFamily] = []
        self.config: Mapping[str, Any] = {"web": {"listen": "127.0.0.1:8090", "token": "***"}}
        self.fail_with: ConfigError | StorageError | None = None
        self.reloads = 0
        self.auth_failures: list[tuple[str, bool]] = []
        self.version = 0
        self._querier = MemoryQuerier()

    @property
    def querier(self) -> MemoryQuerier:
        """The series in memory; add to it with ``querier.add``."""
        return self._querier

    def now_ns(self) -> int:
        """Return the clock's time."""
        return self.clock.now_ns()

    def live(self) -> bool:
        """Return ``is_live``."""
        return self.is_live

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Return ready unless ``not_ready`` holds reasons."""
        return not self.not_ready, self.not_ready

    def health(self) -> HealthView:
        """Return ``overall`` with ``checks``."""
        return {"status": self.overall, "message": self.overall_reason, "checks": self.checks}

    def service_health(self, name: str) -> HealthView:
        """Return one of ``checks``.

        Raises:
            NotFoundError: It is not among them.
        """
        try:
            return self.checks[name]
        except KeyError:
            known = ", ".join(sorted(self.checks))
            raise NotFoundError(
                f"there is no service {name[:128]!r}", next_step=f"known services: {known}"
            ) from None

    def status(self) -> Mapping[str, Any]:
        """Return a small summary."""
        return {"version": "0.0.0", "engines": len(self.engine_views), "now": self._iso()}

    def config_view(self) -> Mapping[str, Any]:
        """Return ``config``."""
        return self.config

    def engines(self) -> Sequence[EngineView]:
        """Return ``engine_views``."""
        return self.engine_views

    def alerts(
        self,
        *,
        active: bool | None = None,
        severity: AlertSeverity | None = None,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> Sequence[Mapping[str, Any]]:
        """Return the records of ``all_alerts`` that fit, the newest first."""
        found = [
            alert
            for alert in self.all_alerts
            if (active is None or alert.is_active is active)
            and (severity is None or alert.severity >= severity)
            and (since_ns is None or alert.updated_at_ns >= since_ns)
        ]
        found.sort(key=lambda alert: alert.updated_at_ns, reverse=True)
        return [self._record(alert) for alert in found[:limit]]

    async def acknowledge(
        self, alert_ref: str, *, by: str, note: str
    ) -> Sequence[Mapping[str, Any]]:
        """Put an acknowledgement on the active alerts with this id or rule name.

        Raises:
            NotFoundError: There is none.
            ConflictError: It has ended.
        """
        if self.fail_with is not None:
            raise self.fail_with
        named = [i for i, a in enumerate(self.all_alerts) if alert_ref in (a.id, a.rule)]
        active = [i for i in named if self.all_alerts[i].is_active]
        if not named:
            raise NotFoundError(
                f"there is no alert {alert_ref[:128]!r}", next_step="see /api/tapewatch/alerts"
            )
        if not active:
            over = self.all_alerts[named[0]].id
            raise ConflictError(f"alert {over} is over", next_step="nothing is left to do")
        for index in active:
            alert = self.all_alerts[index]
            kept = note or (alert.acknowledged.note if alert.acknowledged else "")
            ack = Acknowledgement(by, self.now_ns(), kept)
            self.all_alerts[index] = replace(alert, acknowledged=ack)
        self.version += 1
        return [self._record(self.all_alerts[index]) for index in active]

    async def retire(self, name: str) -> Mapping[str, Any]:
        """Forget an engine that has stopped or crashed.

        Raises:
            NotFoundError: There is no such engine.
            ConflictError: It runs.
        """
        for view in self.engine_views:
            if view["name"] == name:
                if view["state"] == "running":
                    raise ConflictError(f"engine {name!r} is alive", next_step="stop it first")
                self.engine_views.remove(view)
                return {"engine": name, "state": "retired"}
        raise NotFoundError(f"there is no engine {name[:128]!r}")

    async def reload(self) -> Mapping[str, Any]:
        """Count a reload.

        Raises:
            ConfigError: ``fail_with`` is set.
        """
        if self.fail_with is not None:
            raise self.fail_with
        self.reloads += 1
        return {"reloaded": True}

    def query(self, expr: str, time_ns: int) -> QueryResult:
        """Evaluate at one instant over ``querier``."""
        from tapewatch.promql import QueryEngine

        return QueryEngine(self._querier).instant(expr, time_ns)

    def query_range(self, expr: str, start_ns: int, end_ns: int, step_ns: int) -> QueryResult:
        """Evaluate at every step over ``querier``."""
        from tapewatch.promql import QueryEngine

        return QueryEngine(self._querier).range(expr, start_ns, end_ns, step_ns)

    def rule_groups(self) -> Sequence[RuleGroupView]:
        """Return ``groups``."""
        return self.groups

    def families(self) -> Iterable[MetricFamily]:
        """Return ``metric_families``."""
        return self.metric_families

    def live_version(self) -> int:
        """Return ``version``; raise it to make the stream send at once."""
        return self.version

    def live_snapshot(self, charts_since: float | None = None) -> LiveSnapshot:
        """Return the picture that the attributes paint."""
        active = [a for a in self.all_alerts if a.is_active]
        active.sort(key=lambda a: (-a.severity, a.updated_at_ns))
        ended = [a for a in self.all_alerts if a.state is AlertState.RESOLVED]
        ended.sort(key=lambda a: -a.updated_at_ns)
        snapshot: LiveSnapshot = {
            "now": self.now_ns() / SECOND,
            "version": "0.0.0",
            "started_at": datetime.fromtimestamp(self.now_ns() / SECOND - 5400, UTC).isoformat(),
            "overall": self.overall,
            "overall_reason": self.overall_reason,
            "engines": self.engine_views,
            "charts": [_tail(chart, charts_since) for chart in self.chart_views],
            "window_seconds": WINDOW_S,
            "active_alerts": [self._record(a) for a in active],
            "recent_alerts": [self._record(a) for a in ended],
            "receivers": self.receiver_views,
        }
        if self.fault_views:
            snapshot["faults"] = self.fault_views
        return snapshot

    def on_auth_failure(self, address: str, *, throttled: bool) -> None:
        """Remember it in ``auth_failures``."""
        self.auth_failures.append((address, throttled))

    def _record(self, alert: Alert) -> Mapping[str, Any]:
        return alert_record(alert, UTC) | {"told_ms": self.told_ms.get(alert.id)}

    def _iso(self) -> str:
        return datetime.fromtimestamp(self.now_ns() / SECOND, UTC).isoformat()


class MemoryQuerier:
    """A ``Querier`` over a list of series, for tests."""

    def __init__(self) -> None:
        self._slices: list[SeriesSlice] = []

    def add(self, labels: Labels, times_ns: Sequence[int], values: Sequence[float]) -> None:
        """Add a series; times must rise."""
        self._slices.append(
            SeriesSlice(labels, np.array(times_ns, np.int64), np.array(values, np.float64))
        )

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[SeriesSlice]:
        """Return the matching series with their samples in [start, end]."""
        accepts = compile_matchers(matchers)
        found = []
        for each in self._slices:
            if accepts(each.labels):
                inside = (each.times >= start_ns) & (each.times <= end_ns)
                found.append(SeriesSlice(each.labels, each.times[inside], each.values[inside]))
        return found

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        return sorted({name for labels in self._matching(matchers) for name, _ in labels})

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        return sorted({labels.get(name) for labels in self._matching(matchers)} - {""})

    def series(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """Return the sorted label sets of matching series with samples in [start, end]."""
        found = self.select(matchers, start_ns, end_ns)
        return sorted(each.labels for each in found if each.times.size)

    def _matching(self, matchers: Sequence[Matcher]) -> list[Labels]:
        accepts = compile_matchers(matchers)
        return [each.labels for each in self._slices if accepts(each.labels)]


def engine_view(name: str, state: str = "running", **more: Any) -> EngineView:
    """Build an engine that runs well; ``more`` overrides its fields."""
    view: EngineView = {
        "name": name,
        "state": state,
        "pid": 4711,
        "last_tick_age_seconds": 0.05,
        "tick_rate": 20.0,
        "ticks": 108_000,
        "positions": 7.0,
        "equity": 1_024_310.4,
        "daily_pnl": 2_500.5,
        "currency": "USD",
        "lost": 0,
    }
    view.update(more)  # type: ignore[typeddict-item]
    return view


def alert(
    rule: str,
    now_ns: int,
    *,
    severity: AlertSeverity = AlertSeverity.CRITICAL,
    state: AlertState = AlertState.FIRING,
    engine: str = ENGINE,
    age_s: float = 60.0,
    lasted_s: float = 30.0,
    value: float | None = 1.0,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Alert:
    """Build an alert that fired ``age_s`` ago and, if resolved, ended ``lasted_s`` later."""
    fired_ns = now_ns - round(age_s * SECOND)
    ended_ns = fired_ns + round(lasted_s * SECOND) if state is AlertState.RESOLVED else None
    full = Labels(
        {"alertname": rule, "engine": engine, "severity": severity.label, **(labels or {})}
    )
    pending = state is AlertState.PENDING
    return Alert(
        id=f"{full.fingerprint()}-{fired_ns:x}",
        fingerprint=full.fingerprint(),
        rule=rule,
        group="engine",
        severity=severity,
        state=state,
        labels=full,
        annotations=annotations or {},
        value=value,
        active_at_ns=fired_ns,
        updated_at_ns=ended_ns or fired_ns,
        fired_at_ns=None if pending else fired_ns,
        resolved_at_ns=ended_ns,
        reason=(
            TransitionReason.CONDITION_CLEARED if ended_ns else TransitionReason.CONDITION_TRUE
        ),
    )


def _tail(chart: ChartView, since: float | None) -> ChartView:
    if since is None:
        return chart
    kept = [(t, v) for t, v in zip(chart["times"], chart["values"], strict=True) if t > since]
    return {**chart, "times": [t for t, _ in kept], "values": [v for _, v in kept]}
