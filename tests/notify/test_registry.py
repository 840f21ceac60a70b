"""Receivers are made from settings, and what is missing is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tapewatch.notify.registry import KINDS, ReceiverSettings, create_receiver
from tapewatch.notify.webhook import WebhookSettings
from tapewatch.testing.alerts import notification
from tapewatch.testing.http_sink import HttpSink


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_made_and_closed_unused(kind: str, tmp_path: Path) -> None:
    settings = ReceiverSettings(
        "mine", kind, directory=tmp_path, webhook=WebhookSettings("http://127.0.0.1:9/")
    )

    async def scenario() -> None:
        receiver = create_receiver(settings)
        assert (receiver.name, receiver.kind) == ("mine", kind)
        await receiver.close()

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pigeon", "unknown kind 'pigeon'; expected one of log, jsonl, webhook"),
        ("jsonl", "needs a directory"),
        ("webhook", "needs a url"),
    ],
)
def test_a_kind_that_is_unknown_or_lacks_a_setting_is_refused(kind: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        create_receiver(ReceiverSettings("mine", kind))


@pytest.mark.requirement("S5-22")
def test_the_recipients_are_named_in_every_notification(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with HttpSink() as sink:
            for kind in ("jsonl", "webhook"):
                settings = ReceiverSettings(
                    "mine",
                    kind,
                    directory=tmp_path,
                    webhook=WebhookSettings(sink.url),
                    recipients=("mira@example.com",),
                )
                receiver = create_receiver(settings)
                await receiver.send(notification())
                await receiver.close()
            payload = sink.arrivals[0].json()
            assert payload["tapewatch"]["recipients"] == ["mira@example.com"]

    asyncio.run(scenario())
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["recipients"] == ["mira@example.com"]
