"""The state store gives back exactly what was committed, and nothing twice."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tapewatch.model.alert import (
    Acknowledgement,
    Alert,
    AlertState,
    Transition,
    TransitionReason,
)
from tapewatch.model.errors import StorageError, StorageFailure
from tapewatch.model.labels import Labels
from tapewatch.model.notification import (
    DeliveryResult,
    DeliveryState,
    Notification,
    NotifyReason,
)
from tapewatch.model.severity import AlertSeverity
from tapewatch.storage.effects import Effects, EventRow
from tapewatch.storage.state import StateStore

NOW = 1_800_000_000_000_000_000


def alert(number: int = 1, **changes: object) -> Alert:
    whole = Alert(
        id=f"f{number}-{number:x}",
        fingerprint=f"f{number}",
        rule="daily_loss_high",
        group="risk",
        severity=AlertSeverity.WARNING,
        state=AlertState.FIRING,
        labels=Labels.of("ALERTS", engine="alpha", odd="\udc80"),
        annotations={"summary": "loss of 4.2 %"},
        value=-4.2,
        active_at_ns=NOW,
        updated_at_ns=NOW + number,
        fired_at_ns=NOW + number,
        context={"limit": 4.0, "worst": -math.inf, "who": "desk", "armed": True, "none": None},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def notification(key: str = "k1", receiver: str = "desk") -> Notification:
    return Notification(key, receiver, NotifyReason.FIRST_NOTIFICATION, (alert(),), NOW)


def delivery(state: DeliveryState, key: str = "k1", **changes: object) -> DeliveryResult:
    whole = DeliveryResult(key, "desk", state, 1, NOW + 9, None, "http_503", "busy", None)
    return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> StateStore:
    return StateStore.open(path, now_ns=NOW)


class TestCommit:
    def test_a_start_finds_everything_that_was_committed(
        self, store: StateStore, path: Path
    ) -> None:
        effects = Effects(
            offsets={"tape:1": {"ring": [1, 2], "big": 2**62}},
            transitions=[Transition(alert(), None, NOW)],
            notifications=[notification()],
            events=[EventRow("tape:1", "fill", NOW, 7, {"price": 1.5, "nan": math.inf})],
            engines={"alpha": {"ticks": 5}},
            values={"timeline": {"anchor": NOW}, "text": "\ud800"},
        )
        store.commit(effects)
        store.close()
        again = StateStore.open(path, now_ns=NOW)
        saved = again.load()
        assert again.recovered is None
        assert saved.offsets == effects.offsets
        assert saved.active_alerts == (alert(),)
        assert [row.notification for row in saved.outbox] == [notification()]
        assert saved.engines == effects.engines
        assert saved.values == effects.values
        assert again.events() == effects.events
        assert again.integrity() == "ok"

    @pytest.mark.requirement("P2", "P3")
    def test_the_same_effects_again_change_nothing(self, store: StateStore) -> None:
        effects = Effects(
            transitions=[Transition(alert(), None, NOW)],
            notifications=[notification()],
            events=[EventRow("tape:1", "fill", NOW, 7, {})],
        )
        store.commit(effects)
        store.commit(Effects(deliveries=[delivery(DeliveryState.ACCEPTED)]))
        before = {name: n for name, n in store.sizes().items() if name != "bytes"}
        store.commit(effects)
        assert {name: n for name, n in store.sizes().items() if name != "bytes"} == before
        assert store.due(NOW + 99) == []

    def test_none_forgets_a_source_an_engine_and_a_value(self, store: StateStore) -> None:
        store.commit(Effects(offsets={"a": {}, "b": {}}, engines={"x": {}}, values={"v": 1}))
        store.commit(Effects(offsets={"a": None}, engines={"x": None}, values={"v": None}))
        saved = store.load()
        assert (saved.offsets, saved.engines, saved.values) == ({"b": {}}, {}, {})

    def test_an_odd_value_in_an_event_does_not_hold_up_the_commit(self, store: StateStore) -> None:
        body = {"raw": b"\xff\x00", "set": {1}, "\ud800": "\udfff"}
        store.commit(Effects(events=[EventRow("\udc80", "error", NOW, 1, body)]))
        (event,) = store.events(source="\udc80")
        assert event.body == {"raw": "ff00", "set": "{1}", "\ud800": "\udfff"}

    def test_what_cannot_be_written_leaves_nothing_behind(
        self, store: StateStore, path: Path
    ) -> None:
        store.commit(Effects(offsets={"a": {"n": 1}}))
        other = sqlite3.connect(path)
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        effects = Effects(offsets={"a": {"n": 2}}, events=[EventRow("a", "fill", NOW, 1, {})])
        with pytest.raises(StorageError):
            store.commit(effects)
        assert store.load().offsets == {"a": {"n": 1}}
        other.execute("DROP TRIGGER no")
        other.close()
        store.commit(effects)
        assert store.load().offsets == {"a": {"n": 2}}

    def test_a_wild_number_does_not_hold_up_the_commit(self, store: StateStore) -> None:
        store.commit(Effects(events=[EventRow("a", "fill", 2**70, 2**64, {})]))
        assert [e.number for e in store.events()] == [2**63 - 1]


class TestAlerts:
    def test_pending_firing_and_unknown_alerts_are_restored_and_ended_ones_are_not(
        self, store: StateStore
    ) -> None:
        states = [
            (AlertState.PENDING, None, None),
            (AlertState.FIRING, NOW, None),
            (AlertState.UNKNOWN, NOW, None),
            (AlertState.RESOLVED, NOW, NOW + 5),
        ]
        alerts = [
            alert(n, state=state, fired_at_ns=fired, resolved_at_ns=ended)
            for n, (state, fired, ended) in enumerate(states)
        ]
        store.commit(Effects(transitions=[Transition(a, None, NOW) for a in alerts]))
        assert [a.id for a in store.load().active_alerts] == [a.id for a in alerts[:3]]
        assert {a.id for a in store.alerts(active=True)} == {alerts[1].id, alerts[2].id}
        assert [a.id for a in store.alerts(active=False)] == [alerts[3].id]
        assert len(store.alerts()) == 4

    def test_a_pending_alert_that_clears_just_vanishes(self, store: StateStore) -> None:
        pending = alert(state=AlertState.PENDING, fired_at_ns=None)
        store.commit(Effects(transitions=[Transition(pending, None, NOW)]))
        cleared = replace(
            pending, state=AlertState.RESOLVED, resolved_at_ns=NOW + 9, updated_at_ns=NOW + 9
        )
        store.commit(Effects(transitions=[Transition(cleared, AlertState.PENDING, NOW + 9)]))
        assert store.alerts() == []
        assert store.load().active_alerts == ()
        assert len(store.transitions()) == 2

    def test_every_change_is_logged_and_the_row_shows_the_last(self, store: StateStore) -> None:
        first = alert()
        ack = Acknowledgement("ana", NOW + 50, "mine", NOW + 99)
        taken = replace(first, acknowledged=ack)
        ended = replace(
            taken,
            state=AlertState.RESOLVED,
            reason=TransitionReason.CONDITION_CLEARED,
            resolved_at_ns=NOW + 80,
            updated_at_ns=NOW + 80,
        )
        store.commit(
            Effects(
                transitions=[
                    Transition(first, None, NOW),
                    Transition(taken, AlertState.FIRING, NOW + 50),
                    Transition(ended, AlertState.FIRING, NOW + 80),
                ]
            )
        )
        assert store.alert(first.id) == ended
        log = store.transitions(alert_id=first.id)
        assert [(t.previous, t.state) for t in reversed(log)] == [
            ("", "firing"),
            ("firing", "firing"),
            ("firing", "resolved"),
        ]
        assert store.alert("nobody") is None

    def test_alerts_are_found_by_time_and_severity(self, store: StateStore) -> None:
        alerts = [
            alert(n, severity=severity)
            for n, severity in enumerate([AlertSeverity.WARNING, AlertSeverity.CRITICAL] * 2)
        ]
        store.commit(Effects(transitions=[Transition(a, None, NOW) for a in alerts]))
        found = store.alerts(severity=AlertSeverity.CRITICAL)
        assert [a.id for a in found] == [alerts[3].id, alerts[1].id]
        assert len(store.alerts(since_ns=NOW + 1, until_ns=NOW + 2)) == 2
        assert len(store.alerts(limit=3)) == 3


class TestOutbox:
    @pytest.mark.requirement("P3")
    def test_a_notification_stays_until_it_has_a_final_state(self, store: StateStore) -> None:
        store.commit(Effects(notifications=[notification()]))
        retry = delivery(DeliveryState.QUEUED, next_attempt_ns=NOW + 100)
        store.commit(Effects(deliveries=[retry]))
        assert store.due(NOW + 99) == []
        (row,) = store.due(NOW + 100)
        assert (row.key, row.attempts, row.error) == ("k1", 1, "busy")
        store.commit(Effects(deliveries=[delivery(DeliveryState.ACCEPTED, latency_ns=5)]))
        assert store.due(NOW + 100) == []
        assert store.load().outbox == ()
        assert [row.state for row in store.outbox()] == [DeliveryState.ACCEPTED]

    def test_a_late_report_does_not_wake_a_finished_notification(self, store: StateStore) -> None:
        store.commit(Effects(notifications=[notification()]))
        store.commit(Effects(deliveries=[delivery(DeliveryState.FAILED)]))
        store.commit(Effects(deliveries=[delivery(DeliveryState.QUEUED, next_attempt_ns=NOW)]))
        assert store.due(NOW) == []
        assert not store.update("k1", DeliveryState.QUEUED, 2, None, at_ns=NOW)

    def test_one_key_goes_to_each_receiver_by_itself(self, store: StateStore) -> None:
        store.commit(Effects(notifications=[notification(), notification(receiver="phone")]))
        store.commit(Effects(deliveries=[delivery(DeliveryState.ACCEPTED)]))
        assert [row.notification.receiver for row in store.due(NOW)] == ["phone"]

    def test_the_worst_is_due_first(self, store: StateStore) -> None:
        bad = replace(notification("k2"), alerts=(alert(severity=AlertSeverity.EMERGENCY),))
        store.commit(Effects(notifications=[notification(), bad, notification("k3")]))
        assert [row.key for row in store.due(NOW)] == ["k2", "k1", "k3"]

    def test_a_row_can_be_moved_by_hand(self, store: StateStore) -> None:
        store.commit(Effects(notifications=[notification()]))
        assert store.update("k1", DeliveryState.QUEUED, 3, NOW + 7, "again", at_ns=NOW + 1)
        (row,) = store.due(NOW + 7)
        assert (row.attempts, row.error, row.updated_at_ns) == (3, "again", NOW + 1)


class TestEvents:
    def test_an_event_is_kept_once_by_source_and_number(self, store: StateStore) -> None:
        events = [EventRow("a", "fill", NOW + n, n, {"n": n}) for n in range(3)]
        store.commit(Effects(events=events))
        store.commit(Effects(events=[*events, EventRow("b", "error", NOW, 0, {})]))
        assert len(store.events()) == 4
        assert [e.number for e in store.events(source="a")] == [2, 1, 0]
        assert [e.source for e in store.events(kind="error")] == ["b"]
        assert [e.number for e in store.events(since_ns=NOW + 1, until_ns=NOW + 1)] == [1]


@pytest.mark.requirement("S5-39", "F45")
class TestRetention:
    def test_the_edge_itself_stays_and_what_lives_never_goes(self, store: StateStore) -> None:
        ended = {"state": AlertState.RESOLVED, "fired_at_ns": NOW}
        store.commit(
            Effects(
                transitions=[
                    Transition(alert(1, **ended, resolved_at_ns=NOW - 1), None, NOW),
                    Transition(alert(2, **ended, resolved_at_ns=NOW), None, NOW),
                    Transition(alert(3, updated_at_ns=5), None, 5),
                ],
                notifications=[
                    replace(notification("old"), created_at_ns=NOW - 1),
                    replace(notification("waiting"), created_at_ns=NOW - 1),
                    replace(notification("edge"), created_at_ns=NOW),
                ],
                events=[EventRow("a", "fill", NOW - 1, 1, {}), EventRow("a", "fill", NOW, 2, {})],
            )
        )
        finished = [delivery(DeliveryState.ACCEPTED, key=key) for key in ("old", "edge")]
        store.commit(Effects(deliveries=finished))
        while store.prune(alerts_before_ns=NOW, events_before_ns=NOW):
            pass
        assert {a.id for a in store.alerts()} == {alert(2).id, alert(3).id}
        assert {t.alert_id for t in store.transitions()} >= {alert(2).id, alert(3).id}
        assert {row.key for row in store.outbox()} == {"waiting", "edge"}
        assert [e.number for e in store.events()] == [2]

    def test_one_call_does_a_bounded_amount_of_work(self, store: StateStore) -> None:
        store.commit(Effects(events=[EventRow("a", "fill", 1, n, {}) for n in range(5_100)]))
        assert store.prune(alerts_before_ns=NOW, events_before_ns=NOW) == 5_000
        assert store.prune(alerts_before_ns=NOW, events_before_ns=NOW) == 100
        assert store.prune(alerts_before_ns=NOW, events_before_ns=NOW) == 0


class TestReaders:
    def test_a_reader_in_another_thread_sees_whole_commits(self, store: StateStore) -> None:
        stop = threading.Event()
        failures: list[object] = []

        def read() -> None:
            while not stop.is_set():
                saved = store.load()
                if saved.values.get("n", 0) != saved.offsets.get("a", {"n": 0})["n"]:
                    failures.append(saved)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for n in range(200):
                store.commit(Effects(offsets={"a": {"n": n}}, values={"n": n}))
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert failures == []

    def test_a_closed_store_says_so(self, store: StateStore) -> None:
        store.close()
        with pytest.raises(StorageError, match="is closed"):
            store.commit(Effects(values={"a": 1}))
        with pytest.raises(StorageError, match="is closed"):
            store.load()


@pytest.mark.requirement("F46")
class TestBackup:
    def test_a_copy_made_while_commits_go_on_is_consistent(
        self, store: StateStore, tmp_path: Path
    ) -> None:
        stop = threading.Event()

        def write() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                store.commit(Effects(offsets={"a": {"n": n}}, values={"n": n}))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            copies = [tmp_path / f"copy{n}.db" for n in range(5)]
            for copy in copies:
                store.backup(copy)
        finally:
            stop.set()
            writer.join()
        for copy in copies:
            restored = StateStore.open(copy, now_ns=NOW)
            saved = restored.load()
            assert restored.recovered is None
            assert saved.values.get("n") == saved.offsets.get("a", {}).get("n")
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
            restored.close()

    def test_a_copy_that_cannot_be_written_leaves_the_old_one(
        self, store: StateStore, tmp_path: Path
    ) -> None:
        with pytest.raises(StorageError):
            store.backup(tmp_path / "missing" / "copy.db")


@pytest.mark.requirement("T25")
def test_all_files_are_the_owners_alone(store: StateStore, path: Path) -> None:
    old = os.umask(0)
    try:
        store.commit(Effects(values={"a": 1}))
    finally:
        os.umask(old)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.requirement("F43")
class TestLocked:
    def test_a_locked_file_is_reported_soon_and_nothing_is_lost(
        self, store: StateStore, path: Path
    ) -> None:
        effects = Effects(values={"a": 1})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            store.commit(effects)
        assert caught.value.reason is StorageFailure.LOCKED
        assert store.load().values == {}
        other.execute("ROLLBACK")
        other.close()
        store.commit(effects)
        assert store.load().values == {"a": 1}

    def test_a_reader_that_stays_does_not_hold_up_commits(
        self, store: StateStore, path: Path
    ) -> None:
        store.commit(Effects(values={"a": 0}))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM kept").fetchone()
        for n in range(50):
            store.commit(Effects(values={"a": n}))
        assert other.execute("SELECT body FROM kept").fetchone() == ("0",)
        other.close()
        assert store.load().values == {"a": 49}
