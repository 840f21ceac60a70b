"""The acknowledge stage: a person has the alert, so it is quiet until it worsens or ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tapewatch.alerts.verdict import Drop, Suppression
from tapewatch.model.alert import Acknowledgement, Alert, Transition
from tapewatch.model.errors import TapewatchError
from tapewatch.model.notification import Notification, NotifyReason

_HEARD_ANYWAY = frozenset({NotifyReason.SEVERITY_RAISED, NotifyReason.RESOLVED})


class UnknownAlertError(TapewatchError):
    """No active alert has this id, fingerprint or rule name."""

    code = "alert_not_found"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an acknowledgement changed."""

    transitions: tuple[Transition, ...]
    """The alerts as they are now, to be stored; their state is unchanged."""
    notifications: tuple[Notification, ...]
    """For receivers that want to hear who has an alert."""

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts as they are now."""
        return tuple(t.alert for t in self.transitions)


def drop(reason: NotifyReason, truth: Alert | None) -> Drop | None:
    """Return a drop when a person has the alert and the change is no worse than before."""
    if truth is None or truth.acknowledged is None or reason in _HEARD_ANYWAY:
        return None
    return Drop(Suppression.ACKNOWLEDGED)


def matching(target: str, active: Iterable[Alert]) -> list[Alert]:
    """Return the active alerts that ``target`` names: an id, a fingerprint, or a rule's name.

    Raises:
        UnknownAlertError: None is named so; the message lists what is active.
    """
    alerts = list(active)
    for part in ("id", "fingerprint", "rule"):
        found = [a for a in alerts if getattr(a, part) == target]
        if found:
            return found
    names = sorted({a.rule for a in alerts})
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise UnknownAlertError(
        f"no active alert has the id, fingerprint or rule name {target!r}; "
        + (f"active now: {listed}" if names else "no alert is active")
    )


def expire(alert: Alert, now_ns: int) -> Alert:
    """Return the alert without an acknowledgement whose time is over."""
    ack = alert.acknowledged
    if ack is None or ack.expires_at_ns is None or now_ns < ack.expires_at_ns:
        return alert
    return replace(alert, acknowledged=None)


def carry_over(known: Alert | None, coming: Alert) -> Alert:
    """Return the coming state of an alert in the hands that its last state was in."""
    if known is None or known.acknowledged is None or coming.acknowledged is not None:
        return coming
    return replace(coming, acknowledged=known.acknowledged)


def take(alert: Alert, ack: Acknowledgement) -> Transition:
    """Return the alert in the hands of a person; without a new note the earlier one stays."""
    if not ack.note and alert.acknowledged is not None:
        ack = replace(ack, note=alert.acknowledged.note)
    return Transition(replace(alert, acknowledged=ack), alert.state, ack.at_ns)
