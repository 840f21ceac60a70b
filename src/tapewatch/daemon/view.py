"""What the daemon shows: one immutable picture, painted by the core's thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from tapewatch.alerts.record import alert_record, format_time
from tapewatch.daemon.core import Core
from tapewatch.daemon.engines import Engine
from tapewatch.ingest.liveness import EngineState
from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.health import HealthStatus, worst
from tapewatch.model.notification import DeliveryResult, DeliveryState
from tapewatch.model.severity import AlertSeverity
from tapewatch.series.head import Head
from tapewatch.web.facade import EngineView, HealthView

PAINT_NS = SECOND // 4
"""A picture that nothing has changed is painted again after this."""
RECENT_ALERTS = 50
RATE_WINDOW_NS = 5 * SECOND
SLOW_ROUND_NS = 5 * SECOND
"""A loop whose last round ended longer ago than this does not work."""

_ENGINE_HEALTH = {
    EngineState.RUNNING: HealthStatus.HEALTHY,
    EngineState.STARTING: HealthStatus.UNKNOWN,
    EngineState.EXPECTED: HealthStatus.UNKNOWN,
    EngineState.STALLED: HealthStatus.CRITICAL,
    EngineState.CRASHED: HealthStatus.CRITICAL,
    EngineState.NEVER_STARTED: HealthStatus.CRITICAL,
    EngineState.STOPPED: HealthStatus.NOT_CONFIGURED,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """The daemon at one moment. Never changed after it is painted."""

    now_ns: int
    engines: tuple[EngineView, ...] = ()
    engine_health: dict[str, HealthView] = field(default_factory=dict)
    active: tuple[Alert, ...] = ()
    recent: tuple[Alert, ...] = ()
    told_ms: dict[str, float] = field(default_factory=dict)
    """By alert id: milliseconds from the event to the first receiver's acceptance."""
    revision: int = 0
    """Rises when people must hear at once: an alert or an engine's state changed."""
    ticks: int = 0
    caught_up: bool = False
    storage_reason: str = ""
    recovered: tuple[str, ...] = ()
    """Which stores had to be begun anew, and why."""
    clock_deviation_s: float = 0.0
    unreadable_tapes: dict[str, str] = field(default_factory=dict)


class Painter:
    """Paints the picture at the end of a round, when something changed or it grows old."""

    def __init__(self, head: Head, zone: tzinfo, now_ns: int) -> None:
        self.picture = Picture(now_ns)
        self.storage_reason: Callable[[], str] = str
        """Why nothing is persisted; empty while it is."""
        self.recovered: Callable[[], tuple[str, ...]] = tuple
        """Which stores had to be begun anew, and why."""
        self._head = head
        self._zone = zone
        self._painted_ns = 0
        self._revision = 0
        self._states: dict[str, EngineState] = {}
        self._since: dict[str, int] = {}
        self._recent: deque[Alert] = deque(maxlen=RECENT_ALERTS)
        self._events: dict[str, int] = {}
        self._told: dict[str, float] = {}
        self._ticks: dict[str, deque[tuple[int, int]]] = {}

    def remember(self, alerts: list[Alert]) -> None:
        """Take the ended alerts that the store knows, the oldest first."""
        self._recent.extend(alerts)

    def on_transition(self, transition: Transition) -> None:
        """Note what an alert's change means for the picture."""
        if transition.notifies:
            self._revision += 1
            self._events.setdefault(transition.alert.id, transition.event_ns)
        if transition.alert.state is AlertState.RESOLVED:
            self._recent.append(transition.alert)

    def on_delivery(self, result: DeliveryResult) -> None:
        """Note when a person was first told of an alert; a key begins with the alert's id."""
        alert_id = result.key.partition("/")[0]
        if (
            result.state is DeliveryState.ACCEPTED
            and alert_id in self._events
            and alert_id not in self._told
        ):
            self._told[alert_id] = (result.at_ns - self._events[alert_id]) / MILLISECOND
            self._revision += 1

    def paint(self, core: Core, now_ns: int) -> None:
        """Paint if it is time."""
        if (
            not core.engines_changed
            and self._revision == self.picture.revision
            and now_ns - self._painted_ns < PAINT_NS
        ):
            return
        core.engines_changed = False
        states = {engine.name: engine.life.state for engine in core.engines()}
        if states != self._states:
            for name, state in states.items():
                if self._states.get(name) is not state:
                    self._since[name] = now_ns
            self._states = states
            self._revision += 1
        self._painted_ns = now_ns
        engines = core.engines()
        self._forget_old()
        core.book.refresh(core.evaluator.active())
        self.picture = Picture(
            now_ns=now_ns,
            engines=tuple(self._engine(engine, now_ns) for engine in engines),
            engine_health={engine.name: self._health(engine, now_ns) for engine in engines},
            active=tuple(core.book.active()),
            recent=tuple(reversed(self._recent)),
            told_ms=dict(self._told),
            revision=self._revision,
            ticks=core.counts.ticks,
            caught_up=core.caught_up,
            storage_reason=self.storage_reason(),
            recovered=self.recovered(),
            clock_deviation_s=core.clock_deviation_ns / SECOND,
            unreadable_tapes=dict(core.fleet.unreadable),
        )

    def _forget_old(self) -> None:
        while len(self._events) > 20 * RECENT_ALERTS:
            oldest = next(iter(self._events))
            del self._events[oldest]
            self._told.pop(oldest, None)

    def _engine(self, engine: Engine, now_ns: int) -> EngineView:
        ticks = engine.total("ticks")
        seen = self._ticks.setdefault(engine.name, deque())
        seen.append((now_ns, ticks))
        while len(seen) > 2 and seen[1][0] < now_ns - RATE_WINDOW_NS:
            seen.popleft()
        span = now_ns - seen[0][0]
        rate = (ticks - seen[0][1]) / (span / SECOND) if span >= SECOND else None
        age = None if engine.last_tick_ns is None else max(now_ns - engine.last_tick_ns, 0) / SECOND
        return EngineView(
            name=engine.name,
            state=engine.life.state.value,
            pid=engine.pid if engine.life.state.is_live else None,
            since=format_time(self._since.get(engine.name, now_ns), self._zone),
            reason=engine.stop_reason,
            last_tick_age_seconds=age,
            tick_rate=rate if engine.life.state.is_live else None,
            ticks=ticks,
            positions=self._value(engine, "positions_count"),
            equity=self._value(engine, "equity", "account_equity"),
            daily_pnl=self._value(engine, "pnl_daily"),
            lost=engine.total("frames_lost")
            + engine.total("events_lost")
            + engine.finished_dropped
            + sum(engine.dropped.values()),
        )

    def _value(self, engine: Engine, *metrics: str) -> float | None:
        """Return the value of the first of these metrics that the engine has."""
        for metric in metrics:
            found = self._head.last_value(engine.labels.with_(__name__=metric))
            if found is not None:
                return found[1]
        return None

    def _health(self, engine: Engine, now_ns: int) -> HealthView:
        state = engine.life.state
        view = HealthView(status=_ENGINE_HEALTH[state], message=f"the engine is {state.value}")
        if engine.last_tick_ns is not None:
            age = max(now_ns - engine.last_tick_ns, 0) / SECOND
            view["details"] = {
                "last_tick_age_seconds": round(age, 3),
                "last_tick_at": format_time(engine.last_tick_ns, self._zone),
                "ticks": engine.total("ticks"),
                "source": "tape",
            }
        return view


def alert_status(alerts: tuple[Alert, ...]) -> HealthView:
    """Return what the active alerts say about health."""
    if not alerts:
        return HealthView(status=HealthStatus.HEALTHY, message="no alert is active")
    top = max(alerts, key=lambda alert: alert.severity)
    unknown = sum(alert.state is AlertState.UNKNOWN for alert in alerts)
    if top.severity >= AlertSeverity.CRITICAL:
        status = HealthStatus.CRITICAL
    elif top.severity is AlertSeverity.WARNING:
        status = HealthStatus.DEGRADED
    else:
        status = HealthStatus.HEALTHY
    text = f"{len(alerts)} active, the worst {top.severity.name}: {top.rule}"
    if unknown:
        text += f"; {unknown} of them unknown"
    return HealthView(status=status, message=text, details={"active": len(alerts)})


def overall(checks: dict[str, HealthView]) -> HealthView:
    """Return the status that speaks for all checks, with the worst one's reason."""
    status = worst([check["status"] for check in checks.values()])
    reasons = [
        f"{name}: {check.get('message', '')}"
        for name, check in checks.items()
        if check["status"] is status
    ]
    message = "all is well" if status is HealthStatus.HEALTHY else "; ".join(reasons[:3])
    return HealthView(status=status, message=message, checks=checks)


def record_of(alert: Alert, zone: tzinfo, told_ms: dict[str, float]) -> dict[str, Any]:
    """Return an alert as the API and the page show it."""
    record = dict(alert_record(alert, zone))
    if alert.id in told_ms:
        record["told_ms"] = round(told_ms[alert.id], 3)
    if alert.acknowledged is not None:
        record["acknowledged_by"] = alert.acknowledged.by
        record["acknowledged_note"] = alert.acknowledged.note
    return record
