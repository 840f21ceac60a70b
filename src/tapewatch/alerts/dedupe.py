"""The first stage: is there anything that the receiver does not know already?"""

from __future__ import annotations

from tapewatch.alerts.told import Told
from tapewatch.alerts.verdict import Suppression
from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.notification import NotifyReason


def is_repeated(known: Alert | None, coming: Alert) -> bool:
    """Return True when the alert says nothing new of an episode, or something older."""
    if known is None:
        return False
    if coming.updated_at_ns < known.updated_at_ns:
        return True
    return coming.state is known.state and coming.severity is known.severity


def news(truth: Alert | None, told: Told | None) -> NotifyReason | Suppression:
    """Compare the truth with what the receiver heard last.

    Args:
        truth: The member that speaks for the family now; None when none is active.
        told: What the receiver knows; None when it never heard of the family.

    Returns:
        Why it should be told, or why there is nothing to tell.
    """
    if truth is None:
        if told is None:
            return Suppression.NEVER_TOLD
        return NotifyReason.RESOLVED if told.is_active else Suppression.ALREADY_TOLD
    if told is None or not told.is_active:
        return NotifyReason.FIRST_NOTIFICATION
    if truth.severity > told.severity:
        return NotifyReason.SEVERITY_RAISED
    if truth.severity < told.severity:
        return NotifyReason.SEVERITY_LOWERED
    if truth.state is not told.state:
        unknown = truth.state is AlertState.UNKNOWN
        return NotifyReason.STATE_UNKNOWN if unknown else NotifyReason.STATE_KNOWN_AGAIN
    return Suppression.ALREADY_TOLD
