"""Receiver ``webhook``: Alertmanager's payload by HTTP POST."""

from tapewatch.notify.webhook.receiver import WebhookReceiver
from tapewatch.notify.webhook.settings import WebhookSettings

__all__ = ["WebhookReceiver", "WebhookSettings"]
