"""The webhook receiver passes the suite that every receiver passes."""

from __future__ import annotations

import asyncio

import pytest

from tapewatch.notify.webhook import WebhookReceiver, WebhookSettings
from tapewatch.testing.receivers import DEADLINE_S, RECEIVER_CASES, ReceiverCase


def make(url: str, secret: str) -> WebhookReceiver:
    return WebhookReceiver("ops", WebhookSettings(url, secret=secret, deadline_s=DEADLINE_S))


@pytest.mark.requirement("F25", "F27", "F28", "F29", "F30", "F31", "T10", "T15", "T27")
@pytest.mark.parametrize("case", RECEIVER_CASES, ids=lambda case: case.name)
def test_webhook_keeps_the_promise_that(case: ReceiverCase) -> None:
    asyncio.run(case.run(make))
