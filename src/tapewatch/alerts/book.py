"""The alert book: who is told what about which alert, and when.

The book knows two things of every family of alerts: what is true, and what each receiver heard
last. Every stage compares the two. Where they differ the receiver is told, now or at the end of
a cool-down; so the last state is never lost, whatever happened in between.

It is plain state and arithmetic: time comes in as an argument, notifications go out as a list.
``to_saved`` gives the whole of it as JSON values to be stored in the transaction that stores the
notifications; a book read back from there goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tapewatch.alerts import acknowledge as acknowledging
from tapewatch.alerts import cooldown, reminder, replay, saved
from tapewatch.alerts.acknowledge import Acknowledged
from tapewatch.alerts.deadlines import Deadlines
from tapewatch.alerts.dedupe import is_repeated
from tapewatch.alerts.families import Family, family_key, highest
from tapewatch.alerts.ledger import Ledger
from tapewatch.alerts.policy import (
    DEFAULT_COOLDOWNS,
    DEFAULT_FRESH_NS,
    DEFAULT_REPEAT_INTERVAL_NS,
    AlertSettings,
    ReceiverPolicy,
)
from tapewatch.alerts.telling import compose, decide, tell
from tapewatch.alerts.told import tell_resolved
from tapewatch.alerts.verdict import Decision, Drop, Hold, Outcome, Send, Suppression, Verdict
from tapewatch.model.alert import Acknowledgement, Alert, AlertState, Transition, TransitionReason
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity


class AlertBook:
    """Decides what people are told. One caller at a time; no method waits or reads a clock."""

    def __init__(
        self,
        receivers: Sequence[ReceiverPolicy],
        *,
        cooldowns: Mapping[AlertSeverity, int] = DEFAULT_COOLDOWNS,
        repeat_interval_ns: int = DEFAULT_REPEAT_INTERVAL_NS,
        fresh_ns: int = DEFAULT_FRESH_NS,
    ) -> None:
        """Start an empty book.

        Args:
            receivers: Who there is to tell, each name once.
            cooldowns: Nanoseconds by severity; a severity that is missing has none.
            repeat_interval_ns: Nanoseconds between reminders; 0 for none.
            fresh_ns: A replayed event at most this old is told as usual.

        Raises:
            ValueError: Two receivers have one name.
        """
        names = [policy.name for policy in receivers]
        if len(set(names)) != len(names):
            raise ValueError(f"receiver names must differ, found {sorted(names)}")
        self._receivers = tuple(receivers)
        self._settings = AlertSettings(dict(cooldowns), repeat_interval_ns, fresh_ns)
        self._families: dict[str, Family] = {}
        self._family_of: dict[str, str] = {}
        self._deadlines = Deadlines()
        self._ledger = Ledger()
        self._revision = 0
        self._changed: set[str] = set()

    # -- what comes in ------------------------------------------------------------------------

    def on_transitions(self, transitions: Sequence[Transition], now_ns: int) -> list[Notification]:
        """Take what the rules found and return what is to be sent now.

        Transitions of one event time count as simultaneous, so a family whose levels rise
        together speaks once; those of different times are told one after the other.
        """
        out: list[Notification] = []
        for _, instant in groupby(transitions, key=lambda t: t.event_ns):
            touched: dict[str, list[Alert]] = {}
            for transition in instant:
                family = self._apply(transition, now_ns)
                if family is not None:
                    touched.setdefault(family.key, []).append(transition.alert)
            for name, changed in touched.items():
                out += self._settle(self._families[name], now_ns, changed)
        return out

    def on_timer(self, now_ns: int) -> list[Notification]:
        """Return what is due: ends of cool-downs, reminders, acknowledgements that ran out."""
        out: list[Notification] = []
        for name in self._deadlines.take(now_ns):
            out += self._settle(self._families[name], now_ns)
        return out

    def next_deadline_ns(self) -> int | None:
        """Return when ``on_timer`` next has something to decide; None when nothing waits."""
        return self._deadlines.next_ns()

    def caught_up(self, now_ns: int, *, engine: str | None = None) -> list[Notification]:
        """Say that the backlog has been read; return what holds and people do not know.

        Args:
            now_ns: The time.
            engine: Only families whose alerts carry this label ``engine``; None for all.
        """
        out: list[Notification] = []
        for family in list(self._families.values()):
            if family.replay_until_ns is not None and family.is_about(engine):
                family.replay_until_ns = None
                self._mark(family.key)
                out += self._settle(family, now_ns)
        return out

    def acknowledge(
        self, target: str, by: str, note: str, now_ns: int, *, expires_at_ns: int | None = None
    ) -> Acknowledged:
        """Put an alert into the hands of a person.

        Lower levels of the same family go with it: they are the same trouble. Taking an alert
        again changes the name, and the note if there is a new one.

        Args:
            target: An alert id, a fingerprint, or a rule's name (all its active alerts).
            by: Who takes it.
            note: What they say about it; may be empty.
            now_ns: The time.
            expires_at_ns: When reminders begin again; None lasts as long as the alert.

        Raises:
            UnknownAlertError: No active alert is named so.
        """
        ack = Acknowledgement(by, now_ns, note, expires_at_ns)
        named = acknowledging.matching(target, self.active())
        taken: dict[str, Transition] = {}
        for alert in named:
            family = self._families[self._family_of[alert.id]]
            for member in list(family.active.values()):
                if member.id == alert.id or member.severity < alert.severity:
                    taken[member.id] = acknowledging.take(member, ack)
                    family.active[member.id] = taken[member.id].alert
        out: list[Notification] = []
        for alert in named:
            family = self._families[self._family_of[alert.id]]
            for policy in self._receivers:
                if policy.send_acknowledged and alert.severity >= policy.min_severity:
                    about = (taken[alert.id].alert,)
                    reason = NotifyReason.ACKNOWLEDGED
                    message = compose(family, policy, reason, about, now_ns, self._settings)
                    out.append(self._sent(message))
            out += self._settle(family, now_ns)
            self._mark(family.key)
        return Acknowledged(tuple(taken.values()), tuple(out))

    def restore(self, alerts: Iterable[Alert], now_ns: int) -> None:
        """Take the active alerts that the store knows, after a restart.

        They are the truth where the book differs: an alert that the book never saw is told by
        the next ``on_timer``, one that the store no longer has is taken for removed.
        """
        known = {alert.id: alert for alert in alerts if alert.is_active}
        for alert in self.active():
            if alert.id not in known:
                gone = replace(
                    alert,
                    state=AlertState.RESOLVED,
                    resolved_at_ns=now_ns,
                    updated_at_ns=now_ns,
                    reason=TransitionReason.RULE_REMOVED,
                )
                self._end(self._families[self._family_of[alert.id]], gone)
        for alert in known.values():
            family = self._family(alert)
            before = family.active.get(alert.id)
            family.active[alert.id] = acknowledging.carry_over(before, alert)
        for name in self._families:
            self._deadlines.put(name, now_ns)
            self._mark(name)

    def refresh(self, alerts: Iterable[Alert]) -> None:
        """Take newer values and annotations of alerts whose state has not changed."""
        for alert in alerts:
            known = self.alert(alert.id)
            if known is not None and known.state is alert.state:
                family = self._families[self._family_of[alert.id]]
                family.active[alert.id] = acknowledging.carry_over(known, alert)

    # -- what can be asked --------------------------------------------------------------------

    def active(self) -> list[Alert]:
        """Return the firing and unknown alerts with their acknowledgements, worst first.

        May be called from another thread than the book's: it works on copies.
        """
        families = list(self._families.values())
        alerts = [alert for family in families for alert in list(family.active.values())]
        return sorted(alerts, key=lambda a: (-a.severity, a.active_at_ns, a.id))

    def alert(self, alert_id: str) -> Alert | None:
        """Return an active alert with its acknowledgement, or None."""
        name = self._family_of.get(alert_id)
        return self._families[name].active.get(alert_id) if name is not None else None

    def with_acknowledgement(self, alert: Alert) -> Alert:
        """Return a state of an alert as the rules give it, in the hands that the book knows of.

        To be asked before ``on_transitions``: an alert that has ended is in nobody's hands.
        """
        return acknowledging.carry_over(self.alert(alert.id), alert)

    def explain(self, alert_id: str) -> tuple[Decision, ...]:
        """Return why receivers were told of an alert or were not, oldest decision first.

        Decisions are kept in memory, the last 32 of each of the last 2,000 alerts. After a
        restart an alert that somebody was told of still shows when that was.
        """
        return self._ledger.decisions(alert_id)

    @property
    def suppressed(self) -> Mapping[str, int]:
        """Changes that a receiver was not told of at once, by reason; each only rises."""
        return self._ledger.counts

    @property
    def revision(self) -> int:
        """A number that changes whenever ``to_saved`` may have changed."""
        return self._revision

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return the families that changed since this was last asked, as JSON values by key.

        None stands for a family that is gone. A thousand quiet alerts then cost nothing when one
        changes; ``from_saved`` takes the families back.
        """
        changed, self._changed = self._changed, set()
        return {
            name: saved.family_to_json(self._families[name]) if name in self._families else None
            for name in changed
        }

    def frame(self) -> dict[str, Any]:
        """Return what ``to_saved`` holds besides the families."""
        return saved.to_json((), self._ledger.counts)

    def _mark(self, family: str) -> None:
        self._changed.add(family)
        self._revision += 1

    def to_saved(self) -> dict[str, Any]:
        """Return the whole book as JSON values."""
        return saved.to_json(self._families.values(), self._ledger.counts)

    @classmethod
    def from_saved(
        cls,
        value: Mapping[str, Any] | None,
        receivers: Sequence[ReceiverPolicy],
        *,
        cooldowns: Mapping[AlertSeverity, int] = DEFAULT_COOLDOWNS,
        repeat_interval_ns: int = DEFAULT_REPEAT_INTERVAL_NS,
        fresh_ns: int = DEFAULT_FRESH_NS,
    ) -> AlertBook:
        """Read a book that ``to_saved`` wrote; None gives an empty one.

        What a receiver that no longer exists had heard is forgotten; a new receiver has heard
        nothing, and the next ``on_timer`` tells it of what is active.

        Raises:
            ValueError: The value was not written by ``to_saved``, or by a newer version.
        """
        book = cls(
            receivers,
            cooldowns=cooldowns,
            repeat_interval_ns=repeat_interval_ns,
            fresh_ns=fresh_ns,
        )
        if value is None:
            return book
        families, counts = saved.from_json(value)
        book._ledger = Ledger(counts)
        names = {policy.name for policy in receivers}
        for family in families:
            family.told = {name: told for name, told in family.told.items() if name in names}
            book._families[family.key] = family
            book._family_of.update(dict.fromkeys(family.active, family.key))
            book._deadlines.put(family.key, 0)
            for name, told in family.told.items():
                book._ledger.note(told.as_decision(name))
        return book

    # -- how it is done -----------------------------------------------------------------------

    def _apply(self, transition: Transition, now_ns: int) -> Family | None:
        """Make the transition true; return the family to settle, None if it is no news."""
        alert = transition.alert
        known = self.alert(alert.id)
        if not alert.is_active and known is None:
            # A pending alert is nobody's news yet; an end that we have no start of is repeated.
            if transition.notifies:
                self._ledger.count(Suppression.DUPLICATE)
            return None
        if is_repeated(known, alert):
            self._ledger.count(Suppression.DUPLICATE)
            return None
        family = self._family(alert)
        alert = acknowledging.carry_over(known, alert)
        if alert.is_active:
            family.active[alert.id] = alert
        else:
            self._end(family, alert)
        history = replay.is_history(transition, now_ns, self._settings)
        family.replay_until_ns = now_ns + replay.PATIENCE_NS if history else None
        self._mark(family.key)
        return family

    def _family(self, alert: Alert) -> Family:
        name = self._family_of.setdefault(alert.id, family_key(alert))
        return self._families.setdefault(name, Family(name))

    def _end(self, family: Family, alert: Alert) -> None:
        del self._family_of[alert.id]
        del family.active[alert.id]
        family.ended[alert.fingerprint] = alert

    def _settle(
        self, family: Family, now_ns: int, changed: Sequence[Alert] = ()
    ) -> list[Notification]:
        """Bring every receiver up to the truth, as far as the stages allow."""
        self._mark(family.key)
        for alert in list(family.active.values()):
            family.active[alert.id] = acknowledging.expire(alert, now_ns)
        if family.replay_until_ns is not None and now_ns >= family.replay_until_ns:
            family.replay_until_ns = None
        out: list[Notification] = []
        wake_at = [at_ns for at_ns in family.deadlines() if at_ns > now_ns]
        for policy in self._receivers:
            truth = highest(family.active.values(), policy.min_severity)
            verdict = decide(family, policy, truth, now_ns, self._settings)
            sent: frozenset[str] = frozenset()
            match verdict:
                case Send(reason):
                    message = tell(family, policy, reason, truth, now_ns, self._settings)
                    out.append(self._sent(message))
                    sent = frozenset(alert.id for alert in message.alerts)
                case Hold(until_ns=until_ns, flapping=flapping):
                    wake_at.append(until_ns)
                    if changed and flapping:
                        told = family.told[policy.name]
                        family.told[policy.name] = replace(told, held_at_ns=now_ns)
                case Drop(Suppression.RESOLVED_NOT_WANTED):
                    told = family.told[policy.name]
                    family.told[policy.name] = tell_resolved(told, None)
            self._account(family, policy, truth, verdict, sent, changed, now_ns)
            due_ns = self._next_for(family, policy, truth)
            if due_ns is not None and due_ns > now_ns:
                wake_at.append(due_ns)
        family.forget_told()
        if family.active or wake_at:
            self._deadlines.put(family.key, min(wake_at, default=None))
        else:
            self._deadlines.put(family.key, None)
            del self._families[family.key]
        return out

    def _next_for(self, family: Family, policy: ReceiverPolicy, truth: Alert | None) -> int | None:
        """Return when the receiver is reminded, or its last news stops holding things back."""
        told = family.told.get(policy.name)
        if told is not None and not told.is_active:
            return cooldown.last_end_ns(told, self._settings)
        return reminder.due_at_ns(truth, told, policy, self._settings)

    def _sent(self, message: Notification) -> Notification:
        for alert in message.alerts:
            self._ledger.note(
                Decision(
                    message.created_at_ns,
                    alert.id,
                    message.receiver,
                    Outcome.SENT,
                    message.reason,
                    key=message.key,
                )
            )
        return message

    def _account(
        self,
        family: Family,
        policy: ReceiverPolicy,
        truth: Alert | None,
        verdict: Verdict,
        sent: frozenset[str],
        changed: Sequence[Alert],
        now_ns: int,
    ) -> None:
        """Enter into the ledger why the receiver hears nothing of an alert for now."""
        news = {alert.id for alert in changed}
        for alert in {a.id: a for a in (*changed, *family.active.values())}.values():
            if alert.id in sent:
                continue
            until_ns = None
            if alert.severity < policy.min_severity:
                reason = Suppression.BELOW_SEVERITY
            elif truth is not None and alert.id != truth.id:
                reason = Suppression.LOWER_LEVEL
            elif isinstance(verdict, Send):
                reason = Suppression.NEVER_TOLD
            else:
                reason = verdict.reason
                until_ns = verdict.until_ns if isinstance(verdict, Hold) else None
            outcome = Outcome.SUPPRESSED if until_ns is None else Outcome.HELD
            self._ledger.note(Decision(now_ns, alert.id, policy.name, outcome, reason, until_ns))
            if alert.id in news:
                self._ledger.count(reason)
