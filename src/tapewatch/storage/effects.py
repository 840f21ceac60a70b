"""What one commit makes durable, and what a start finds again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tapewatch.model.alert import Alert, Transition
from tapewatch.model.notification import DeliveryResult, DeliveryState, Notification

Saved = Mapping[str, Any]
"""A JSON-able record that somebody else gave us to keep."""


class StoredEvent(Protocol):
    """One event of an engine: a fill, an error, a state change. Source and number name it."""

    @property
    def source(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def time_ns(self) -> int: ...

    @property
    def number(self) -> int: ...

    @property
    def body(self) -> Mapping[str, Any]: ...


class Commit(Protocol):
    """The effects of one round, to be made durable together. ``Effects`` is one."""

    @property
    def offsets(self) -> Mapping[str, Saved | None]:
        """How far each source was read; None forgets the source."""

    @property
    def transitions(self) -> Iterable[Transition]:
        """Changes of alerts, oldest first."""

    @property
    def notifications(self) -> Iterable[Notification]:
        """New rows of the outbox."""

    @property
    def deliveries(self) -> Iterable[DeliveryResult]:
        """What became of rows of the outbox, oldest first."""

    @property
    def events(self) -> Iterable[StoredEvent]:
        """Events for the event table; one that is there already is left as it is."""

    @property
    def engines(self) -> Mapping[str, Saved | None]:
        """Engines by name; None forgets the engine."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Anything else to keep, by key; None forgets the key."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it is kept."""

    source: str
    kind: str
    time_ns: int
    number: int
    """Its number at its source: the two together are its identity."""
    body: Mapping[str, Any]


@dataclass(slots=True)
class Effects:
    """The effects of one round, gathered."""

    offsets: dict[str, Saved | None] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    deliveries: list[DeliveryResult] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    engines: dict[str, Saved | None] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A notification on its way."""

    notification: Notification
    state: DeliveryState
    attempts: int
    next_attempt_ns: int | None
    error: str
    updated_at_ns: int

    @property
    def key(self) -> str:
        """The notification's idempotency key."""
        return self.notification.key


@dataclass(frozen=True, slots=True)
class SavedState:
    """Everything that a start goes on from."""

    offsets: Mapping[str, Saved]
    active_alerts: tuple[Alert, ...]
    """Pending, firing and unknown ones; oldest first."""
    outbox: tuple[OutboxRow, ...]
    """Notifications without a final state, oldest first."""
    engines: Mapping[str, Saved]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoggedTransition:
    """One entry of the log of alert changes."""

    alert_id: str
    rule: str
    previous: str
    """Empty when the alert was new."""
    state: str
    reason: str
    event_ns: int
    at_ns: int
    body: Mapping[str, Any]
    """The alert as it was afterwards, in the form of ``alert_to_json``."""
