"""Timelines: at t this happens, and exactly this is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tapewatch.alerts.acknowledge import UnknownAlertError
from tapewatch.alerts.book import AlertBook
from tapewatch.alerts.policy import ReceiverPolicy
from tapewatch.alerts.verdict import Outcome, Suppression
from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.clock import HOUR, SECOND
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.alerts import START_NS, fires, firing_alert, resolves, returns, vanishes

INFO, WARNING = AlertSeverity.INFO, AlertSeverity.WARNING
CRITICAL, EMERGENCY = AlertSeverity.CRITICAL, AlertSeverity.EMERGENCY


def at(seconds: float) -> int:
    return START_NS + round(seconds * SECOND)


class Desk:
    """A book with a log of what was sent: lines of ``seconds reason severity state``."""

    def __init__(self, *policies: ReceiverPolicy, book: AlertBook | None = None) -> None:
        self.book = book or AlertBook(policies or [ReceiverPolicy("ops")])
        self.sent: list[Notification] = []

    def log(self, since: int = 0) -> list[str]:
        return [
            f"{(n.created_at_ns - START_NS) / SECOND:g} {n.reason} "
            + ", ".join(f"{a.severity.label} {a.state}" for a in n.alerts)
            for n in self.sent[since:]
        ]

    def see(self, seconds: float, *transitions: Transition) -> list[str]:
        return self._take(self.book.on_transitions(transitions, at(seconds)))

    def timer(self, seconds: float) -> list[str]:
        return self._take(self.book.on_timer(at(seconds)))

    def caught_up(self, seconds: float, engine: str | None = None) -> list[str]:
        return self._take(self.book.caught_up(at(seconds), engine=engine))

    def run_until(self, seconds: float) -> list[str]:
        """Fire every timer at its own time, up to and including this one."""
        start = len(self.sent)
        while (due := self.book.next_deadline_ns()) is not None and due <= at(seconds):
            self._take(self.book.on_timer(due))
        return self.log(start)

    def _take(self, notifications: Sequence[Notification]) -> list[str]:
        start = len(self.sent)
        self.sent += notifications
        return self.log(start)


def alert(severity: AlertSeverity = WARNING, seconds: float = 0, **kwargs: object) -> Alert:
    return firing_alert(severity=severity, at_ns=at(seconds), **kwargs)  # type: ignore[arg-type]


# -- the plain course ---------------------------------------------------------------------------


@pytest.mark.requirement("S5-73")
def test_a_firing_alert_is_told_at_once_and_its_end_too() -> None:
    desk = Desk()
    loss = alert()
    assert desk.see(0, fires(loss)) == ["0 first_notification warning firing"]
    assert desk.see(5, resolves(loss, at(5))) == ["5 resolved warning resolved"]
    assert desk.run_until(10 * 3600) == []
    assert desk.book.active() == []


def test_a_pending_alert_is_nobody_s_news() -> None:
    desk = Desk()
    pending = Transition(alert(), None, at(0))
    object.__setattr__(pending.alert, "state", AlertState.PENDING)
    assert desk.see(0, pending) == []
    assert desk.book.next_deadline_ns() is None


@pytest.mark.requirement("S5-73")
def test_the_same_transition_twice_is_told_once() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    assert desk.see(0, fires(loss)) == []
    end = resolves(loss, at(5))
    desk.see(5, end)
    assert desk.see(6, end) == []
    assert desk.book.suppressed["duplicate"] == 2


def test_an_older_state_that_comes_late_changes_nothing() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    unknown = vanishes(loss, at(20))
    desk.see(20, unknown)
    assert desk.see(21, returns(unknown.alert, at(10))) == []
    assert desk.book.active()[0].state is AlertState.UNKNOWN


def test_an_alert_that_fires_and_ends_in_one_batch_is_told_both_ways() -> None:
    desk = Desk()
    loss = alert()
    assert desk.see(1, fires(loss), resolves(loss, at(0.5))) == [
        "1 first_notification warning firing",
        "1 resolved warning resolved",
    ]


def test_different_label_sets_are_told_apart() -> None:
    desk = Desk()
    assert len(desk.see(0, fires(alert(symbol="INFY")), fires(alert(symbol="TCS")))) == 2


def test_two_receivers_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="names must differ"):
        AlertBook([ReceiverPolicy("ops"), ReceiverPolicy("ops")])


# -- unknown ------------------------------------------------------------------------------------


def test_vanished_series_are_told_as_unknown_and_their_return_after_the_cool_down() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    unknown = vanishes(loss, at(400))
    assert desk.see(400, unknown) == ["400 state_unknown warning unknown"]
    assert desk.see(401, returns(unknown.alert, at(401))) == []
    assert desk.run_until(800) == ["700 state_known_again warning firing"]


def test_an_unknown_alert_that_clears_is_told_as_resolved() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    unknown = vanishes(loss, at(10))
    desk.see(10, unknown)
    assert desk.see(20, resolves(unknown.alert, at(20))) == ["20 resolved warning resolved"]


# -- cool-down ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "seconds"), [(INFO, 600), (WARNING, 300), (CRITICAL, 60), (EMERGENCY, 10)]
)
def test_an_alert_that_comes_back_waits_for_the_cool_down_of_its_severity(
    severity: AlertSeverity, seconds: int
) -> None:
    desk = Desk()
    first = alert(severity)
    desk.see(0, fires(first))
    desk.see(1, resolves(first, at(1)))
    assert desk.see(2, fires(alert(severity, 2))) == []
    name = severity.label
    assert desk.run_until(seconds + 1) == [f"{seconds + 1} first_notification {name} firing"]


def test_an_alert_that_comes_back_after_the_cool_down_is_told_at_once() -> None:
    desk = Desk()
    first = alert()
    desk.see(0, fires(first))
    desk.see(10, resolves(first, at(10)))
    assert desk.see(310, fires(alert(seconds=310))) == ["310 first_notification warning firing"]


def test_an_alert_that_is_over_when_the_cool_down_ends_is_not_told_again() -> None:
    desk = Desk()
    first = alert()
    desk.see(0, fires(first))
    desk.see(1, resolves(first, at(1)))
    second = alert(seconds=2)
    desk.see(2, fires(second))
    assert desk.see(3, resolves(second, at(3))) == []
    assert desk.run_until(3600) == []
    assert desk.book.suppressed["cool_down"] == 1


@pytest.mark.requirement("F54")
def test_flapping_at_ten_hertz_gives_one_notification_per_cool_down_and_the_last_state() -> None:
    desk = Desk()
    current = alert(CRITICAL)
    for step in range(10 * 60 * 10):
        seconds = step / 10
        desk.run_until(seconds)
        if step % 2 == 0:
            current = alert(CRITICAL, seconds)
            desk.see(seconds, fires(current))
        else:
            desk.see(seconds, resolves(current, at(seconds)))
    desk.run_until(3600)
    times = [n.created_at_ns for n in desk.sent]
    # The first end is told at once; from then on the gap is the cool-down.
    assert len(desk.sent) <= 2 + 10
    assert all(later - sooner >= 60 * SECOND for sooner, later in pairwise(times[1:]))
    assert desk.sent[-1].reason is NotifyReason.RESOLVED
    assert [n.flapping for n in desk.sent[:2]] == [False, False]
    assert all(n.flapping for n in desk.sent[2:])


def test_the_end_of_a_flapping_alert_waits_but_is_told() -> None:
    desk = Desk()
    first = alert(CRITICAL)
    desk.see(0, fires(first))
    desk.see(1, resolves(first, at(1)))
    second = alert(CRITICAL, 2)
    desk.see(2, fires(second))
    desk.run_until(61)
    assert desk.see(61.5, resolves(second, at(61.5))) == []
    assert desk.run_until(500) == ["121 resolved critical resolved"]


def test_an_alert_that_held_still_for_a_cool_down_flaps_no_more() -> None:
    desk = Desk()
    first = alert(CRITICAL)
    desk.see(0, fires(first))
    desk.see(1, resolves(first, at(1)))
    second = alert(CRITICAL, 2)
    desk.see(2, fires(second))
    desk.run_until(200)
    assert desk.see(200, resolves(second, at(200))) == ["200 resolved critical resolved"]


def test_the_book_forgets_a_family_that_is_over() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    desk.see(1, resolves(loss, at(1)))
    desk.run_until(3600)
    assert desk.book.to_saved()["families"] == []
    assert desk.book.next_deadline_ns() is None


# -- families of levels -------------------------------------------------------------------------


def test_a_raised_severity_is_told_at_once() -> None:
    desk = Desk()
    desk.see(0, fires(alert(WARNING)))
    assert desk.see(1, fires(alert(CRITICAL, 1))) == ["1 severity_raised critical firing"]


def test_levels_that_rise_together_speak_once_with_the_highest() -> None:
    desk = Desk()
    low, high = alert(WARNING), alert(CRITICAL)
    assert desk.see(0, fires(low), fires(high)) == ["0 first_notification critical firing"]
    why = desk.book.explain(low.id)
    assert [(d.outcome, d.reason) for d in why] == [(Outcome.SUPPRESSED, Suppression.LOWER_LEVEL)]
    assert desk.book.suppressed["lower_level"] == 1


def test_a_lower_level_under_a_higher_one_is_quiet_from_start_to_end() -> None:
    desk = Desk()
    high, low = alert(CRITICAL), alert(WARNING, 5)
    desk.see(0, fires(high))
    assert desk.see(5, fires(low)) == []
    assert desk.see(6, resolves(low, at(6))) == []
    assert desk.see(7, resolves(high, at(7))) == ["7 resolved critical resolved"]


def test_a_level_that_falls_back_is_told_after_the_cool_down_with_the_end_of_the_higher() -> None:
    desk = Desk()
    low, high = alert(WARNING), alert(CRITICAL, 1)
    desk.see(0, fires(low))
    desk.see(1, fires(high))
    assert desk.see(10, resolves(high, at(10))) == []
    assert desk.run_until(100) == ["61 severity_lowered warning firing, critical resolved"]
    assert desk.see(120, resolves(low, at(120))) == ["120 resolved warning resolved"]


def test_both_levels_that_were_told_are_ended_by_name() -> None:
    desk = Desk()
    low, high = alert(WARNING), alert(CRITICAL, 1)
    desk.see(0, fires(low))
    desk.see(1, fires(high))
    told = desk.see(9, resolves(low, at(9)), resolves(high, at(9)))
    assert told == ["9 resolved critical resolved, warning resolved"]


def test_a_severity_that_goes_up_and_down_is_raised_once_per_its_cool_down() -> None:
    desk = Desk()
    desk.see(0, fires(alert(WARNING)))
    for step in range(300):
        seconds = 1 + step / 10
        desk.run_until(seconds)
        high = alert(CRITICAL, seconds)
        desk.see(seconds, fires(high))
        desk.see(seconds + 0.05, resolves(high, at(seconds + 0.05)))
    raised = [n for n in desk.sent if n.reason is NotifyReason.SEVERITY_RAISED]
    assert len(raised) == 1


def test_rules_of_different_names_are_one_family_when_their_annotation_says_so() -> None:
    desk = Desk()
    old = alert(WARNING, rule="SignalLate", annotations={"family": "signal_age"})
    older = alert(CRITICAL, 1, rule="SignalLost", annotations={"family": "signal_age"})
    desk.see(0, fires(old))
    assert desk.see(1, fires(older)) == ["1 severity_raised critical firing"]


def test_a_worse_alert_after_the_end_of_a_milder_one_does_not_wait() -> None:
    desk = Desk()
    low = alert(WARNING)
    desk.see(0, fires(low))
    desk.see(1, resolves(low, at(1)))
    assert desk.see(2, fires(alert(CRITICAL, 2))) == ["2 first_notification critical firing"]


# -- reminders and acknowledgement --------------------------------------------------------------


def test_reminders_come_every_four_hours_while_nobody_has_it() -> None:
    desk = Desk()
    desk.see(0, fires(alert()))
    assert desk.run_until(9 * 3600) == [
        "14400 repeat_interval_elapsed warning firing",
        "28800 repeat_interval_elapsed warning firing",
    ]
    assert len({n.key for n in desk.sent}) == 3


@pytest.mark.requirement("S5-74")
def test_an_acknowledged_alert_is_quiet_until_it_ends() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    taken = desk.book.acknowledge(loss.id, "mira", "looking", at(60))
    assert [a.acknowledged.by for a in taken.alerts if a.acknowledged] == ["mira"]
    assert taken.notifications == ()
    assert desk.run_until(24 * 3600) == []
    unknown = vanishes(loss, at(90_000))
    assert desk.see(90_000, unknown) == []
    assert desk.book.suppressed["acknowledged"] == 1
    ended = desk.book.on_transitions([resolves(unknown.alert, at(90_001))], at(90_001))
    assert [n.reason for n in ended] == [NotifyReason.RESOLVED]
    assert ended[0].alerts[0].acknowledged is not None, "who had it stays with the record"


def test_the_rules_next_state_of_an_alert_is_in_the_same_hands() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    desk.book.acknowledge(loss.id, "mira", "", at(1))
    taken = desk.book.with_acknowledgement(resolves(loss, at(2)).alert)
    assert taken.acknowledged is not None and taken.acknowledged.by == "mira"
    stranger = alert(symbol="B")
    assert desk.book.with_acknowledgement(stranger) is stranger


def test_a_raised_severity_is_told_although_the_lower_level_is_acknowledged() -> None:
    desk = Desk()
    low = alert(WARNING)
    desk.see(0, fires(low))
    desk.book.acknowledge(low.id, "mira", "", at(1))
    assert desk.see(2, fires(alert(CRITICAL, 2))) == ["2 severity_raised critical firing"]


def test_taking_the_higher_level_takes_the_lower_one_with_it() -> None:
    desk = Desk()
    low, high = alert(WARNING), alert(CRITICAL)
    desk.see(0, fires(low), fires(high))
    taken = desk.book.acknowledge(high.id, "mira", "", at(1))
    assert {a.id for a in taken.alerts} == {low.id, high.id}
    assert desk.see(70, resolves(high, at(70))) == []
    assert desk.run_until(24 * 3600) == []


def test_an_acknowledgement_that_runs_out_brings_the_reminders_back() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    desk.book.acknowledge("daily_loss_high", "mira", "", at(60), expires_at_ns=at(5 * 3600))
    assert desk.run_until(6 * 3600) == ["18000 repeat_interval_elapsed warning firing"]


@pytest.mark.requirement("S5-74")
def test_receivers_that_want_it_hear_who_has_the_alert() -> None:
    desk = Desk(ReceiverPolicy("file", send_acknowledged=True), ReceiverPolicy("ops"))
    loss = alert()
    desk.see(0, fires(loss))
    taken = desk.book.acknowledge(loss.fingerprint, "mira", "mine", at(1))
    assert [(n.receiver, n.reason) for n in taken.notifications] == [
        ("file", NotifyReason.ACKNOWLEDGED)
    ]
    again = desk.book.acknowledge(loss.fingerprint, "jon", "mine now", at(2))
    assert again.notifications[0].key != taken.notifications[0].key


def test_an_alert_taken_again_without_a_note_keeps_the_one_it_has() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    desk.book.acknowledge(loss.id, "mira", "looking", at(1))
    (taken,) = desk.book.acknowledge(loss.id, "jon", "", at(2)).alerts
    assert taken.acknowledged is not None
    assert (taken.acknowledged.by, taken.acknowledged.note) == ("jon", "looking")
    (taken,) = desk.book.acknowledge(loss.id, "jon", "sold", at(3)).alerts
    assert taken.acknowledged is not None
    assert taken.acknowledged.note == "sold"


def test_acknowledging_what_is_not_active_says_what_is() -> None:
    desk = Desk()
    desk.see(0, fires(alert()))
    with pytest.raises(UnknownAlertError, match=r"'heartbeat'.*active now: daily_loss_high"):
        desk.book.acknowledge("heartbeat", "mira", "", at(1))
    with pytest.raises(UnknownAlertError, match="no alert is active"):
        Desk().book.acknowledge("heartbeat", "mira", "", at(1))


# -- what receivers want ------------------------------------------------------------------------


def test_a_receiver_hears_only_severities_it_asked_for() -> None:
    desk = Desk(ReceiverPolicy("pager", min_severity=CRITICAL))
    low, high = alert(WARNING), alert(CRITICAL, 1)
    assert desk.see(0, fires(low)) == []
    assert desk.book.suppressed["below_severity"] == 1
    assert desk.see(1, fires(high)) == ["1 first_notification critical firing"]
    assert desk.see(9, resolves(high, at(9))) == ["9 resolved critical resolved"]
    assert desk.see(10, resolves(low, at(10))) == []


def test_a_receiver_that_wants_no_ends_still_hears_the_next_start() -> None:
    desk = Desk(ReceiverPolicy("pager", send_resolved=False, reminders=False))
    first = alert()
    desk.see(0, fires(first))
    assert desk.see(10, resolves(first, at(10))) == []
    assert desk.see(400, fires(alert(seconds=400))) == ["400 first_notification warning firing"]
    assert desk.run_until(24 * 3600) == []


# -- backlog ------------------------------------------------------------------------------------


@pytest.mark.requirement("F24", "F8")
def test_an_alert_that_began_and_ended_in_the_backlog_is_history() -> None:
    desk = Desk()
    old = alert(replayed=True)
    assert desk.see(3600, fires(old), resolves(old, at(100), replayed=True)) == []
    assert desk.caught_up(3601) == []
    assert desk.run_until(24 * 3600) == []
    assert desk.book.suppressed["replayed"] == 1
    assert desk.book.to_saved()["families"] == []


@pytest.mark.requirement("F24")
def test_an_alert_that_still_fires_at_the_end_of_the_backlog_is_told_as_late() -> None:
    desk = Desk()
    old = alert(replayed=True)
    assert desk.see(3600, fires(old)) == []
    assert [(d.outcome, d.reason) for d in desk.book.explain(old.id)] == [
        (Outcome.HELD, Suppression.REPLAYED)
    ]
    assert desk.caught_up(3601) == ["3601 first_notification warning firing"]
    assert desk.sent[0].late


def test_a_backlog_of_one_engine_does_not_speak_for_another() -> None:
    desk = Desk()
    desk.see(3600, fires(alert(replayed=True)))
    assert desk.caught_up(3601, engine="live") == []
    assert desk.caught_up(3602, engine="paper") == ["3602 first_notification warning firing"]


def test_an_alert_from_a_backlog_that_nobody_calls_read_is_told_after_a_while() -> None:
    desk = Desk()
    desk.see(3600, fires(alert(replayed=True)))
    assert desk.run_until(3700) == ["3630 first_notification warning firing"]


@pytest.mark.requirement("F1")
def test_what_happened_during_a_restart_of_seconds_is_news() -> None:
    desk = Desk()
    recent = alert(replayed=True)
    assert desk.see(3, fires(recent), resolves(recent, at(1), replayed=True)) == [
        "3 first_notification warning firing",
        "3 resolved warning resolved",
    ]
    assert not desk.sent[0].late


def test_the_end_of_a_told_alert_in_the_backlog_is_told_when_it_has_been_read() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    assert desk.see(3600, resolves(loss, at(100), replayed=True)) == []
    assert desk.caught_up(3601) == ["3601 resolved warning resolved"]


def test_live_news_ends_the_wait_for_the_backlog() -> None:
    desk = Desk()
    old = alert(replayed=True)
    desk.see(3600, fires(old))
    assert desk.see(3601, vanishes(old, at(3601))) == ["3601 first_notification warning unknown"]


# -- keys, restart, explanations ----------------------------------------------------------------


@pytest.mark.requirement("P3", "F3")
def test_computing_again_after_a_crash_before_the_commit_gives_the_same_keys() -> None:
    desk = Desk(ReceiverPolicy("ops"), ReceiverPolicy("file", send_acknowledged=True))
    loss = alert()
    desk.see(0, fires(loss))
    saved = json.loads(json.dumps(desk.book.to_saved()))
    policies = [ReceiverPolicy("ops"), ReceiverPolicy("file", send_acknowledged=True)]
    end = resolves(loss, at(5))
    lost = AlertBook.from_saved(saved, policies).on_transitions([end], at(5))
    again = AlertBook.from_saved(saved, policies).on_transitions([end], at(9))
    assert [n.key for n in lost] == [n.key for n in again]
    assert [n.key for n in lost] == [
        f"{loss.id}/resolved/1/ops",
        f"{loss.id}/resolved/1/file",
    ]


def test_keys_are_printable_ascii_whatever_the_receiver_is_called() -> None:
    desk = Desk(ReceiverPolicy("père/ä\n"))
    desk.see(0, fires(alert()))
    key = desk.sent[0].key
    assert key.isascii() and key.isprintable() and key.count("/") == 3


def test_a_new_receiver_is_told_what_is_active_and_an_old_one_is_not_told_again() -> None:
    desk = Desk()
    desk.see(0, fires(alert()))
    policies = [ReceiverPolicy("ops"), ReceiverPolicy("pager")]
    later = Desk(book=AlertBook.from_saved(desk.book.to_saved(), policies))
    later.timer(10)
    assert [n.receiver for n in later.sent] == ["pager"]


def test_a_receiver_that_was_set_to_hear_less_is_sent_no_false_end() -> None:
    desk = Desk()
    low = alert(WARNING)
    desk.see(0, fires(low))
    policies = [ReceiverPolicy("ops", min_severity=CRITICAL)]
    later = Desk(book=AlertBook.from_saved(desk.book.to_saved(), policies))
    assert later.timer(10) == []
    assert later.see(20, resolves(low, at(20))) == []


def test_after_a_restart_the_store_s_active_alerts_are_the_truth() -> None:
    desk = Desk()
    kept, gone, new = alert(symbol="A"), alert(symbol="B"), alert(symbol="C")
    desk.see(0, fires(kept), fires(gone))
    later = Desk(book=AlertBook.from_saved(desk.book.to_saved(), [ReceiverPolicy("ops")]))
    later.book.restore([kept, new], at(10))
    assert sorted(later.timer(10)) == [
        "10 first_notification warning firing",
        "10 resolved warning resolved",
    ]
    assert {a.id for a in later.book.active()} == {kept.id, new.id}


def test_a_saved_book_of_a_newer_version_or_damaged_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2"):
        AlertBook.from_saved({"version": 2}, [])
    with pytest.raises(ValueError, match="damaged"):
        AlertBook.from_saved({"version": 1, "families": [{}], "suppressed": {}}, [])
    assert AlertBook.from_saved(None, []).active() == []


def test_why_an_alert_was_told_held_and_told_can_be_asked() -> None:
    desk = Desk()
    first = alert()
    desk.see(0, fires(first))
    desk.see(1, resolves(first, at(1)))
    second = alert(seconds=2)
    desk.see(2, fires(second))
    held = desk.book.explain(second.id)
    assert [(d.outcome, d.reason, d.until_ns) for d in held] == [
        (Outcome.HELD, Suppression.COOL_DOWN, at(301))
    ]
    desk.run_until(301)
    assert desk.book.explain(second.id)[-1].key == f"{second.id}/firing/1/ops"
    assert [d.reason for d in desk.book.explain(first.id)] == [
        NotifyReason.FIRST_NOTIFICATION,
        NotifyReason.RESOLVED,
    ]
    assert desk.book.explain("nothing") == ()


def test_after_a_restart_it_can_still_be_asked_when_somebody_was_told() -> None:
    desk = Desk()
    loss = alert()
    desk.see(3, fires(loss))
    later = AlertBook.from_saved(desk.book.to_saved(), [ReceiverPolicy("ops")])
    assert [(d.at_ns, d.outcome) for d in later.explain(loss.id)] == [(at(3), Outcome.SENT)]


def test_reminders_carry_the_newest_value() -> None:
    desk = Desk()
    loss = alert()
    desk.see(0, fires(loss))
    newer = alert(context={"daily_loss_pct": -9.0})
    desk.book.refresh([newer])
    desk.run_until(4 * 3600)
    assert desk.sent[-1].alerts[0].context["daily_loss_pct"] == -9.0


def test_the_revision_changes_with_the_saved_state() -> None:
    desk = Desk()
    before = desk.book.revision
    assert desk.timer(5) == [] and desk.book.revision == before
    desk.see(0, fires(alert()))
    assert desk.book.revision != before


def test_ten_thousand_alerts_at_once_are_told_within_seconds() -> None:
    desk = Desk()
    storm = [fires(alert(symbol=f"S{n}")) for n in range(10_000)]
    started = time.perf_counter()
    assert len(desk.book.on_transitions(storm, at(0))) == 10_000
    assert desk.book.next_deadline_ns() == at(0) + 4 * HOUR
    assert time.perf_counter() - started < 5.0
