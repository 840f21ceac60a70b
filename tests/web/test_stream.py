"""The live stream: a snapshot first, numbers without gaps, and nobody waits for a slow client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from tapewatch.testing.clock import TestClock
from tapewatch.testing.service import ENGINE, FakeService, alert
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.stream import MAX_CLIENTS, LiveStream


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def event_of(message: bytes) -> tuple[str, dict[str, Any]]:
    lines = message.decode().strip().split("\n")
    fields = dict(line.split(": ", 1) for line in lines)
    body: dict[str, Any] = json.loads(fields["data"])
    assert int(fields["id"]) == body["seq"]
    return fields["event"], body


def quick(service: FakeService, metrics: WebMetrics | None = None) -> LiveStream:
    return LiveStream(service, metrics or WebMetrics(), period_s=0.02, look_s=0.005)


def test_a_client_gets_a_snapshot_and_then_updates_whose_numbers_rise_by_one():
    async def test() -> None:
        stream = quick(FakeService())
        events = stream.listen(may_change=True)
        kind, first = event_of(await anext(events))
        assert (kind, first["may_change"]) == ("snapshot", True)
        for step in range(1, 6):
            kind, body = event_of(await anext(events))
            assert (kind, body["seq"]) == ("update", first["seq"] + step)
            assert "may_change" not in body
        stream.close()

    run(test)


def test_a_change_is_sent_at_once_and_not_at_the_next_period():
    async def test() -> None:
        service = FakeService()
        stream = LiveStream(service, WebMetrics(), period_s=60, look_s=0.005)
        events = stream.listen(may_change=False)
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        service.all_alerts = [alert("daily_loss_high", service.now_ns())]
        service.version += 1
        _, body = event_of(await waiting)
        assert body["live"]["active_alerts"][0]["rule"] == "daily_loss_high"
        stream.close()

    run(test)


def test_an_update_repeats_only_the_last_seconds_of_a_chart():
    async def test() -> None:
        clock = TestClock()
        service = FakeService(clock)
        now = clock.now_ns() / 1e9
        times = [now - 600 + i for i in range(601)]
        service.chart_views = [
            {"engine": ENGINE, "metric": "pnl_daily", "times": times, "values": times}
        ]
        stream = quick(service)
        events = stream.listen(may_change=False)
        _, first = event_of(await anext(events))
        assert len(first["live"]["charts"][0]["times"]) == 601
        _, update = event_of(await anext(events))
        assert update["live"]["charts"][0]["times"] == times[-5:]
        stream.close()

    run(test)


def test_a_client_that_does_not_read_is_cut_and_the_others_go_on():
    async def test() -> None:
        metrics = WebMetrics()
        stream = quick(FakeService(), metrics)
        slow, good = stream.listen(may_change=False), stream.listen(may_change=False)
        await anext(slow)
        last = event_of(await anext(good))[1]["seq"]
        while not metrics.stream_clients_cut:
            _, body = event_of(await anext(good))
            assert body["seq"] == last + 1
            last = body["seq"]
        assert [message async for message in slow] == []
        assert event_of(await anext(good))[1]["seq"] == last + 1
        stream.close()

    run(test)


def test_when_a_picture_fails_the_stream_is_silent_and_then_goes_on():
    async def test() -> None:
        class Flaky(FakeService):
            broken = False

            def live_snapshot(self, charts_since=None):
                if self.broken:
                    raise RuntimeError("secret")
                return super().live_snapshot(charts_since)

        service = Flaky()
        stream = quick(service)
        events = stream.listen(may_change=False)
        await anext(events)
        _, before = event_of(await anext(events))
        service.broken = True
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        service.broken = False
        _, after = event_of(await waiting)
        assert after["seq"] - before["seq"] in (1, 2)
        stream.close()

    run(test)


def test_places_are_bounded_and_given_back():
    async def test() -> None:
        metrics = WebMetrics()
        stream = quick(FakeService(), metrics)
        clients = [stream.listen(may_change=False) for _ in range(MAX_CLIENTS)]
        for client in clients:
            await anext(client)
        assert stream.is_full
        assert metrics.stream_clients == MAX_CLIENTS
        for client in clients:
            await client.aclose()
        assert not stream.is_full
        assert metrics.stream_clients == 0
        again = stream.listen(may_change=False)
        await anext(again)
        assert event_of(await anext(again))[0] == "update"
        stream.close()

    run(test)


def test_closing_ends_every_client():
    async def test() -> None:
        stream = quick(FakeService())
        events = stream.listen(may_change=False)
        await anext(events)
        rest = asyncio.ensure_future(_all(events))
        await asyncio.sleep(0.01)
        stream.close()
        await rest
        assert stream.is_full

    run(test)


async def _all(events: Any) -> list[bytes]:
    return [message async for message in events]
