"""Families of levels: alerts that say the same thing at different severities.

Members share the family's name and every label but ``severity`` and ``alertname``. The name is
the annotation ``family`` where a rule has one, else the alert's own name, so that one alert
defined at two severities is a family by itself. The highest level speaks, the others are quiet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tapewatch.alerts.told import Told
from tapewatch.model.alert import Alert
from tapewatch.model.severity import AlertSeverity

FAMILY_ANNOTATION = "family"


def family_key(alert: Alert) -> str:
    """Return the identity of the alert's family: its name and a hash of the shared labels."""
    name = alert.annotations.get(FAMILY_ANNOTATION) or alert.rule
    shared = alert.labels.without("severity", "alertname")
    return f"{name}:{shared.fingerprint()}"


def highest(alerts: Iterable[Alert], at_least: AlertSeverity) -> Alert | None:
    """Return the alert that speaks for its family: the worst, and of equals the oldest."""
    heard = (a for a in alerts if a.severity >= at_least)
    return min(heard, key=lambda a: (-a.severity, a.active_at_ns, a.id), default=None)


@dataclass(slots=True)
class Family:
    """What is true of one family, and what each receiver has heard of it."""

    key: str
    active: dict[str, Alert] = field(default_factory=dict)
    """Firing and unknown members by alert id."""
    ended: dict[str, Alert] = field(default_factory=dict)
    """The last end of each fingerprint that somebody still believes to be firing."""
    told: dict[str, Told] = field(default_factory=dict)
    """By receiver."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Notifications made so far, by alert id and by what is counted (see ``keys``)."""
    replay_until_ns: int | None = None
    """While set and not reached, the family's news is a backlog that is still being read."""

    def is_about(self, engine: str | None) -> bool:
        """Return True when an alert of the family carries this label ``engine``; None is any."""
        alerts = (*self.active.values(), *self.ended.values())
        return engine is None or any(a.labels.get("engine") == engine for a in alerts)

    def deadlines(self) -> list[int]:
        """Return when the family itself changes: acknowledgements end, patience ends."""
        acks = (a.acknowledged for a in self.active.values() if a.acknowledged is not None)
        times = [ack.expires_at_ns for ack in acks if ack.expires_at_ns is not None]
        return times if self.replay_until_ns is None else [*times, self.replay_until_ns]

    def ends_for(self, told: Told | None) -> tuple[Alert, ...]:
        """Return the ends of those alerts that the receiver believes to be active."""
        active = {alert.fingerprint for alert in self.active.values()}
        believed = told.open if told is not None else ()
        return tuple(self.ended[p] for p in believed if p not in active and p in self.ended)

    def forget_told(self) -> None:
        """Drop the ends that everybody has heard of, and the counts of episodes long over."""
        believed = {mark for told in self.told.values() for mark in told.open}
        self.ended = {p: alert for p, alert in self.ended.items() if p in believed}
        known = {*self.active, *(alert.id for alert in self.ended.values())}
        self.counts = {i: counts for i, counts in self.counts.items() if i in known}
