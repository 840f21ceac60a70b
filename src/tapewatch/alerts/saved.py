"""The alert book as JSON values, written with the notifications that it caused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tapewatch.alerts.families import Family
from tapewatch.alerts.told import Told
from tapewatch.model.alert import AlertState
from tapewatch.model.alert_json import alert_from_json, alert_to_json
from tapewatch.model.severity import AlertSeverity

VERSION = 1


def to_json(families: Iterable[Family], suppressed: Mapping[str, int]) -> dict[str, Any]:
    """Return families and counters as JSON values."""
    return {
        "version": VERSION,
        "suppressed": dict(suppressed),
        "families": [family_to_json(family) for family in families],
    }


def from_json(value: Mapping[str, Any]) -> tuple[list[Family], dict[str, int]]:
    """Read what ``to_json`` wrote.

    Raises:
        ValueError: It was not, or by a newer version of Tapewatch.
    """
    version = value.get("version")
    if version != VERSION:
        raise ValueError(
            f"the saved alert book has version {version!r}, this Tapewatch reads {VERSION}"
        )
    try:
        families = [_family_from_json(item) for item in value["families"]]
        return families, {str(name): int(n) for name, n in value["suppressed"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the saved alert book is damaged: {error!r}") from error


def family_to_json(family: Family) -> dict[str, Any]:
    return {
        "key": family.key,
        "active": [alert_to_json(alert) for alert in family.active.values()],
        "ended": [alert_to_json(alert) for alert in family.ended.values()],
        "told": {name: _told_to_json(told) for name, told in family.told.items()},
        "counts": {name: dict(counts) for name, counts in family.counts.items()},
        "replay_until_ns": family.replay_until_ns,
    }


def _family_from_json(value: Mapping[str, Any]) -> Family:
    active = [alert_from_json(item) for item in value["active"]]
    ended = [alert_from_json(item) for item in value["ended"]]
    return Family(
        key=value["key"],
        active={alert.id: alert for alert in active},
        ended={alert.fingerprint: alert for alert in ended},
        told={name: _told_from_json(item) for name, item in value["told"].items()},
        counts={name: dict(counts) for name, counts in value["counts"].items()},
        replay_until_ns=value["replay_until_ns"],
    )


def _told_to_json(told: Told) -> dict[str, Any]:
    return {
        "alert_id": told.alert_id,
        "severity": told.severity.name,
        "state": told.state.value,
        "at_ns": told.at_ns,
        "open": list(told.open),
        "level_at_ns": {level.name: at_ns for level, at_ns in told.level_at_ns.items()},
        "held_at_ns": told.held_at_ns,
    }


def _told_from_json(value: Mapping[str, Any]) -> Told:
    levels = value["level_at_ns"]
    return Told(
        alert_id=value["alert_id"],
        severity=AlertSeverity[value["severity"]],
        state=AlertState(value["state"]),
        at_ns=value["at_ns"],
        open=tuple(value["open"]),
        level_at_ns={AlertSeverity[name]: at_ns for name, at_ns in levels.items()},
        held_at_ns=value["held_at_ns"],
    )
