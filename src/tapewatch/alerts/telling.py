"""One receiver and one family: the stages in their order, and what is said in the end."""

from __future__ import annotations

from tapewatch.alerts import acknowledge, cooldown, reminder, replay
from tapewatch.alerts.dedupe import news
from tapewatch.alerts.families import Family
from tapewatch.alerts.keys import key
from tapewatch.alerts.policy import AlertSettings, ReceiverPolicy
from tapewatch.alerts.told import tell_active, tell_resolved
from tapewatch.alerts.verdict import Drop, Send, Suppression, Verdict
from tapewatch.model.alert import Alert
from tapewatch.model.notification import Notification, NotifyReason


def decide(
    family: Family,
    policy: ReceiverPolicy,
    truth: Alert | None,
    now_ns: int,
    settings: AlertSettings,
) -> Verdict:
    """Return whether the receiver is told now; the first stage that objects gives the reason.

    Args:
        family: What is true and what was told.
        policy: The receiver.
        truth: The family's highest member that the receiver wants to hear of.
        now_ns: The time.
        settings: Cool-downs and intervals.
    """
    told = family.told.get(policy.name)
    reason = news(truth, told)
    if isinstance(reason, Suppression):
        due_ns = reminder.due_at_ns(truth, told, policy, settings)
        if due_ns is not None and now_ns >= due_ns:
            return Send(NotifyReason.REPEAT_INTERVAL_ELAPSED)
        return Drop(reason)
    if reason is NotifyReason.RESOLVED and not (policy.send_resolved and family.ends_for(told)):
        # Nothing ended when the receiver itself was set to hear of worse severities only.
        return Drop(Suppression.RESOLVED_NOT_WANTED)
    return (
        replay.hold(family.replay_until_ns, now_ns)
        or acknowledge.drop(reason, truth)
        or cooldown.hold(reason, truth, told, now_ns, settings)
        or Send(reason)
    )


def tell(
    family: Family,
    policy: ReceiverPolicy,
    reason: NotifyReason,
    truth: Alert | None,
    now_ns: int,
    settings: AlertSettings,
) -> Notification:
    """Write down that the receiver knows the truth, and return what it is sent.

    The message holds the alert that speaks for the family, and the ends of those that the
    receiver believed to be active: a service that pairs fingerprints is left with none open.
    """
    before = family.told.get(policy.name)
    flapping = cooldown.is_flapping(before, now_ns, settings)
    about = family.ends_for(before)
    if truth is not None:
        about = (truth, *about)
        still_active = {alert.fingerprint for alert in family.active.values()}
        family.told[policy.name] = tell_active(before, truth, still_active, now_ns)
    elif before is not None:
        family.told[policy.name] = tell_resolved(before, now_ns)
    else:
        raise AssertionError("an end cannot be news to a receiver that was told of nothing")
    return compose(family, policy, reason, about, now_ns, settings, flapping=flapping)


def compose(
    family: Family,
    policy: ReceiverPolicy,
    reason: NotifyReason,
    about: tuple[Alert, ...],
    now_ns: int,
    settings: AlertSettings,
    *,
    flapping: bool = False,
) -> Notification:
    """Return a notification under the next key of its first alert."""
    first = about[0]
    acknowledged = reason is NotifyReason.ACKNOWLEDGED
    status = reason.value if acknowledged else first.state.value
    counts = family.counts.setdefault(first.id, {})
    counted = f"{status}/{policy.name}"
    counts[counted] = counts.get(counted, 0) + 1
    return Notification(
        key=key(first.id, status, counts[counted], policy.name),
        receiver=policy.name,
        reason=reason,
        alerts=about,
        created_at_ns=now_ns,
        subject=family.key,
        late=any(replay.is_late(alert, now_ns, settings) for alert in about),
        flapping=flapping,
    )
