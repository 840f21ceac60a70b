"""What is handed to a receiver, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tapewatch.model.alert import Alert
from tapewatch.model.severity import AlertSeverity


class NotifyReason(StrEnum):
    """Why a notification goes out."""

    FIRST_NOTIFICATION = "first_notification"
    SEVERITY_RAISED = "severity_raised"
    SEVERITY_LOWERED = "severity_lowered"
    """The worst level of a family ended while a lower one still fires."""
    STATE_UNKNOWN = "state_unknown"
    STATE_KNOWN_AGAIN = "state_known_again"
    RESOLVED = "resolved"
    REPEAT_INTERVAL_ELAPSED = "repeat_interval_elapsed"
    ACKNOWLEDGED = "acknowledged"


class DeliveryState(StrEnum):
    """Where a notification is on its way to one receiver."""

    QUEUED = "queued"
    SENDING = "sending"
    """An attempt is in flight; after a crash it is sent again with the same key."""
    ACCEPTED = "accepted"
    FAILED = "failed"
    """The receiver refused it for good."""
    EXPIRED = "expired"
    """Given up after its time; something newer about the alert was or will be sent."""

    @property
    def is_final(self) -> bool:
        """True when nothing more will be tried."""
        return self in (DeliveryState.ACCEPTED, DeliveryState.FAILED, DeliveryState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Notification:
    """One message about one or more alerts to one receiver.

    ``key`` is the idempotency key: stable across retries and crashes, so that a receiver that
    remembers keys sees each notification once.
    """

    key: str
    receiver: str
    reason: NotifyReason
    alerts: tuple[Alert, ...]
    created_at_ns: int
    subject: str = ""
    """What it is about, for example the key of a family of levels. Notifications of one subject
    reach a receiver in order, and a newer one may take the place of an older one that could not
    be delivered. Empty means the alerts' fingerprints."""
    late: bool = False
    """True when the news is old: it was found in a backlog, and told once that had been read."""
    flapping: bool = False
    """True when the alert changes faster than its cool-down and this is the state at its end."""

    @property
    def severity(self) -> AlertSeverity:
        """The worst severity among the alerts; INFO if there are none."""
        return max((a.severity for a in self.alerts), default=AlertSeverity.INFO)

    @property
    def is_active(self) -> bool:
        """True while any of the alerts fires or is unknown; False when all have ended."""
        return any(a.is_active for a in self.alerts)

    @property
    def about(self) -> str:
        """The subject, or the alerts' fingerprints where none is set."""
        return self.subject or ",".join(sorted({a.fingerprint for a in self.alerts}))


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one notification at one receiver; the store's outbox row follows it."""

    key: str
    receiver: str
    state: DeliveryState
    """QUEUED means that it will be tried again."""
    attempts: int
    """Attempts made so far, those before a restart included."""
    at_ns: int
    next_attempt_ns: int | None = None
    """When to try again; None in a final state."""
    reason: str = ""
    """One word for tables and metrics: ``accepted``, ``http_503``, ``timeout``, ``superseded``."""
    error: str = ""
    """The receiver's complaint for people, without secrets or paths of URLs."""
    latency_ns: int | None = None
    """From ``created_at_ns`` to acceptance; None unless accepted."""
