"""The settings of alerting: cool-downs, reminders, and what each receiver wants to hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapewatch.model.clock import HOUR, SECOND
from tapewatch.model.severity import AlertSeverity

DEFAULT_COOLDOWNS: Mapping[AlertSeverity, int] = {
    AlertSeverity.INFO: 600 * SECOND,
    AlertSeverity.WARNING: 300 * SECOND,
    AlertSeverity.CRITICAL: 60 * SECOND,
    AlertSeverity.EMERGENCY: 10 * SECOND,
}
"""Nanoseconds that must pass after a notification before the same alert may notify again."""
DEFAULT_REPEAT_INTERVAL_NS = 4 * HOUR
"""Nanoseconds between reminders of an alert that nobody has acknowledged."""
DEFAULT_FRESH_NS = 60 * SECOND
"""A replayed event that is at most this old is news and not history (a restart takes seconds)."""


@dataclass(frozen=True, slots=True)
class ReceiverPolicy:
    """What one receiver wants to hear."""

    name: str
    min_severity: AlertSeverity = AlertSeverity.INFO
    """Alerts below it are not sent to this receiver."""
    send_resolved: bool = True
    reminders: bool = True
    send_acknowledged: bool = False
    """True to send a notification when a person takes an alert; files and logs want that."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Every figure that the alert book uses; all durations in nanoseconds."""

    cooldowns: Mapping[AlertSeverity, int] = field(default_factory=lambda: DEFAULT_COOLDOWNS)
    repeat_interval_ns: int = DEFAULT_REPEAT_INTERVAL_NS
    fresh_ns: int = DEFAULT_FRESH_NS

    def cooldown_ns(self, severity: AlertSeverity) -> int:
        """Return the minimum gap after a notification of this severity; 0 where none is set."""
        return self.cooldowns.get(severity, 0)
