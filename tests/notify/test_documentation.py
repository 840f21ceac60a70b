"""The pages about notifications: their example runs, their tables are complete."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import pytest

from tapewatch.alerts.record import notification_records
from tapewatch.alerts.verdict import Suppression
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import NotifyReason
from tapewatch.notify.registry import KINDS
from tapewatch.notify.statistics import OUTCOMES
from tapewatch.notify.webhook import WebhookReceiver, WebhookSettings
from tapewatch.notify.webhook.payload import payload
from tapewatch.testing.alerts import notification

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "notifications.md").read_text(encoding="utf-8")


def test_the_receiver_on_the_how_to_page_takes_signed_notifications_once() -> None:
    page = (DOCS / "how-to" / "receive-a-webhook.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "WEBHOOK_SECRET": "s3cret", "PORT": "0"},
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[-1])
        url = f"http://127.0.0.1:{port}/alerts"

        async def scenario() -> None:
            good = WebhookReceiver("ops", WebhookSettings(url, secret="s3cret"))
            forged = WebhookReceiver("ops", WebhookSettings(url, secret="guessed"))
            await good.send(notification())
            await good.send(notification())
            await good.send(notification(key="another"))
            # It serves one connection at a time, so the first must be let go.
            await good.close()
            with pytest.raises(DeliveryError, match="HTTP 401"):
                await forged.send(notification())
            await forged.close()

        asyncio.run(scenario())
        process.terminate()
        shown = process.stdout.read().splitlines()
    assert shown == ["first_notification firing daily_loss_high"] * 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([r.value for r in NotifyReason], id="reasons"),
        pytest.param([s.value for s in Suppression], id="suppressions"),
        pytest.param(list(KINDS), id="kinds"),
        pytest.param(list(OUTCOMES), id="outcomes"),
        pytest.param(list(notification_records(notification(), UTC)[0]), id="record fields"),
        pytest.param(list(payload(notification())), id="payload fields"),
        pytest.param(list(payload(notification())["alerts"][0]), id="alert fields"),
        pytest.param(list(payload(notification())["tapewatch"]["alerts"][0]), id="our fields"),
    ],
)
def test_the_reference_names_every_word_that_is_sent(words: list[str]) -> None:
    assert [word for word in words if f"`{word}`" not in REFERENCE] == []
