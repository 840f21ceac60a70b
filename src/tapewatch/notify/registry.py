"""The kinds of receivers there are. A new kind is one folder and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

from tapewatch.notify.jsonl import JsonlReceiver
from tapewatch.notify.log import LogReceiver
from tapewatch.notify.receiver import Receiver
from tapewatch.notify.webhook import WebhookReceiver, WebhookSettings


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """One receiver as the configuration describes it; a kind uses what it needs."""

    name: str
    kind: str
    directory: Path | None = None
    """``jsonl``: where the dated files lie."""
    keep_days: int = 90
    """``jsonl``: how long they are kept."""
    webhook: WebhookSettings | None = None
    """``webhook``: where to."""
    tz: tzinfo = UTC
    """The zone of stamps and of the trading date."""
    recipients: tuple[str, ...] = ()
    """People to be told, as the configuration names them; shown with every notification."""


def _log(settings: ReceiverSettings) -> Receiver:
    return LogReceiver(settings.name, tz=settings.tz, recipients=settings.recipients)


def _jsonl(settings: ReceiverSettings) -> Receiver:
    if settings.directory is None:
        raise ValueError(f"receiver {settings.name!r} of kind jsonl needs a directory")
    return JsonlReceiver(
        settings.directory,
        name=settings.name,
        tz=settings.tz,
        keep_days=settings.keep_days,
        recipients=settings.recipients,
    )


def _webhook(settings: ReceiverSettings) -> Receiver:
    if settings.webhook is None:
        raise ValueError(f"receiver {settings.name!r} of kind webhook needs a url")
    return WebhookReceiver(settings.name, settings.webhook, recipients=settings.recipients)


KINDS: Mapping[str, Callable[[ReceiverSettings], Receiver]] = {
    "log": _log,
    "jsonl": _jsonl,
    "webhook": _webhook,
}


def create_receiver(settings: ReceiverSettings) -> Receiver:
    """Build a receiver.

    Raises:
        ValueError: There is no such kind, or a setting that it needs is missing.
    """
    make = KINDS.get(settings.kind)
    if make is None:
        raise ValueError(
            f"receiver {settings.name!r} has the unknown kind {settings.kind!r}; "
            f"expected one of {', '.join(KINDS)}"
        )
    return make(settings)
