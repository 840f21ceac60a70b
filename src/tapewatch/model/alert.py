"""What an alert is, as everybody outside the rule engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tapewatch.model.labels import Labels
from tapewatch.model.severity import AlertSeverity


class AlertState(StrEnum):
    """Where an alert is in its life. A pending alert that clears just vanishes."""

    PENDING = "pending"
    FIRING = "firing"
    UNKNOWN = "unknown"
    """It fired, and then the series that fed it vanished: nobody knows. Counts as active."""
    RESOLVED = "resolved"


class TransitionReason(StrEnum):
    """Why an alert changed its state."""

    CONDITION_TRUE = "condition_true"
    HELD_FOR = "held_for"
    """The condition held for the rule's ``for``."""
    CONDITION_CLEARED = "condition_cleared"
    SERIES_VANISHED = "series_vanished"
    SERIES_RETURNED = "series_returned"
    ENGINE_STOPPED = "engine_stopped"
    """The engine said goodbye: a clean stop resolves its alerts."""
    ENGINE_RETIRED = "engine_retired"
    """A person said that the engine will not come back."""
    RULE_REMOVED = "rule_removed"
    RULE_CHANGED = "rule_changed"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person took the alert."""

    by: str
    at_ns: int
    note: str = ""
    expires_at_ns: int | None = None
    """When it stops counting and reminders begin again; None lasts as long as the alert."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of one alert: from the condition turning true to its end.

    All times are nanoseconds since the Unix epoch on the daemon's steady timeline.
    """

    id: str
    """Names the episode; the same after a crash and re-read, so it can key notifications."""
    fingerprint: str
    """Hash of ``labels``: the alert's identity across episodes."""
    rule: str
    """The alert's name (label ``alertname``)."""
    group: str
    severity: AlertSeverity
    state: AlertState
    labels: Labels
    annotations: Mapping[str, str]
    value: float | None
    """Value of the rule's expression at the last evaluation that was true."""
    active_at_ns: int
    """When the condition turned true."""
    updated_at_ns: int
    """When the state last changed."""
    fired_at_ns: int | None = None
    resolved_at_ns: int | None = None
    reason: TransitionReason = TransitionReason.CONDITION_TRUE
    acknowledged: Acknowledgement | None = None
    replayed: bool = False
    """Found in a backlog older than the daemon's start: starts no fresh notification."""
    context: Mapping[str, float | str | bool | None] = field(default_factory=dict)
    """Numbers that a person needs beside the message: thresholds and related values."""

    @property
    def message(self) -> str:
        """The one line for people: the annotation ``summary``, else the rule's name."""
        return self.annotations.get("summary") or self.rule

    @property
    def is_active(self) -> bool:
        """True while the alert fires or its state is unknown; acknowledged alerts stay active."""
        return self.state in (AlertState.FIRING, AlertState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one alert, with the alert as it is afterwards."""

    alert: Alert
    previous: AlertState | None
    """None when the alert is new."""
    event_ns: int
    """Event time of the data that caused it."""

    @property
    def notifies(self) -> bool:
        """True when people should hear of it: into firing or unknown, or out of them."""
        was = self.previous in (AlertState.FIRING, AlertState.UNKNOWN)
        now = self.alert.is_active
        return (was != now) or (was and now and self.previous != self.alert.state)
