"""What the web room and the command line need from the daemon, and nothing more.

The daemon implements :class:`Service`; :class:`tapewatch.testing.service.FakeService` is its
public stand-in for tests. Everything that comes back is plain data, ready to be encoded as JSON:
times inside dictionaries are ISO 8601 texts with an offset or Unix seconds as floats (names ending
in ``_seconds`` or in :class:`ChartView`); arguments named ``*_ns`` are nanoseconds on the daemon's
steady timeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict

from tapewatch.model.alert import Alert
from tapewatch.model.errors import TapewatchError
from tapewatch.model.health import HealthStatus
from tapewatch.model.severity import AlertSeverity
from tapewatch.series.querier import Querier
from tapewatch.web.exposition import MetricFamily

if TYPE_CHECKING:
    from tapewatch.promql import QueryResult


class NotFoundError(TapewatchError):
    """The named alert, engine or service does not exist."""

    code = "not_found"


class ConflictError(TapewatchError):
    """The named thing exists, but its state does not allow what was asked."""

    code = "conflict"


class HealthView(TypedDict):
    """Health of the whole, or of one named service (then without ``checks``)."""

    status: HealthStatus
    message: NotRequired[str]
    """One line that says why, for people."""
    checks: NotRequired[Mapping[str, HealthView]]
    details: NotRequired[Mapping[str, Any]]
    """Evidence: numbers with their source."""


class EngineView(TypedDict):
    """One engine as it is now. A number that is not known is None, never a made-up zero."""

    name: str
    state: str
    """running, stalled, crashed, stopped, never_started or unknown."""
    instance: NotRequired[str]
    pid: NotRequired[int | None]
    since: NotRequired[str | None]
    """When it came into this state, ISO 8601."""
    reason: NotRequired[str]
    last_tick_age_seconds: float | None
    """Age at the moment of the snapshot."""
    tick_rate: float | None
    """Ticks a second, lately."""
    ticks: int
    positions: float | None
    equity: float | None
    daily_pnl: float | None
    currency: NotRequired[str]
    lost: NotRequired[int]
    """Frames and events lost or dropped so far."""


class ChartView(TypedDict):
    """One line of the P&L chart. Times rise; a gap in the data is a None value."""

    engine: str
    metric: str
    times: Sequence[float]
    """Unix seconds."""
    values: Sequence[float | None]


class ReceiverView(TypedDict):
    """One receiver of notifications and how it does."""

    name: str
    kind: str
    status: HealthStatus
    accepted: int
    failed: int
    queued: int
    last_error: NotRequired[str]
    last_accepted_at: NotRequired[str | None]


class FaultView(TypedDict):
    """One fault of the demo's timetable."""

    name: str
    state: str
    """planned, active or over."""
    at: str
    """When it starts or started, ISO 8601."""
    engine: NotRequired[str]
    expected_rule: NotRequired[str]
    raised_ms: NotRequired[float | None]
    """Milliseconds from the fault's first evidence to the receiver's call."""


class LiveSnapshot(TypedDict):
    """Everything that the live page shows.

    Alerts are records of ``tapewatch.alerts.record.alert_record``, with ``told_ms`` besides where
    it is known: milliseconds from the event to the first receiver's acceptance.
    """

    now: float
    """Unix seconds of the moment that this snapshot describes."""
    version: str
    started_at: str
    overall: HealthStatus
    overall_reason: str
    """For people; empty when all is well."""
    engines: Sequence[EngineView]
    charts: Sequence[ChartView]
    """The whole window, or its tail: the page replaces everything from a tail's first time on."""
    window_seconds: float
    """How much of the charts to show."""
    active_alerts: Sequence[Mapping[str, Any]]
    """Firing and unknown, the worst first."""
    recent_alerts: Sequence[Mapping[str, Any]]
    """Episodes that have ended, the latest first."""
    receivers: Sequence[ReceiverView]
    faults: NotRequired[Sequence[FaultView]]
    """Only while the demo runs."""


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule and how its last evaluation went."""

    name: str
    query: str
    """Canonical PromQL."""
    alerting: bool
    """False for a recording rule."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    for_ns: int = 0
    keep_firing_for_ns: int = 0
    alerts: Sequence[Alert] = ()
    """Pending, firing and unknown."""
    last_error: str = ""
    evaluated_at_ns: int | None = None
    evaluation_ns: int = 0
    """How long the last evaluation took."""


@dataclass(frozen=True, slots=True)
class RuleGroupView:
    """A rule group in evaluation order."""

    name: str
    file: str
    interval_ns: int
    rules: Sequence[RuleView]
    limit: int = 0
    evaluated_at_ns: int | None = None
    evaluation_ns: int = 0


class Service(Protocol):
    """What the daemon offers.

    Methods are called on the daemon's event loop and return at once, except the queries
    (:meth:`query`, :meth:`query_range` and everything on :attr:`querier`): these are called in
    worker threads and may take as long as their limits allow.
    """

    @property
    def querier(self) -> Querier:
        """All series, for label and series look-ups."""
        ...

    def now_ns(self) -> int:
        """Return the time on the daemon's steady timeline."""
        ...

    def live(self) -> bool:
        """Return whether the process works at all; never false for a dependency's sake."""
        ...

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Return whether requests can be served, and if not, why (starting, draining ...)."""
        ...

    def health(self) -> HealthView:
        """Return the overall status with one entry in ``checks`` for each service."""
        ...

    def service_health(self, name: str) -> HealthView:
        """Return one service's health.

        Raises:
            NotFoundError: No service has this name.
        """
        ...

    def status(self) -> Mapping[str, Any]:
        """Return the summary: version, uptime, counts, last errors."""
        ...

    def config_view(self) -> Mapping[str, Any]:
        """Return the effective settings with their origins; secrets are masked already."""
        ...

    def engines(self) -> Sequence[EngineView]:
        """Return every engine seen or configured."""
        ...

    def alerts(
        self,
        *,
        active: bool | None = None,
        severity: AlertSeverity | None = None,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> Sequence[Mapping[str, Any]]:
        """Return alert records, the newest first.

        Args:
            active: True for firing and unknown only, False for ended ones, None for both.
            severity: This severity or worse; None for all.
            since_ns: Only those whose state changed at or after this time.
            limit: At most so many.
        """
        ...

    async def acknowledge(
        self, alert_ref: str, *, by: str, note: str
    ) -> Sequence[Mapping[str, Any]]:
        """Record, durably, that a person took an alert; return the records of all that were taken.

        Those that the reference names come first, then lower levels of the same trouble.

        Args:
            alert_ref: An alert's id or its rule's name (then every active alert of the rule).
            by: Who takes it.
            note: Free text; if empty, an earlier note stays.

        Raises:
            NotFoundError: Nothing has this id or name.
            ConflictError: The alert is over already.
            StorageError: It could not be made durable.
        """
        ...

    async def retire(self, name: str) -> Mapping[str, Any]:
        """Forget an engine that will not come back; its alerts end with that reason.

        Raises:
            NotFoundError: No engine has this name.
            ConflictError: Its process lives.
        """
        ...

    async def reload(self) -> Mapping[str, Any]:
        """Load configuration and rules again, whole or not at all.

        Raises:
            ConfigError: Something in the files is wrong; the old configuration stays in force.
        """
        ...

    def query(self, expr: str, time_ns: int) -> QueryResult:
        """Evaluate PromQL at one instant.

        Raises:
            QueryError: The text is wrong, or its evaluation failed.
        """
        ...

    def query_range(self, expr: str, start_ns: int, end_ns: int, step_ns: int) -> QueryResult:
        """Evaluate PromQL at every step of [start, end].

        Raises:
            QueryError: The text is wrong, or its evaluation failed.
        """
        ...

    def rule_groups(self) -> Sequence[RuleGroupView]:
        """Return every rule group with the state of its rules."""
        ...

    def families(self) -> Iterable[MetricFamily]:
        """Yield what ``/metrics`` shows: the daemon's own families and the engines' values."""
        ...

    def live_version(self) -> int:
        """Return a number that changes when the page must hear at once (alerts, states)."""
        ...

    def live_snapshot(self, charts_since: float | None = None) -> LiveSnapshot:
        """Return what the live page shows.

        Args:
            charts_since: Unix seconds; chart points after it only. None for the whole window.
        """
        ...

    def on_auth_failure(self, address: str, *, throttled: bool) -> None:
        """Hear that a request carried a wrong token.

        Args:
            address: Where it came from.
            throttled: True once an address has used up its tries: worth an alert.
        """
        ...
