"""Alerts, transitions and notifications with everything filled in, for tests of what takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tapewatch.model.alert import Alert, AlertState, Transition, TransitionReason
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity

START_NS = 1_767_604_500 * SECOND
"""2026-01-05 09:15:00 UTC, where ``TestClock`` starts too."""


def firing_alert(
    rule: str = "daily_loss_high",
    *,
    severity: AlertSeverity = AlertSeverity.WARNING,
    at_ns: int = START_NS,
    replayed: bool = False,
    annotations: Mapping[str, str] | None = None,
    context: Mapping[str, float | str | bool | None] | None = None,
    **labels: str,
) -> Alert:
    """Return an alert that began to fire at ``at_ns``, with the id that the rules would give it."""
    label_set = Labels({"alertname": rule, "severity": severity.label, "engine": "paper", **labels})
    fingerprint = label_set.fingerprint()
    return Alert(
        id=f"{fingerprint}-{at_ns:x}",
        fingerprint=fingerprint,
        rule=rule,
        group="engine",
        severity=severity,
        state=AlertState.FIRING,
        labels=label_set,
        annotations={"summary": "Daily loss is above its limit"} | dict(annotations or {}),
        value=-5.2,
        active_at_ns=at_ns,
        updated_at_ns=at_ns,
        fired_at_ns=at_ns,
        replayed=replayed,
        context={"daily_loss_pct": -5.2, "threshold": -5.0, "open_positions": 7.0}
        if context is None
        else context,
    )


def fires(alert: Alert) -> Transition:
    """Return the transition by which the alert began to fire."""
    return Transition(alert, AlertState.PENDING, alert.updated_at_ns)


def resolves(alert: Alert, at_ns: int, *, replayed: bool = False) -> Transition:
    """Return the transition by which the alert ended at ``at_ns``."""
    ended = replace(
        alert,
        state=AlertState.RESOLVED,
        updated_at_ns=at_ns,
        resolved_at_ns=at_ns,
        reason=TransitionReason.CONDITION_CLEARED,
        replayed=replayed,
    )
    return Transition(ended, alert.state, at_ns)


def vanishes(alert: Alert, at_ns: int) -> Transition:
    """Return the transition by which the alert's series vanished at ``at_ns``."""
    reason = TransitionReason.SERIES_VANISHED
    unknown = replace(alert, state=AlertState.UNKNOWN, updated_at_ns=at_ns, reason=reason)
    return Transition(unknown, alert.state, at_ns)


def returns(alert: Alert, at_ns: int) -> Transition:
    """Return the transition by which an unknown alert's series came back, still firing."""
    reason = TransitionReason.SERIES_RETURNED
    firing = replace(alert, state=AlertState.FIRING, updated_at_ns=at_ns, reason=reason)
    return Transition(firing, AlertState.UNKNOWN, at_ns)


def notification(
    *alerts: Alert,
    receiver: str = "ops",
    reason: NotifyReason = NotifyReason.FIRST_NOTIFICATION,
    key: str = "",
    subject: str = "",
    created_at_ns: int | None = None,
) -> Notification:
    """Return a notification about these alerts, or about one firing alert if none is given."""
    about = alerts or (firing_alert(),)
    return Notification(
        key=key or f"{about[0].id}/{about[0].state.value}/1/{receiver}",
        receiver=receiver,
        reason=reason,
        alerts=about,
        created_at_ns=about[0].updated_at_ns if created_at_ns is None else created_at_ns,
        subject=subject,
    )
