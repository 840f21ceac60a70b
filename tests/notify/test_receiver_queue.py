"""What goes next: worst first, firing before ended, one subject in order, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.alert import AlertState
from tapewatch.model.notification import Notification
from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.receiver_queue import ReceiverQueue
from tapewatch.testing.alerts import START_NS, firing_alert, notification, resolves

WARNING, CRITICAL = AlertSeverity.WARNING, AlertSeverity.CRITICAL


def message(
    key: str,
    *,
    severity: AlertSeverity = WARNING,
    ended: bool = False,
    subject: str = "",
    at_ns: int = START_NS,
    symbol: str = "",
) -> Notification:
    alert = firing_alert(severity=severity, at_ns=START_NS, symbol=symbol or key)
    alert = resolves(alert, at_ns).alert if ended else replace(alert, updated_at_ns=at_ns)
    return notification(alert, key=key, subject=subject)


def drain(queue: ReceiverQueue) -> list[str]:
    out = []
    while (item := queue.next(START_NS)) is not None:
        out.append(item.notification.key)
        queue.remove(item)
    return out


@pytest.mark.requirement("F27", "F53")
def test_critical_alerts_that_fire_go_first_then_by_severity_then_by_age() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("info", severity=AlertSeverity.INFO))
    queue.push(message("warning 1"))
    queue.push(message("critical over", severity=CRITICAL, ended=True))
    queue.push(message("warning 2"))
    queue.push(message("critical", severity=CRITICAL))
    queue.push(message("emergency", severity=AlertSeverity.EMERGENCY))
    assert drain(queue) == [
        "emergency",
        "critical",
        "critical over",
        "warning 1",
        "warning 2",
        "info",
    ]


def test_notifications_about_one_subject_keep_their_order_and_move_up_together() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("other"))
    queue.push(message("low", subject="family"))
    queue.push(message("high", severity=CRITICAL, subject="family"))
    assert drain(queue) == ["low", "high", "other"]


def test_what_may_not_be_tried_yet_is_passed_over_without_overtaking_in_its_subject() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("first", subject="s"))
    queue.push(message("second", subject="s"))
    queue.push(message("other"))
    item = queue.next(START_NS)
    assert item is not None and item.notification.key == "first"
    item.not_before_ns = START_NS + 5
    other = queue.next(START_NS)
    assert other is not None and other.notification.key == "other"
    queue.remove(other)
    assert queue.next(START_NS) is None
    assert queue.next_ready_ns() == START_NS + 5


def test_a_notification_that_was_answered_with_an_error_goes_behind_the_others() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("poison"))
    queue.push(message("fine"))
    item = queue.next(START_NS)
    assert item is not None
    item.strike()
    assert drain(queue) == ["fine", "poison"]


def test_a_full_queue_gives_back_the_least_urgent_and_never_what_is_being_sent() -> None:
    queue = ReceiverQueue(2)
    queue.push(message("info", severity=AlertSeverity.INFO))
    sending = queue.next(START_NS)
    assert sending is not None
    sending.in_flight = True
    assert queue.push(message("warning")) is None
    given_back = queue.push(message("critical", severity=CRITICAL))
    assert given_back is not None and given_back.notification.key == "warning"
    given_back = queue.push(message("another info", severity=AlertSeverity.INFO))
    assert given_back is not None and given_back.notification.key == "another info"
    assert len(queue) == 2


def superseded(queue: ReceiverQueue) -> list[tuple[str, str]]:
    return [(o.notification.key, n.notification.key) for o, n in queue.superseded()]


@pytest.mark.requirement("F28")
def test_the_newest_state_of_one_alert_stands_for_the_older_ones() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("fires", symbol="A", subject="A"))
    queue.push(message("reminder", symbol="A", subject="A"))
    queue.push(message("ends", symbol="A", subject="A", ended=True, at_ns=START_NS + 5))
    queue.push(message("other", symbol="B", subject="B"))
    assert superseded(queue) == [("fires", "ends"), ("reminder", "ends")]


def test_an_older_state_never_stands_for_a_newer_one() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("newer", symbol="A", subject="A", at_ns=START_NS + 5))
    queue.push(message("older", symbol="A", subject="A", at_ns=START_NS))
    assert superseded(queue) == []


def test_a_worse_level_stands_for_a_milder_one_but_an_end_is_told_by_name() -> None:
    queue = ReceiverQueue(10)
    queue.push(message("low", symbol="A", subject="A"))
    queue.push(message("high", symbol="A", subject="A", severity=CRITICAL))
    assert superseded(queue) == [("low", "high")]
    queue = ReceiverQueue(10)
    queue.push(message("low ends", symbol="A", subject="A", ended=True))
    queue.push(message("high", symbol="A", subject="A", severity=CRITICAL))
    assert superseded(queue) == []


def test_a_notification_without_a_subject_is_about_its_fingerprints() -> None:
    first, second = message("1", symbol="A"), message("2", symbol="A")
    assert first.about == second.about
    assert first.alerts[0].state is AlertState.FIRING


@given(
    st.lists(
        st.tuples(st.sampled_from(AlertSeverity), st.booleans(), st.sampled_from(["A", "B", "C"])),
        max_size=30,
    ),
    st.integers(min_value=1, max_value=10),
)
def test_everything_pushed_comes_out_once_or_is_given_back_and_subjects_keep_their_order(
    pushed: list[tuple[AlertSeverity, bool, str]], capacity: int
) -> None:
    queue = ReceiverQueue(capacity)
    given_back = []
    for number, (severity, ended, subject) in enumerate(pushed):
        item = queue.push(message(str(number), severity=severity, ended=ended, subject=subject))
        if item is not None:
            given_back.append(item.notification.key)
        assert len(queue) <= capacity
    out = drain(queue)
    assert sorted(out + given_back, key=int) == [str(n) for n in range(len(pushed))]
    for subject in "ABC":
        numbers = [int(k) for k in out if pushed[int(k)][2] == subject]
        assert numbers == sorted(numbers)
    assert len(queue) == 0 and queue.next_ready_ns() is None
