"""The reminder stage: an alert that nobody has taken is told again, every repeat interval."""

from __future__ import annotations

from tapewatch.alerts.policy import AlertSettings, ReceiverPolicy
from tapewatch.alerts.told import Told
from tapewatch.model.alert import Alert


def due_at_ns(
    truth: Alert | None, told: Told | None, policy: ReceiverPolicy, settings: AlertSettings
) -> int | None:
    """Return when the receiver is to be reminded; None when it is not to be."""
    if truth is None or told is None or not told.is_active or not policy.reminders:
        return None
    if truth.acknowledged is not None or settings.repeat_interval_ns <= 0:
        return None
    return told.at_ns + settings.repeat_interval_ns
