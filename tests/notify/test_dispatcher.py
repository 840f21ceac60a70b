"""The dispatcher with real receivers, real sockets and real time, in small doses."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import DeliveryResult, DeliveryState, Notification
from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.backoff import Backoff
from tapewatch.notify.dispatcher import Dispatcher
from tapewatch.notify.receiver import Receiver
from tapewatch.notify.statistics import LATENCY_BOUNDS_S, ReceiverStatistics
from tapewatch.notify.webhook import WebhookReceiver, WebhookSettings
from tapewatch.testing.alerts import START_NS, firing_alert, notification, resolves
from tapewatch.testing.http_sink import Behaviour, HttpSink

QUICK = Backoff(first_s=0.01, cap_s=0.04)


class Monotonic:
    """The steady timeline of these tests."""

    def now_ns(self) -> int:
        return time.monotonic_ns()


class Results(list[DeliveryResult]):
    """Collects results and waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def take(self, result: DeliveryResult) -> None:
        self.append(result)
        self._changed.set()

    async def until(self, wanted: Callable[[Results], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not wanted(self):
                self._changed.clear()
                await self._changed.wait()

    async def final(self, count: int) -> dict[str, DeliveryResult]:
        await self.until(lambda r: sum(x.state.is_final for x in r) >= count)
        return {r.key: r for r in self if r.state.is_final}


class Recording:
    """A receiver of a test: does what it is told and remembers the keys."""

    kind = "recording"

    def __init__(
        self,
        name: str,
        act: Callable[[Notification], object] | None = None,
        *,
        keeps_every: bool = False,
    ) -> None:
        self.name = name
        self.keeps_every = keeps_every
        self.keys: list[str] = []
        self.closed = False
        self.prepared = False
        self._act = act

    async def prepare(self) -> None:
        self.prepared = True

    async def send(self, notification: Notification) -> None:
        self.keys.append(notification.key)
        result = self._act(notification) if self._act is not None else None
        if asyncio.iscoroutine(result):
            await result

    async def close(self) -> None:
        self.closed = True


def message(
    key: str,
    receiver: str = "ops",
    severity: AlertSeverity = AlertSeverity.WARNING,
    symbol: str = "",
    created_at_ns: int | None = None,
) -> Notification:
    alert = firing_alert(severity=severity, symbol=symbol or key)
    created_ns = time.monotonic_ns() if created_at_ns is None else created_at_ns
    return notification(alert, receiver=receiver, key=key, created_at_ns=created_ns)


def start(results: Results, *receivers: Receiver, **options: object) -> Dispatcher:
    options = {"backoff": QUICK, "rng": random.Random(7)} | options
    return Dispatcher(receivers, results.take, clock=Monotonic(), **options)  # type: ignore[arg-type]


def statistics_of(dispatcher: Dispatcher) -> ReceiverStatistics:
    (only,) = dispatcher.statistics()
    return only


def test_a_notification_is_sent_once_and_reported_with_its_latency() -> None:
    async def scenario() -> None:
        results, ops = Results(), Recording("ops")
        async with start(results, ops) as dispatcher:
            dispatcher.offer(message("a"))
            done = (await results.final(1))["a"]
            assert (done.state, done.attempts, done.reason) == (
                DeliveryState.ACCEPTED,
                1,
                "accepted",
            )
            assert done.latency_ns is not None and 0 < done.latency_ns < SECOND
            assert dispatcher.receivers() == [ops]
            seen = statistics_of(dispatcher)
            assert seen.up and seen.outcomes["accepted"] == 1 and seen.latency_count == 1
            assert len(seen.latency_counts) == len(LATENCY_BOUNDS_S) + 1
        assert ops.keys == ["a"] and ops.prepared and ops.closed

    asyncio.run(scenario())


@pytest.mark.requirement("F26")
def test_a_receiver_whose_preparation_hangs_or_fails_sends_all_the_same() -> None:
    class Unready(Recording):
        async def prepare(self) -> None:
            if self.name == "hangs":
                await asyncio.sleep(3600)
            raise OSError("no name server")

    async def scenario() -> None:
        results = Results()
        async with start(results, Unready("hangs"), Unready("fails")) as dispatcher:
            dispatcher.offer(message("a", "hangs"))
            dispatcher.offer(message("b", "fails"))
            done = await results.final(2)
        assert {r.state for r in done.values()} == {DeliveryState.ACCEPTED}

    asyncio.run(scenario())


def test_a_key_that_waits_already_is_not_sent_twice() -> None:
    async def scenario() -> None:
        results, ops = Results(), Recording("ops", lambda _: asyncio.sleep(0.02))
        async with start(results, ops) as dispatcher:
            for _ in range(3):
                dispatcher.offer(message("a"))
            await asyncio.sleep(0)
            dispatcher.offer(message("a"))
            await results.final(1)
        assert ops.keys == ["a"]

    asyncio.run(scenario())


@pytest.mark.requirement("F25", "F11")
def test_a_receiver_that_hangs_delays_no_other() -> None:
    async def scenario() -> None:
        results = Results()
        hung = Recording("hung", lambda _: asyncio.sleep(3600))
        async with HttpSink() as sink:
            ops = WebhookReceiver("ops", WebhookSettings(sink.url))
            dispatcher = start(results, hung, ops)
            dispatcher.start()
            for number in range(50):
                dispatcher.offer(message(f"h{number}", "hung"))
                dispatcher.offer(message(f"o{number}", "ops"))
            done = await results.final(50)
            assert {r.receiver for r in done.values()} == {"ops"}
            await dispatcher.stop(drain_s=0.05)
        assert hung.keys == ["h0"]

    asyncio.run(scenario())


@pytest.mark.requirement("F30")
def test_an_attempt_ends_at_the_total_deadline_and_is_made_again() -> None:
    async def scenario() -> None:
        results = Results()
        hung = Recording("ops", lambda _: asyncio.sleep(3600))
        dispatcher = start(results, hung, deadline_s=0.02)
        dispatcher.start()
        dispatcher.offer(message("a"))
        await results.until(lambda r: len(r) >= 3)
        await dispatcher.stop(drain_s=0.0)
        assert {r.state for r in results} == {DeliveryState.QUEUED}
        assert [r.attempts for r in results[:3]] == [1, 2, 3]
        assert "did not finish in 0.02 s" in results[0].error

    asyncio.run(scenario())


@pytest.mark.requirement("F28")
def test_after_an_outage_the_newest_state_is_sent_and_the_older_reported_as_superseded() -> None:
    async def scenario() -> None:
        results = Results()
        async with HttpSink(Behaviour(status=503)) as sink:
            ops = WebhookReceiver("ops", WebhookSettings(sink.url))
            async with start(results, ops) as dispatcher:
                loss = firing_alert()
                now_ns = time.monotonic_ns()
                dispatcher.offer(notification(loss, key="fires", created_at_ns=now_ns))
                await results.until(lambda r: len(r) >= 2)
                ended = resolves(loss, START_NS + SECOND).alert
                dispatcher.offer(notification(ended, key="ends", created_at_ns=now_ns))
                await results.until(lambda r: any(x.reason == "superseded" for x in r))
                assert not statistics_of(dispatcher).up
                sink.behaviour = Behaviour()
                done = await results.final(2)
                assert statistics_of(dispatcher).up
        assert done["fires"].state is DeliveryState.EXPIRED
        assert done["fires"].error == "superseded by ends"
        assert done["ends"].state is DeliveryState.ACCEPTED

    asyncio.run(scenario())


def test_without_an_outage_nothing_is_superseded() -> None:
    async def scenario() -> None:
        results, ops = Results(), Recording("ops")
        async with start(results, ops) as dispatcher:
            loss = firing_alert()
            ended = resolves(loss, START_NS + SECOND).alert
            dispatcher.offer(notification(loss, key="fires"))
            dispatcher.offer(notification(ended, key="ends"))
            await results.final(2)
        assert ops.keys == ["fires", "ends"]

    asyncio.run(scenario())


def test_a_receiver_that_keeps_every_notification_gets_them_all_in_order() -> None:
    async def scenario() -> None:
        results, failures = Results(), iter([True] * 3)

        def act(_: Notification) -> None:
            if next(failures, False):
                raise DeliveryError("disk full", permanent=False)

        file = Recording("ops", act, keeps_every=True)
        async with start(results, file) as dispatcher:
            loss = firing_alert()
            now_ns = time.monotonic_ns()
            dispatcher.offer(notification(loss, key="fires", created_at_ns=now_ns))
            await results.until(lambda r: len(r) >= 1)
            ended = resolves(loss, START_NS + SECOND).alert
            dispatcher.offer(notification(ended, key="ends", created_at_ns=now_ns))
            await results.final(2)
        assert file.keys == ["fires", "fires", "fires", "fires", "ends"]

    asyncio.run(scenario())


@pytest.mark.requirement("F29")
def test_a_permanent_refusal_fails_once_without_a_retry() -> None:
    async def scenario() -> None:
        results = Results()
        async with HttpSink(Behaviour(status=410)) as sink:
            ops = WebhookReceiver("ops", WebhookSettings(sink.url))
            async with start(results, ops) as dispatcher:
                for key in "ab":
                    dispatcher.offer(message(key))
                done = await results.final(2)
                seen = statistics_of(dispatcher)
            assert len(sink.arrivals) == 2
        assert {r.state for r in done.values()} == {DeliveryState.FAILED}
        assert not seen.up and "HTTP 410" in seen.last_error
        assert seen.outcomes["failed"] == 2

    asyncio.run(scenario())


@pytest.mark.requirement("F27")
def test_the_time_asked_for_is_waited_and_severity_order_kept() -> None:
    async def scenario() -> None:
        results = Results()
        async with HttpSink() as sink:
            sink.script.append(Behaviour(status=429, headers={"Retry-After": "1"}))
            ops = WebhookReceiver("ops", WebhookSettings(sink.url))
            async with start(results, ops) as dispatcher:
                dispatcher.offer(message("warning"))
                await results.until(lambda r: len(r) == 1)
                dispatcher.offer(message("info", severity=AlertSeverity.INFO))
                dispatcher.offer(message("critical", severity=AlertSeverity.CRITICAL))
                await results.final(3)
            gap_ns = sink.arrivals[1].at_mono_ns - sink.arrivals[0].at_mono_ns
            assert gap_ns >= 990 * MILLISECOND
            assert sink.keys == ["warning", "critical", "warning", "info"]

    asyncio.run(scenario())


def test_a_poisoned_notification_holds_up_no_other() -> None:
    async def scenario() -> None:
        results = Results()

        def act(notification: Notification) -> None:
            if notification.key == "poison":
                raise DeliveryError("HTTP 500", permanent=False, answered=True)

        ops = Recording("ops", act)
        dispatcher = start(results, ops)
        dispatcher.start()
        dispatcher.offer(message("poison", severity=AlertSeverity.EMERGENCY))
        for number in range(20):
            dispatcher.offer(message(f"fine {number}"))
        done = await results.final(20)
        await dispatcher.stop(drain_s=0.0)
        assert "poison" not in done and len(done) == 20

    asyncio.run(scenario())


def test_a_receiver_s_own_mistake_ends_neither_the_worker_nor_the_notification() -> None:
    async def scenario() -> None:
        results, failures = Results(), iter([True])

        def act(_: Notification) -> None:
            if next(failures, False):
                raise RuntimeError("canary: what it was sending")

        async with start(results, Recording("ops", act)) as dispatcher:
            dispatcher.offer(message("a"))
            done = await results.final(1)
        assert done["a"].state is DeliveryState.ACCEPTED
        assert results[0].error == "receiver 'ops' failed with RuntimeError"

    asyncio.run(scenario())


def test_a_result_that_cannot_be_stored_does_not_stop_the_sending() -> None:
    async def scenario() -> None:
        ops = Recording("ops")

        def broken(_: DeliveryResult) -> None:
            raise OSError("database is locked")

        dispatcher = Dispatcher([ops], broken, clock=Monotonic(), backoff=QUICK)
        dispatcher.start()
        dispatcher.offer(message("a"))
        dispatcher.offer(message("b"))
        await dispatcher.stop()
        assert ops.keys == ["a", "b"]

    asyncio.run(scenario())


def test_a_notification_for_a_receiver_that_is_gone_fails_with_the_reason() -> None:
    async def scenario() -> None:
        results = Results()
        async with start(results, Recording("ops")) as dispatcher:
            dispatcher.offer(message("a", "pager"), attempts=4)
        (only,) = results
        assert (only.state, only.reason, only.attempts) == (
            DeliveryState.FAILED,
            "no_such_receiver",
            4,
        )

    asyncio.run(scenario())


def test_a_full_queue_sends_the_least_urgent_back_to_the_outbox() -> None:
    async def scenario() -> None:
        results = Results()
        hung = Recording("ops", lambda _: asyncio.sleep(3600))
        dispatcher = start(results, hung, capacity=3)
        dispatcher.start()
        for number in range(4):
            dispatcher.offer(message(str(number)))
        dispatcher.offer(message("critical", severity=AlertSeverity.CRITICAL))
        assert [(r.key, r.state, r.reason) for r in results] == [
            ("3", DeliveryState.QUEUED, "queue_full"),
            ("2", DeliveryState.QUEUED, "queue_full"),
        ]
        assert all(r.next_attempt_ns is not None for r in results)
        assert statistics_of(dispatcher).outcomes["deferred"] == 2
        await dispatcher.stop(drain_s=0.0)

    asyncio.run(scenario())


def test_what_cannot_be_delivered_in_its_time_is_given_up_and_reported() -> None:
    async def scenario() -> None:
        results = Results()

        def act(_: Notification) -> None:
            raise DeliveryError("refused", permanent=False)

        dispatcher = start(results, Recording("ops", act), max_age_ns=50 * MILLISECOND)
        dispatcher.start()
        dispatcher.offer(message("a"))
        done = await results.final(1)
        await dispatcher.stop()
        assert (done["a"].state, done["a"].reason) == (DeliveryState.EXPIRED, "too_old")

    asyncio.run(scenario())


@pytest.mark.requirement("F13")
def test_stopping_sends_what_can_be_sent_and_leaves_the_rest_to_the_outbox() -> None:
    async def scenario() -> None:
        results = Results()
        slow = Recording("slow", lambda _: asyncio.sleep(0.005))
        hung = Recording("hung", lambda _: asyncio.sleep(3600))
        dispatcher = start(results, slow, hung)
        dispatcher.start()
        for number in range(10):
            dispatcher.offer(message(f"s{number}", "slow"))
            dispatcher.offer(message(f"h{number}", "hung"))
        started = time.monotonic()
        await dispatcher.stop(drain_s=0.5)
        assert time.monotonic() - started < 2.0
        assert len(slow.keys) == 10 and slow.closed and hung.closed
        assert {r.key for r in results if r.state.is_final} == {f"s{n}" for n in range(10)}

    asyncio.run(scenario())


def test_stopping_does_not_wait_for_a_receiver_in_an_outage() -> None:
    async def scenario() -> None:
        results = Results()

        def act(_: Notification) -> None:
            raise DeliveryError("refused", permanent=False, retry_after_s=300.0)

        dispatcher = start(results, Recording("ops", act))
        dispatcher.start()
        dispatcher.offer(message("a"))
        await results.until(lambda r: len(r) == 1)
        started = time.monotonic()
        await dispatcher.stop()
        assert time.monotonic() - started < 1.0

    asyncio.run(scenario())


def test_two_receivers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names must differ"):
        Dispatcher([Recording("a"), Recording("a")], print, clock=Monotonic())


def test_waits_grow_are_spread_and_capped_and_never_shorter_than_asked_for() -> None:
    backoff, rng = Backoff(), random.Random(1)
    for failures, whole in [(1, 0.5), (2, 1.0), (6, 16.0), (7, 30.0), (1000, 30.0)]:
        waits = [backoff.wait_s(failures, rng) for _ in range(200)]
        assert whole / 2 <= min(waits) < whole * 0.6
        assert whole * 0.9 < max(waits) <= whole
    assert backoff.wait_s(1, rng, 120.0) == 120.0
