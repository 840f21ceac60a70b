"""The alert record: one alert as one JSON object that people, ``jq`` and other programs read.

The six fields of the alert schema come first and in order: ``timestamp``, ``severity``, ``rule``,
``message``, ``context``, ``acknowledged``. What Tapewatch adds follows; docs/reference describes
each field. A record is strict JSON in one line whatever its labels hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from tapewatch.model.alert import Acknowledgement, Alert, AlertState, TransitionReason
from tapewatch.model.clock import SECOND
from tapewatch.model.json_line import to_json_line
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification
from tapewatch.model.severity import AlertSeverity

_STAMP = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<offset>Z|[+-]\d\d:\d\d)"
)


def alert_record(alert: Alert, tz: tzinfo) -> dict[str, Any]:
    """Return the alert as JSON values, the six fields of the alert schema first.

    Args:
        alert: The alert as it is after a change.
        tz: The zone whose local time and offset the stamps show.
    """
    ack = alert.acknowledged
    return {
        "timestamp": format_time(alert.updated_at_ns, tz),
        "severity": alert.severity.name,
        "rule": alert.rule,
        "message": alert.message,
        "context": dict(alert.context),
        "acknowledged": ack is not None,
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "state": alert.state.value,
        "reason": alert.reason.value,
        "group": alert.group,
        "labels": alert.labels.as_dict(),
        "annotations": dict(alert.annotations),
        "value": alert.value,
        "started_at": format_time(alert.active_at_ns, tz),
        "fired_at": _time_or_none(alert.fired_at_ns, tz),
        "resolved_at": _time_or_none(alert.resolved_at_ns, tz),
        "acknowledgement": None
        if ack is None
        else {
            "by": ack.by,
            "at": format_time(ack.at_ns, tz),
            "note": ack.note,
            "expires_at": _time_or_none(ack.expires_at_ns, tz),
        },
        "replayed": alert.replayed,
    }


def notification_records(
    notification: Notification, tz: tzinfo, recipients: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a record for each alert of a notification, with what is known of the telling.

    ``event`` is why it was told, ``key`` its idempotency key, ``notified_at`` when it was decided,
    ``recipients`` whom the configuration names. Records of one notification have keys of their
    own, so that each can be found again.
    """
    records = []
    for number, alert in enumerate(notification.alerts):
        records.append(
            alert_record(alert, tz)
            | {
                "event": notification.reason.value,
                "key": f"{notification.key}#{number}" if number else notification.key,
                "receiver": notification.receiver,
                "recipients": list(recipients),
                "notified_at": format_time(notification.created_at_ns, tz),
                "late": notification.late,
                "flapping": notification.flapping,
            }
        )
    return records


def record_line(record: Mapping[str, Any]) -> str:
    """Return the record as one line of strict JSON, without a line end."""
    return to_json_line(record)


def parse_record(record: str | bytes | Mapping[str, Any]) -> Alert:
    """Read an alert back from its record.

    Everything but numbers in ``context`` that are not finite comes back equal; those come back as
    the texts ``"NaN"``, ``"+Inf"`` and ``"-Inf"``.

    Raises:
        ValueError: It is not an alert record; the message names the field.
    """
    fields = _object(record)
    try:
        ack = fields["acknowledgement"]
        value = fields["value"]
        return Alert(
            id=_text(fields, "id"),
            fingerprint=_text(fields, "fingerprint"),
            rule=_text(fields, "rule"),
            group=_text(fields, "group"),
            severity=AlertSeverity.parse(_text(fields, "severity")),
            state=AlertState(fields["state"]),
            labels=Labels(fields["labels"]),
            annotations=dict(fields["annotations"]),
            value=None if value is None else float(value),
            active_at_ns=parse_time(_text(fields, "started_at")),
            updated_at_ns=parse_time(_text(fields, "timestamp")),
            fired_at_ns=_parse_or_none(fields["fired_at"]),
            resolved_at_ns=_parse_or_none(fields["resolved_at"]),
            reason=TransitionReason(fields["reason"]),
            acknowledged=None
            if ack is None
            else Acknowledgement(
                _text(ack, "by"),
                parse_time(_text(ack, "at")),
                _text(ack, "note"),
                _parse_or_none(ack["expires_at"]),
            ),
            replayed=bool(fields["replayed"]),
            context=dict(fields["context"]),
        )
    except KeyError as error:
        raise ValueError(f"not an alert record: field {error} is missing") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not an alert record: {error}") from None


def format_time(time_ns: int, tz: tzinfo) -> str:
    """Return ISO 8601 local time with its offset, as exact as the time itself.

    Whole seconds have no fraction, others three, six or nine digits.

    >>> format_time(1_767_604_500_250_000_000, UTC)
    '2026-01-05T09:15:00.250+00:00'
    """
    seconds, ns = divmod(time_ns, SECOND)
    local = datetime.fromtimestamp(seconds, tz).isoformat()
    if ns == 0:
        return local
    digits = f"{ns:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    # An offset is at the end and has no 'T'; a zone with odd seconds has a longer one.
    return f"{local[:19]}.{digits}{local[19:]}"


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch of an ISO 8601 time with offset.

    Raises:
        ValueError: It is not such a time, or has no offset.

    >>> parse_time("2026-01-05T14:45:00.25+05:30")
    1767604500250000000
    """
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(
            f"not a time with offset: {text!r}; write it like 2026-01-05T09:15:00+05:30"
        )
    offset = "+00:00" if match["offset"] == "Z" else match["offset"]
    whole = datetime.fromisoformat(match["seconds"] + offset)
    seconds = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // _ONE_SECOND
    return seconds * SECOND + int((match["fraction"] or "").ljust(9, "0"))


_ONE_SECOND = datetime(1970, 1, 1, 0, 0, 1) - datetime(1970, 1, 1)  # noqa: DTZ001 - a difference


def _object(record: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(record, Mapping):
        return record
    try:
        fields = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not an alert record: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"not an alert record: found {type(fields).__name__}, expected an object")
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(
            f"not an alert record: field {name!r} is {type(value).__name__}, expected text"
        )
    return value


def _time_or_none(time_ns: int | None, tz: tzinfo) -> str | None:
    return None if time_ns is None else format_time(time_ns, tz)


def _parse_or_none(value: str | None) -> int | None:
    return None if value is None else parse_time(value)
