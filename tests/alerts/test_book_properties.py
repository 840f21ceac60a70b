"""Whatever happens in whatever order: nothing lost, nothing doubled, restarts unseen."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tapewatch.alerts.book import AlertBook
from tapewatch.alerts.families import family_key, highest
from tapewatch.alerts.policy import DEFAULT_COOLDOWNS, ReceiverPolicy
from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.clock import HOUR, SECOND
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.alerts import START_NS, fires, firing_alert, resolves, returns, vanishes

POLICIES = (
    ReceiverPolicy("ops"),
    ReceiverPolicy("file", reminders=False, send_acknowledged=True),
    ReceiverPolicy("pager", min_severity=AlertSeverity.CRITICAL, send_resolved=False),
)
LEVELS = WARNING, CRITICAL, EMERGENCY = (
    AlertSeverity.WARNING,
    AlertSeverity.CRITICAL,
    AlertSeverity.EMERGENCY,
)


@dataclass(frozen=True)
class Step:
    wait_s: float
    """Time that passes before it."""
    what: str
    symbol: str
    level: AlertSeverity
    old: bool
    restart: bool


STEPS = st.lists(
    st.builds(
        Step,
        wait_s=st.sampled_from([0.0, 0.1, 1.0, 9.9, 10.0, 59.0, 61.0, 301.0, 7200.0, 20_000.0]),
        what=st.sampled_from(["toggle", "toggle", "toggle", "vanish", "ack", "caught_up", "both"]),
        symbol=st.sampled_from(["A", "B"]),
        level=st.sampled_from(LEVELS),
        old=st.sampled_from([False, False, False, True]),
        restart=st.booleans(),
    ),
    max_size=60,
)


class World:
    """Alerts that come and go as rules make them, and a book that is told of it."""

    def __init__(self, *, restarts: bool) -> None:
        self.book = AlertBook(POLICIES)
        self.restarts = restarts
        self.now_ns = START_NS
        self.active: dict[tuple[str, AlertSeverity], Alert] = {}
        self.sent: list[Notification] = []

    def play(self, steps: list[Step]) -> None:
        for step in steps:
            self.advance(round(step.wait_s * SECOND))
            # Every step takes time, so that each episode has a beginning of its own.
            self.now_ns += 1000
            self.do(step)
            if step.restart and self.restarts:
                saved = json.loads(json.dumps(self.book.to_saved(), allow_nan=False))
                self.book = AlertBook.from_saved(saved, POLICIES)
                self.book.restore(self.active_with_acks(), self.now_ns)

    def advance(self, by_ns: int) -> None:
        until_ns = self.now_ns + by_ns
        while (due := self.book.next_deadline_ns()) is not None and due <= until_ns:
            self.now_ns = max(due, self.now_ns)
            self.sent += self.book.on_timer(self.now_ns)
        self.now_ns = until_ns

    def do(self, step: Step) -> None:
        if step.what == "caught_up":
            self.sent += self.book.caught_up(self.now_ns)
        elif step.what == "ack":
            alert = self.active.get((step.symbol, step.level))
            if alert is not None:
                taken = self.book.acknowledge(alert.id, "mira", "", self.now_ns)
                self.sent += taken.notifications
        else:
            levels = LEVELS if step.what == "both" else (step.level,)
            changes = [self.change(step, level) for level in levels]
            self.sent += self.book.on_transitions(changes, self.now_ns)

    def change(self, step: Step, level: AlertSeverity) -> Transition:
        key = (step.symbol, level)
        event_ns = self.now_ns - (HOUR if step.old else 0)
        known = self.active.get(key)
        if known is None:
            # The id names the moment of the episode; an old event is stamped when it happened.
            alert = firing_alert(
                severity=level, at_ns=event_ns, replayed=step.old, symbol=step.symbol
            )
            transition = fires(alert)
        elif step.what == "vanish" and known.state is AlertState.FIRING:
            transition = vanishes(known, max(event_ns, known.updated_at_ns))
        elif step.what == "vanish":
            transition = returns(known, max(event_ns, known.updated_at_ns))
        else:
            transition = resolves(known, max(event_ns, known.updated_at_ns), replayed=step.old)
        if transition.alert.is_active:
            self.active[key] = transition.alert
        else:
            del self.active[key]
        return transition

    def active_with_acks(self) -> list[Alert]:
        return [self.book.alert(alert.id) or alert for alert in self.active.values()]


@pytest.mark.requirement("P3", "F1", "F2")
@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_a_restart_at_any_point_loses_nothing_and_doubles_nothing(steps: list[Step]) -> None:
    calm, restarted = World(restarts=False), World(restarts=True)
    for world in (calm, restarted):
        world.play(steps)
        world.advance(24 * HOUR)
    assert [(n.key, n.reason, n.created_at_ns, n.flapping, n.late) for n in restarted.sent] == [
        (n.key, n.reason, n.created_at_ns, n.flapping, n.late) for n in calm.sent
    ]


@pytest.mark.requirement("P3", "S5-73")
@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_no_key_is_used_twice(steps: list[Step]) -> None:
    world = World(restarts=False)
    world.play(steps)
    world.advance(24 * HOUR)
    keys = [n.key for n in world.sent]
    assert len(set(keys)) == len(keys)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_in_the_end_everybody_knows_the_truth(steps: list[Step]) -> None:
    world = World(restarts=False)
    world.play(steps)
    world.sent += world.book.caught_up(world.now_ns)
    world.advance(HOUR)
    families = defaultdict(list)
    for alert in world.book.active():
        families[family_key(alert)].append(alert)
    for policy in POLICIES:
        last = {
            n.subject: n
            for n in world.sent
            if n.receiver == policy.name and n.reason is not NotifyReason.ACKNOWLEDGED
        }
        for name, members in families.items():
            truth = highest(members, policy.min_severity)
            if truth is None or truth.acknowledged is not None:
                continue
            heard = last[name].alerts[0]
            assert (heard.severity, heard.state) == (truth.severity, truth.state)
        for name, message in last.items():
            if highest(families[name], policy.min_severity) is None and policy.send_resolved:
                assert message.reason is NotifyReason.RESOLVED


def toggled(wait_s: float, *levels: AlertSeverity) -> list[Step]:
    waits = [wait_s, *[0.0] * len(levels)]
    return [
        Step(wait, "toggle", "B", level, old=False, restart=False)
        for wait, level in zip(waits, levels, strict=False)
    ]


# A worse level with a shorter cool-down was told in between, and both have ended.
@example(
    toggled(0, CRITICAL, EMERGENCY, CRITICAL, EMERGENCY)
    + toggled(0, CRITICAL)
    + toggled(10, WARNING)
)
@example(toggled(0, CRITICAL, EMERGENCY, CRITICAL, EMERGENCY) + toggled(11, CRITICAL))
@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_starts_of_one_severity_keep_their_cool_down_apart(steps: list[Step]) -> None:
    world = World(restarts=False)
    world.play(steps)
    started: dict[tuple[str, str, AlertSeverity], int] = {}
    for message in world.sent:
        first = message.alerts[0]
        if message.reason in (NotifyReason.FIRST_NOTIFICATION, NotifyReason.SEVERITY_RAISED):
            who = (message.receiver, message.subject, first.severity)
            gap_ns = message.created_at_ns - started.get(who, 0)
            assert gap_ns >= DEFAULT_COOLDOWNS[first.severity]
            started[who] = message.created_at_ns


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_every_end_names_only_what_was_told_and_leaves_nothing_open(steps: list[Step]) -> None:
    world = World(restarts=False)
    world.play(steps)
    world.sent += world.book.caught_up(world.now_ns)
    world.advance(HOUR)
    open_: dict[str, set[str]] = defaultdict(set)
    for message in world.sent:
        if message.receiver != "ops":
            continue
        for alert in message.alerts:
            if alert.is_active:
                open_[message.subject].add(alert.fingerprint)
            else:
                assert alert.fingerprint in open_[message.subject]
                open_[message.subject].discard(alert.fingerprint)
    going_on = {family_key(alert) for alert in world.book.active()}
    left_open = {name for name, marks in open_.items() if marks}
    assert left_open <= going_on
