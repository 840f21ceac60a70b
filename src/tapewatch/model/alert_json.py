"""Alerts and notifications as exact JSON values, for the state store and the outbox.

Meant for our own files: every field, times in integer nanoseconds, read back equal. People and
other programs get ``tapewatch.model.alert_record`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tapewatch.model.alert import Acknowledgement, Alert, AlertState, TransitionReason
from tapewatch.model.json_line import number_text
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity


def alert_to_json(alert: Alert) -> dict[str, Any]:
    """Return the alert as JSON values; ``alert_from_json`` gives it back equal."""
    ack = alert.acknowledged
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "rule": alert.rule,
        "group": alert.group,
        "severity": alert.severity.name,
        "state": alert.state.value,
        "labels": alert.labels.as_dict(),
        "annotations": dict(alert.annotations),
        "value": None if alert.value is None else _number_to_json(alert.value),
        "active_at_ns": alert.active_at_ns,
        "updated_at_ns": alert.updated_at_ns,
        "fired_at_ns": alert.fired_at_ns,
        "resolved_at_ns": alert.resolved_at_ns,
        "reason": alert.reason.value,
        "acknowledged": None
        if ack is None
        else {
            "by": ack.by,
            "at_ns": ack.at_ns,
            "note": ack.note,
            "expires_at_ns": ack.expires_at_ns,
        },
        "replayed": alert.replayed,
        "context": {
            name: _number_to_json(item) if isinstance(item, float) else item
            for name, item in alert.context.items()
        },
    }


def alert_from_json(value: Mapping[str, Any]) -> Alert:
    """Read an alert that ``alert_to_json`` wrote.

    Raises:
        KeyError, ValueError, TypeError: The value is not such a record.
    """
    ack = value["acknowledged"]
    return Alert(
        id=value["id"],
        fingerprint=value["fingerprint"],
        rule=value["rule"],
        group=value["group"],
        severity=AlertSeverity[value["severity"]],
        state=AlertState(value["state"]),
        labels=Labels(value["labels"]),
        annotations=dict(value["annotations"]),
        value=None if value["value"] is None else _number_from_json(value["value"]),
        active_at_ns=value["active_at_ns"],
        updated_at_ns=value["updated_at_ns"],
        fired_at_ns=value["fired_at_ns"],
        resolved_at_ns=value["resolved_at_ns"],
        reason=TransitionReason(value["reason"]),
        acknowledged=None
        if ack is None
        else Acknowledgement(ack["by"], ack["at_ns"], ack["note"], ack.get("expires_at_ns")),
        replayed=value["replayed"],
        context={
            name: _number_from_json(item) if isinstance(item, list) else item
            for name, item in value["context"].items()
        },
    )


def notification_to_json(notification: Notification) -> dict[str, Any]:
    """Return the notification as JSON values; ``notification_from_json`` gives it back equal."""
    return {
        "key": notification.key,
        "receiver": notification.receiver,
        "reason": notification.reason.value,
        "alerts": [alert_to_json(alert) for alert in notification.alerts],
        "created_at_ns": notification.created_at_ns,
        "subject": notification.subject,
        "late": notification.late,
        "flapping": notification.flapping,
    }


def notification_from_json(value: Mapping[str, Any]) -> Notification:
    """Read a notification that ``notification_to_json`` wrote.

    Raises:
        KeyError, ValueError, TypeError: The value is not such a record.
    """
    return Notification(
        key=value["key"],
        receiver=value["receiver"],
        reason=NotifyReason(value["reason"]),
        alerts=tuple(alert_from_json(alert) for alert in value["alerts"]),
        created_at_ns=value["created_at_ns"],
        subject=value.get("subject", ""),
        late=value.get("late", False),
        flapping=value.get("flapping", False),
    )


def _number_to_json(value: float) -> float | list[str]:
    # A list cannot be a context value itself, so "NaN" the text and NaN the number stay apart.
    return value if math.isfinite(value) else [number_text(value)]


def _number_from_json(value: float | list[str]) -> float:
    return float(value[0]) if isinstance(value, list) else value
