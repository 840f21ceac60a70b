"""The cool-down stage: the minimum gap between two notifications of one alert.

A change that comes too soon is held, and whatever is true when the gap ends is told then, so the
last state is never lost. Three things do not wait:

- a raised severity, unless that severity was itself told less than its own cool-down ago;
- the end of an alert that is not flapping;
- an alert that is not flapping becoming unknown.

An alert is *flapping* when it comes back within its cool-down, and stays so until a cool-down has
passed without that. Then its ends wait too, which bounds it to one notification per cool-down.
A severity that falls back to a lower level waits as well, but is no flapping.
"""

from __future__ import annotations

from tapewatch.alerts.policy import AlertSettings
from tapewatch.alerts.told import Told
from tapewatch.alerts.verdict import Hold, Suppression
from tapewatch.model.alert import Alert
from tapewatch.model.notification import NotifyReason

_PROGRESS = frozenset(
    {NotifyReason.RESOLVED, NotifyReason.STATE_UNKNOWN, NotifyReason.SEVERITY_LOWERED}
)
_AT_ONCE_WHEN_CALM = frozenset({NotifyReason.RESOLVED, NotifyReason.STATE_UNKNOWN})


def is_flapping(told: Told | None, now_ns: int, settings: AlertSettings) -> bool:
    """Return True when the alert came back too soon within the last cool-down."""
    if told is None or told.held_at_ns is None:
        return False
    return now_ns - told.held_at_ns <= settings.cooldown_ns(told.severity)


def hold(
    reason: NotifyReason,
    truth: Alert | None,
    told: Told | None,
    now_ns: int,
    settings: AlertSettings,
) -> Hold | None:
    """Return a hold until the cool-down ends, or None when the change may be told now."""
    if told is None:
        return None
    flapping = is_flapping(told, now_ns, settings)
    if truth is not None and truth.severity > told.severity:
        until_ns = _level_ends_at(truth, told, settings)
    elif reason in _AT_ONCE_WHEN_CALM and not flapping:
        return None
    else:
        until_ns = told.at_ns + settings.cooldown_ns(told.severity)
        if truth is not None and reason is NotifyReason.FIRST_NOTIFICATION:
            # A worse level with a shorter cool-down may have been told since this one was.
            last_ns = told.level_at_ns.get(truth.severity, 0)
            until_ns = max(until_ns, last_ns + settings.cooldown_ns(truth.severity))
    if now_ns >= until_ns:
        return None
    return Hold(Suppression.COOL_DOWN, until_ns, flapping or reason not in _PROGRESS)


def last_end_ns(told: Told, settings: AlertSettings) -> int:
    """Return when the last cool-down that anything told has begun is over."""
    ends = [at_ns + settings.cooldown_ns(level) for level, at_ns in told.level_at_ns.items()]
    return max(told.at_ns + settings.cooldown_ns(told.severity), *ends)


def _level_ends_at(truth: Alert, told: Told, settings: AlertSettings) -> int:
    as_bad = [at_ns for level, at_ns in told.level_at_ns.items() if level >= truth.severity]
    return max(as_bad) + settings.cooldown_ns(truth.severity) if as_bad else 0
