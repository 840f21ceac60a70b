"""The webhook beyond the conformance suite: payload, signature, addresses, secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tapewatch.model.alert import AlertState
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import NotifyReason
from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.webhook import WebhookReceiver, WebhookSettings
from tapewatch.notify.webhook.addresses import ResolveError, Resolver, refusal
from tapewatch.notify.webhook.payload import body, payload
from tapewatch.notify.webhook.signature import HEADER, sign, verify
from tapewatch.testing.alerts import START_NS, firing_alert, notification, resolves
from tapewatch.testing.http_sink import Behaviour, HttpSink


def test_the_payload_is_alertmanager_s_version_4_in_every_field() -> None:
    loss = firing_alert(symbol='A"B')
    value = payload(notification(loss), external_url="http://127.0.0.1:8090/")
    ours = value.pop("tapewatch")
    labels = {
        "alertname": "daily_loss_high",
        "engine": "paper",
        "severity": "warning",
        "symbol": 'A"B',
    }
    annotations = {"summary": "Daily loss is above its limit"}
    assert value == {
        "version": "4",
        "groupKey": (
            '{}:{alertname="daily_loss_high", engine="paper", severity="warning", symbol="A\\"B"}'
        ),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://127.0.0.1:8090/",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2026-01-05T09:15:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://127.0.0.1:8090/",
                "fingerprint": loss.fingerprint,
            }
        ],
    }
    assert ours["reason"] == "first_notification"
    assert ours["alerts"][0]["context"] == {
        "daily_loss_pct": -5.2,
        "threshold": -5.0,
        "open_positions": 7.0,
    }


def test_an_ended_alert_has_its_end_and_the_message_is_resolved() -> None:
    ended = resolves(firing_alert(), START_NS + 1_500_000_000).alert
    value = payload(notification(ended, reason=NotifyReason.RESOLVED))
    assert value["status"] == "resolved"
    assert value["alerts"][0]["status"] == "resolved"
    assert value["alerts"][0]["endsAt"] == "2026-01-05T09:15:01.5Z"


def test_a_message_with_a_firing_and_an_ended_alert_is_firing_and_shares_what_is_common() -> None:
    low = firing_alert()
    high = resolves(firing_alert(severity=AlertSeverity.CRITICAL), START_NS + 1).alert
    value = payload(notification(low, high))
    assert value["status"] == "firing"
    assert [a["status"] for a in value["alerts"]] == ["firing", "resolved"]
    assert value["commonLabels"] == {"alertname": "daily_loss_high", "engine": "paper"}


def test_an_unknown_alert_shows_as_firing_with_an_annotation() -> None:
    unknown = replace(firing_alert(), state=AlertState.UNKNOWN)
    (alert,) = payload(notification(unknown))["alerts"]
    assert alert["status"] == "firing"
    assert alert["annotations"]["tapewatch_state"] == "unknown"


@pytest.mark.requirement("T10", "F58")
def test_numbers_that_are_not_finite_do_not_break_the_json() -> None:
    alert = replace(firing_alert(context={"x": float("nan")}), value=float("inf"))
    value = json.loads(body(notification(alert)), parse_constant=pytest.fail)
    assert value["tapewatch"]["alerts"][0]["value"] == "+Inf"
    assert value["tapewatch"]["alerts"][0]["context"] == {"x": "NaN"}


def test_the_request_is_signed_and_the_signature_verifies() -> None:
    async def scenario() -> None:
        async with HttpSink() as sink:
            settings = WebhookSettings(sink.url, secret="s3cret")
            receiver = WebhookReceiver("ops", settings, wall_s=lambda: 1_767_604_500.9)
            await receiver.send(notification())
            await receiver.close()
            (arrival,) = sink.arrivals
            header = arrival.headers[HEADER.lower()]
            raw = arrival.body.encode()
            assert header.startswith("t=1767604500,v1=")
            assert verify("s3cret", raw, header, 1_767_604_600)
            assert not verify("s3cret", raw, header, 1_767_604_900)
            assert not verify("other", raw, header, 1_767_604_600)
            assert not verify("s3cret", raw + b" ", header, 1_767_604_600)
            assert arrival.headers["user-agent"].startswith("tapewatch/")

    asyncio.run(scenario())


def test_without_a_secret_nothing_is_signed() -> None:
    async def scenario() -> None:
        async with HttpSink() as sink:
            receiver = WebhookReceiver("ops", WebhookSettings(sink.url))
            await receiver.send(notification())
            await receiver.close()
            assert HEADER.lower() not in sink.arrivals[0].headers

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "header", ["", "t=,v1=", "t=x,v1=00", "v1=00", "t=1767604500", "t=²,v1=1", "t=" + "9" * 40]
)
def test_a_garbled_signature_does_not_verify(header: str) -> None:
    assert not verify("s3cret", b"{}", header, 1_767_604_500)
    assert verify("s3cret", b"{}", sign("s3cret", b"{}", 5), 5)


@pytest.mark.requirement("T15")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://127.0.0.1/", "scheme 'gopher'"),
        ("127.0.0.1:9000/hook", "expected http"),
        ("http:///hook", "no host"),
        ("http://", "no host"),
        ("http://user:canary@example.com/", "user or password"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[::ffff:a9fe:a9fe]/", "link-local"),
        ("http://100.100.100.200/", "metadata"),
        ("http://[fd00:ec2::254]/", "metadata"),
        ("http://[64:ff9b::a9fe:a9fe]/", "link-local"),
        ("http://[2002:a9fe:a9fe::]/", "link-local"),
        ("http://[::169.254.169.254]/", "link-local"),
        ("http://0251.0376.0251.0376/", "cannot be read"),
        ("http://224.0.0.1/", "not the address of one host"),
        ("http://0.0.0.0/", "not the address of one host"),
    ],
)
def test_urls_that_a_webhook_may_not_go_to_are_refused_at_once(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        WebhookSettings(url)
    assert "canary" not in str(caught.value)


@pytest.mark.requirement("T15")
@pytest.mark.parametrize(
    "host", ["2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "169.254.43518"]
)
def test_other_spellings_of_the_metadata_address_are_refused_after_resolving(host: str) -> None:
    receiver = WebhookReceiver("ops", WebhookSettings(f"http://{host}/canary"))
    with pytest.raises(DeliveryError, match="link-local") as caught:
        asyncio.run(receiver.send(notification()))
    assert caught.value.permanent
    assert "canary" not in str(caught.value)


@pytest.mark.requirement("T15")
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "93.184.216.34"]
)
def test_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.requirement("T15")
def test_the_checked_address_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["127.0.0.1", "169.254.169.254"])

    def changing(host: str, port: int, **_: object) -> list[object]:
        address = next(answers)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", changing)

    async def scenario() -> None:
        async with HttpSink() as sink:
            url = f"http://rebind.example:{sink.port}/hook"
            receiver = WebhookReceiver("ops", WebhookSettings(url))
            await receiver.send(notification())
            await receiver.send(notification())
            assert sink.arrivals[0].headers["host"] == f"rebind.example:{sink.port}"
            await receiver.close()

    asyncio.run(scenario())


@pytest.mark.requirement("T15")
def test_a_name_with_one_refused_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [("", "", "", "", ("127.0.0.1", 1)), ("", "", "", "", ("169.254.169.254", 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    resolver = Resolver("x.example", 80)
    with pytest.raises(ResolveError, match="link-local") as caught:
        asyncio.run(resolver.addresses(1.0))
    assert caught.value.permanent


@pytest.mark.requirement("F26")
def test_a_name_server_that_hangs_costs_the_connect_timeout_and_no_executor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hanging(*_: object, **__: object) -> list[object]:
        time.sleep(0.6)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)

    async def scenario() -> None:
        settings = WebhookSettings("http://slow.example/canary", connect_timeout_s=0.1)
        receiver = WebhookReceiver("ops", settings)
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(DeliveryError, match="no answer in time") as caught:
                await receiver.send(notification())
            assert time.monotonic() - started < 0.5
            assert not caught.value.permanent
            # asyncio's own pool is free all the while.
            await asyncio.wait_for(asyncio.to_thread(lambda: None), 0.4)
        await receiver.close()

    asyncio.run(scenario())


@pytest.mark.requirement("F26")
def test_the_last_good_address_is_used_while_names_cannot_be_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tapewatch.notify.webhook.addresses.FRESH_S", 0.0)

    async def scenario() -> None:
        async with HttpSink() as sink:
            url = f"http://localhost:{sink.port}/hook"
            receiver = WebhookReceiver("ops", WebhookSettings(url))
            await receiver.send(notification())

            def failing(*_: object, **__: object) -> list[object]:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

            monkeypatch.setattr(socket, "getaddrinfo", failing)
            await receiver.send(notification())
            assert len(sink.arrivals) == 2
            await receiver.close()

    asyncio.run(scenario())


def test_a_name_with_several_addresses_uses_the_one_that_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [("", "", "", "", ("127.0.0.9", 1)), ("", "", "", "", ("127.0.0.1", 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    async def scenario() -> None:
        async with HttpSink() as sink:
            receiver = WebhookReceiver("ops", WebhookSettings(f"http://two.example:{sink.port}/"))
            await receiver.send(notification())
            await receiver.send(notification())
            assert (len(sink.arrivals), sink.connections) == (2, 1)
            await receiver.close()

    asyncio.run(scenario())


@pytest.mark.requirement("T27")
def test_no_secret_and_no_path_is_shown_even_in_debug_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with HttpSink() as sink:
            url = f"http://127.0.0.1:{sink.port}/canary-path?k=canary-query"
            settings = WebhookSettings(url, secret="canary-secret")
            receiver = WebhookReceiver("ops", settings)
            await receiver.send(notification())
            for behaviour in (Behaviour(status=404), Behaviour(drop=True), Behaviour(status=302)):
                sink.behaviour = behaviour
                with pytest.raises(DeliveryError) as caught:
                    await receiver.send(notification())
                assert "canary" not in repr(caught.value)
            await receiver.close()
            assert "canary" not in repr(settings) + repr(receiver)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert "canary" not in caplog.text


def _https_to(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> str:
    """Send to a server that is not good at TLS; return the complaint."""

    async def scenario() -> str:
        ended = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)
            # Whatever happened, our side must let go of the connection.
            while await reader.read(4096):
                pass
            writer.close()
            ended.set()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = WebhookSettings(f"https://127.0.0.1:{port}/hook", deadline_s=0.5)
        receiver = WebhookReceiver("ops", settings)
        with pytest.raises(DeliveryError) as caught:
            await receiver.send(notification())
        await asyncio.wait_for(ended.wait(), 5)
        assert not caught.value.permanent
        await receiver.close()
        server.close()
        await server.wait_closed()
        return str(caught.value)

    return asyncio.run(scenario())


@pytest.mark.requirement("F30")
def test_bad_tls_is_refused_and_retried() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    assert "cannot connect" in _https_to(garbage)


@pytest.mark.requirement("F30")
def test_a_tls_handshake_that_never_ends_leaves_no_connection_behind() -> None:
    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return None

    assert "no whole answer within 0.5 s" in _https_to(silent)


def test_proxies_from_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def scenario() -> None:
        async with HttpSink() as sink:
            receiver = WebhookReceiver("ops", WebhookSettings(sink.url))
            await receiver.send(notification())
            await receiver.close()

    asyncio.run(scenario())


def test_an_empty_secret_is_a_mistake_and_not_an_unsigned_webhook() -> None:
    with pytest.raises(ValueError, match="secret is empty"):
        WebhookSettings("http://127.0.0.1/", secret="")
