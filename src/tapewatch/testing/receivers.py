"""The conformance suite of receivers that speak HTTP: what every one of them must survive.

A receiver is made against a real server that misbehaves, and its conduct is judged from outside.
With pytest::

    @pytest.mark.parametrize("case", RECEIVER_CASES, ids=lambda case: case.name)
    async def test_my_receiver(case):
        await case.run(lambda url, secret: MyReceiver("mine", url, secret, deadline_s=0.6))

The receiver must be made with a total deadline of ``DEADLINE_S`` so that the suite takes seconds.
"""

# ruff: noqa: S101 - asserts are what a test suite is made of, also one that is shipped

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate

from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import Notification
from tapewatch.notify.receiver import Receiver
from tapewatch.testing.alerts import firing_alert, notification
from tapewatch.testing.http_sink import Behaviour, HttpSink

DEADLINE_S = 0.6
"""The total deadline that the receivers under test are made with."""
SLACK_S = 1.0
"""How much later than its deadline a receiver may return on a busy machine."""
CANARY_PATH = "canary-path-b7f3"
CANARY_SECRET = "canary-secret-9d21"  # noqa: S105 - it is looked for, not kept

MakeReceiver = Callable[[str, str], Receiver]
"""Makes the receiver under test from a URL and a secret; both must never be shown."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One receiver under test and the server that it talks to."""

    receiver: Receiver
    sink: HttpSink

    async def accepted(self, message: Notification | None = None) -> None:
        """Require that the notification is accepted."""
        await self.receiver.send(message or notification())

    async def refused(self, *, permanent: bool) -> DeliveryError:
        """Require that it is not accepted, in time and without a secret in any text."""
        started = time.monotonic()
        try:
            await self.receiver.send(notification())
        except DeliveryError as error:
            took_s = time.monotonic() - started
            assert took_s <= DEADLINE_S + SLACK_S, f"returned after {took_s:.2f} s"
            assert error.permanent is permanent, f"permanent is {error.permanent}: {error}"
            shown = "".join(traceback.format_exception(error)) + repr(error) + repr(self.receiver)
            for canary in (CANARY_PATH, CANARY_SECRET):
                assert canary not in shown, f"a secret is shown: {shown}"
            return error
        raise AssertionError("the notification counts as accepted")


@dataclass(frozen=True, slots=True)
class ReceiverCase:
    """One promise of receivers. The name is a sentence."""

    name: str
    check: Callable[[Bench], Awaitable[None]]

    async def run(self, make: MakeReceiver) -> None:
        """Start a server, make the receiver, and require the promise.

        Raises:
            AssertionError: The receiver does not keep it.
        """
        async with HttpSink() as sink:
            receiver = make(f"http://127.0.0.1:{sink.port}/{CANARY_PATH}?k=1", CANARY_SECRET)
            try:
                await self.check(Bench(receiver, sink))
            finally:
                await receiver.close()


async def _success(bench: Bench) -> None:
    message = notification()
    await bench.accepted(message)
    arrival = bench.sink.arrivals[0]
    assert len(bench.sink.arrivals) == 1
    assert arrival.key == message.key
    assert "application/json" in arrival.headers["content-type"]
    assert message.alerts[0].rule in arrival.body


async def _empty_success(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(status=204)
    await bench.accepted()


async def _same_key(bench: Bench) -> None:
    bench.sink.script.append(Behaviour(status=503))
    message = notification()
    try:
        await bench.receiver.send(message)
    except DeliveryError:
        await bench.receiver.send(message)
    assert bench.sink.keys == [message.key, message.key]


async def _connection_reuse(bench: Bench) -> None:
    for _ in range(5):
        await bench.accepted()
    assert bench.sink.connections == 1, f"{bench.sink.connections} connections"


async def _permanent(bench: Bench) -> None:
    for status in (400, 401, 403, 404, 405, 410, 413, 422):
        bench.sink.behaviour = Behaviour(status=status)
        error = await bench.refused(permanent=True)
        assert str(status) in str(error)


async def _too_many(bench: Bench) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    for header, least, most in (
        ("1", 1.0, 1.0),
        ("3600", 300.0, 300.0),
        (date, 25.0, 31.0),
    ):
        bench.sink.behaviour = Behaviour(status=429, headers={"Retry-After": header})
        error = await bench.refused(permanent=False)
        assert error.retry_after_s is not None, f"Retry-After: {header} was not read"
        assert least <= error.retry_after_s <= most, f"{header}: {error.retry_after_s}"


async def _too_many_garbage(bench: Bench) -> None:
    for header in ("soon", "-5", "1e9", "", "Mon, 99 Foo 2026"):
        bench.sink.behaviour = Behaviour(status=429, headers={"Retry-After": header})
        error = await bench.refused(permanent=False)
        assert error.retry_after_s is None, f"{header!r}: {error.retry_after_s}"
    bench.sink.behaviour = Behaviour(status=429)
    error = await bench.refused(permanent=False)
    assert error.retry_after_s is None


async def _server_error(bench: Bench) -> None:
    for status in (500, 502, 503, 504, 408):
        bench.sink.behaviour = Behaviour(status=status)
        await bench.refused(permanent=False)
    bench.sink.behaviour = Behaviour()
    await bench.accepted()


async def _hang(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(hang=True)
    await bench.refused(permanent=False)


async def _drip(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(drip_s=0.02)
    await bench.refused(permanent=False)


async def _error_body(bench: Bench) -> None:
    for answer in ({"ok": False, "error": "invalid_auth"}, {"error": "no such channel"}):
        bench.sink.behaviour = Behaviour(body=json.dumps(answer))
        await bench.refused(permanent=True)
    for answer in (
        {"ok": False, "error": "ratelimited"},
        {"ok": False, "error_code": 429, "parameters": {"retry_after": 7}},
    ):
        bench.sink.behaviour = Behaviour(body=json.dumps(answer))
        await bench.refused(permanent=False)


async def _good_body(bench: Bench) -> None:
    for body in ("", "ok", '{"ok": true, "error": null}', "{broken", "[1]", '{"id": 7}'):
        bench.sink.behaviour = Behaviour(body=body)
        await bench.accepted()


async def _redirect(bench: Bench) -> None:
    for status in (301, 302, 303, 307, 308):
        target = f"http://127.0.0.1:{bench.sink.port}/elsewhere"
        bench.sink.behaviour = Behaviour(status=status, headers={"Location": target})
        await bench.refused(permanent=True)
    assert "/elsewhere" not in {arrival.path for arrival in bench.sink.arrivals}


async def _huge_body(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(huge_bytes=1_000_000_000)
    started = time.monotonic()
    await bench.accepted()
    assert time.monotonic() - started <= DEADLINE_S + SLACK_S
    bench.sink.behaviour = Behaviour()
    await bench.accepted()


async def _dropped(bench: Bench) -> None:
    for behaviour in (Behaviour(drop=True), Behaviour(reset=True), Behaviour(garbage=True)):
        bench.sink.behaviour = behaviour
        await bench.refused(permanent=False)
    bench.sink.behaviour = Behaviour()
    await bench.accepted()


async def _idle_connection_closed(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(close=True)
    for _ in range(3):
        await bench.accepted()


async def _closed_while_idle(bench: Bench) -> None:
    bench.sink.behaviour = Behaviour(close_idle_s=0.05)
    for _ in range(3):
        await bench.accepted()
        await asyncio.sleep(0.15)
    assert bench.sink.connections == 3


async def _refused_connection(bench: Bench) -> None:
    await bench.sink.stop()
    await bench.refused(permanent=False)
    await bench.sink.start()
    await bench.accepted()


async def _escaping(bench: Bench) -> None:
    nasty = 'quote " backslash \\ line\n\r tab\t nul\x00 esc\x1b \u2028\u2029 \ud800 \U0001f600'
    alert = firing_alert(
        annotations={"summary": nasty},
        symbol=nasty,
        context={"nan": float("nan"), "inf": float("-inf"), "text": nasty},
    )
    await bench.accepted(notification(alert))
    arrival = bench.sink.arrivals[0]
    assert "\ufffd" not in arrival.body, "the body is not UTF-8"
    assert len(arrival.body.splitlines()) == 1, "the body is not one line"
    json.loads(arrival.body, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


RECEIVER_CASES: tuple[ReceiverCase, ...] = (
    ReceiverCase("a notification arrives once with its key", _success),
    ReceiverCase("204 without a body is accepted", _empty_success),
    ReceiverCase("a retry carries the same key", _same_key),
    ReceiverCase("one connection serves many notifications", _connection_reuse),
    ReceiverCase("4xx is permanent", _permanent),
    ReceiverCase("429 is retried after the time asked for, at most five minutes", _too_many),
    ReceiverCase("429 with a garbled or no Retry-After is retried", _too_many_garbage),
    ReceiverCase("5xx and 408 are retried", _server_error),
    ReceiverCase("a server that never answers costs no more than the deadline", _hang),
    ReceiverCase("a server that drips costs no more than the deadline", _drip),
    ReceiverCase("200 with an error in its body is not accepted", _error_body),
    ReceiverCase("200 with any other body is accepted", _good_body),
    ReceiverCase("a redirect is not followed", _redirect),
    ReceiverCase("a huge answer is read only in part", _huge_body),
    ReceiverCase("a dropped, reset or garbled connection is retried", _dropped),
    ReceiverCase("a connection closed after each answer is opened again", _idle_connection_closed),
    ReceiverCase("a connection closed while idle costs no attempt", _closed_while_idle),
    ReceiverCase("a refused connection is retried", _refused_connection),
    ReceiverCase("whatever labels hold, the body stays valid", _escaping),
)
