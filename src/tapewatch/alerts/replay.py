"""The replay stage: a backlog raises no false alarm, and an alert that holds at its end is told.

After a pause the daemon reads what the engines wrote meanwhile. Alerts that fire and end inside
that backlog are history: they are stored, not told. While it is being read nothing of it is told;
once it has been read, whatever differs from what people last heard is told, marked late.

Who reads the backlog says when it is done (``AlertBook.caught_up``). If nobody does, a family
whose last old news is older than ``PATIENCE_NS`` counts as read: an alert that is true must not
stay untold for want of a signal.
"""

from __future__ import annotations

from tapewatch.alerts.policy import AlertSettings
from tapewatch.alerts.verdict import Hold, Suppression
from tapewatch.model.alert import Alert, Transition
from tapewatch.model.clock import SECOND

PATIENCE_NS = 30 * SECOND


def is_history(transition: Transition, now_ns: int, settings: AlertSettings) -> bool:
    """Return True when the transition is old news from a backlog.

    What happened in the last ``fresh_ns`` is news even if it was read from a backlog: a restart
    of a few seconds must not swallow an alert.
    """
    return transition.alert.replayed and now_ns - transition.event_ns > settings.fresh_ns


def hold(replay_until_ns: int | None, now_ns: int) -> Hold | None:
    """Return a hold while the backlog is being read."""
    if replay_until_ns is None or now_ns >= replay_until_ns:
        return None
    return Hold(Suppression.REPLAYED, replay_until_ns)


def is_late(alert: Alert, now_ns: int, settings: AlertSettings) -> bool:
    """Return True when the alert's state is old news that is told only now."""
    return alert.replayed and now_ns - alert.updated_at_ns > settings.fresh_ns
