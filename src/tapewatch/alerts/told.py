"""What one receiver heard last about one family of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tapewatch.alerts.verdict import Decision, Outcome
from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.notification import NotifyReason
from tapewatch.model.severity import AlertSeverity


@dataclass(frozen=True, slots=True)
class Told:
    """The receiver's last news; times are nanoseconds on the steady timeline."""

    alert_id: str
    severity: AlertSeverity
    state: AlertState
    at_ns: int
    open: tuple[str, ...] = ()
    """Fingerprints that the receiver believes to be active."""
    level_at_ns: Mapping[AlertSeverity, int] = field(default_factory=dict)
    """When each severity was last told as active."""
    held_at_ns: int | None = None
    """When a change of the flapping alert was last held back by the cool-down."""

    @property
    def is_active(self) -> bool:
        """True when the receiver believes that something is wrong."""
        return self.state in (AlertState.FIRING, AlertState.UNKNOWN)

    def as_decision(self, receiver: str) -> Decision:
        """Return the decision that led here, as far as it can still be told."""
        reason = (
            NotifyReason.RESOLVED
            if not self.is_active
            else NotifyReason.STATE_UNKNOWN
            if self.state is AlertState.UNKNOWN
            else NotifyReason.FIRST_NOTIFICATION
        )
        return Decision(self.at_ns, self.alert_id, receiver, Outcome.SENT, reason)


def tell_active(before: Told | None, alert: Alert, still_active: set[str], now_ns: int) -> Told:
    """Return what the receiver knows after hearing that ``alert`` is active.

    Args:
        before: What it knew.
        alert: The member that speaks for the family.
        still_active: Fingerprints of all active members.
        now_ns: When it is told.
    """
    open_before = before.open if before else ()
    kept = [p for p in open_before if p in still_active and p != alert.fingerprint]
    return Told(
        alert_id=alert.id,
        severity=alert.severity,
        state=alert.state,
        at_ns=now_ns,
        open=(alert.fingerprint, *kept),
        level_at_ns={**(before.level_at_ns if before else {}), alert.severity: now_ns},
        held_at_ns=before.held_at_ns if before else None,
    )


def tell_resolved(before: Told, now_ns: int | None) -> Told:
    """Return what the receiver knows once all has ended; no time means that it was not told."""
    at_ns = before.at_ns if now_ns is None else now_ns
    return replace(before, state=AlertState.RESOLVED, at_ns=at_ns, open=())
