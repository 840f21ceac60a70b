"""The body of a webhook: Alertmanager's payload, version 4.

What Alertmanager has no field for stands in one more object, ``tapewatch``; a consumer that was
written for Alertmanager passes over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.clock import SECOND
from tapewatch.model.json_line import to_json_line
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification

ZERO_TIME = "0001-01-01T00:00:00Z"
"""What Go prints for "no time": the end of an alert that is still open."""
UNKNOWN_ANNOTATION = "tapewatch_state"


def payload(
    notification: Notification, *, external_url: str = "", recipients: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the payload as JSON values.

    Args:
        notification: What to tell.
        external_url: Where people find Tapewatch's page; empty when it is not known.
        recipients: People to be told, as the configuration names them.
    """
    alerts = notification.alerts
    group = alerts[0].labels if alerts else Labels()
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{_matchers(group)}}}",
        "truncatedAlerts": 0,
        "status": "firing" if notification.is_active else "resolved",
        "receiver": notification.receiver,
        "groupLabels": group.as_dict(),
        "commonLabels": _common([dict(a.labels) for a in alerts]),
        "commonAnnotations": _common([_annotations(a) for a in alerts]),
        "externalURL": external_url,
        "alerts": [_alert(alert, external_url) for alert in alerts],
        "tapewatch": {
            "key": notification.key,
            "reason": notification.reason.value,
            "late": notification.late,
            "flapping": notification.flapping,
            "recipients": list(recipients),
            "createdAt": rfc3339(notification.created_at_ns),
            "alerts": [_extra(alert) for alert in alerts],
        },
    }


def body(
    notification: Notification, *, external_url: str = "", recipients: Sequence[str] = ()
) -> bytes:
    """Return the payload as UTF-8 JSON."""
    value = payload(notification, external_url=external_url, recipients=recipients)
    return to_json_line(value).encode("utf-8")


def rfc3339(time_ns: int) -> str:
    """Return a time in UTC as Go prints it, without zeros at the end of the fraction.

    >>> rfc3339(1_767_604_500_250_000_000)
    '2026-01-05T09:15:00.25Z'
    """
    seconds, ns = divmod(time_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{ns:09d}".rstrip("0") if ns else ""
    return f"{whole}{fraction}Z"


def _alert(alert: Alert, external_url: str) -> dict[str, Any]:
    started = alert.active_at_ns if alert.fired_at_ns is None else alert.fired_at_ns
    ended = alert.resolved_at_ns
    return {
        "status": "firing" if alert.is_active else "resolved",
        "labels": alert.labels.as_dict(),
        "annotations": _annotations(alert),
        "startsAt": rfc3339(started),
        "endsAt": ZERO_TIME if alert.is_active or ended is None else rfc3339(ended),
        "generatorURL": external_url,
        "fingerprint": alert.fingerprint,
    }


def _extra(alert: Alert) -> dict[str, Any]:
    ack = alert.acknowledged
    return {
        "id": alert.id,
        "state": alert.state.value,
        "severity": alert.severity.name,
        "reason": alert.reason.value,
        "message": alert.message,
        "value": alert.value,
        "context": dict(alert.context),
        "activeAt": rfc3339(alert.active_at_ns),
        "acknowledgedBy": None if ack is None else ack.by,
    }


def _annotations(alert: Alert) -> dict[str, str]:
    annotations = dict(alert.annotations)
    if alert.state is AlertState.UNKNOWN:
        annotations[UNKNOWN_ANNOTATION] = alert.state.value
    return annotations


def _common(maps: Sequence[dict[str, str]]) -> dict[str, str]:
    if not maps:
        return {}
    first, *others = maps
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}


def _matchers(labels: Labels) -> str:
    pairs = []
    for name, value in labels:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        pairs.append(f'{name}="{escaped}"')
    return ", ".join(pairs)
