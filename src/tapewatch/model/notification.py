"""What is handed to a receiver, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tapewatch.model.alert import Alert


class NotifyReason(StrEnum):
    """Why a notification goes out."""

    FIRST_NOTIFICATION = "first_notification"
    SEVERITY_RAISED = "severity_raised"
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
