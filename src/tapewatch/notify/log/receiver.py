"""Writes each notification as a structured log line with ``component="alert"``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Protocol

import structlog

from tapewatch.model.alert_record import notification_records
from tapewatch.model.notification import Notification
from tapewatch.model.severity import AlertSeverity
from tapewatch.model.terminal import escape_controls

_LEVELS = {
    AlertSeverity.INFO: logging.INFO,
    AlertSeverity.WARNING: logging.WARNING,
    AlertSeverity.CRITICAL: logging.ERROR,
    AlertSeverity.EMERGENCY: logging.CRITICAL,
}
_FIELDS = ("severity", "rule", "state", "reason", "id", "key", "late", "flapping")


class Logger(Protocol):
    """The one method of a structlog logger that is used."""

    def log(self, level: int, event: str, **fields: Any) -> Any:
        """Write one line."""
        ...


class LogReceiver:
    """Tells the log. Event ``alert``; ends are logged at level INFO whatever their severity.

    Texts from outside are escaped, so that one notification stays one line even where the log
    goes to a terminal in plain form.
    """

    kind = "log"
    keeps_every = True

    def __init__(
        self,
        name: str = "log",
        *,
        tz: tzinfo = UTC,
        recipients: Sequence[str] = (),
        logger: Logger | None = None,
    ) -> None:
        self.name = name
        self._recipients = tuple(recipients)
        self._tz = tz
        self._logger: Logger = structlog.get_logger() if logger is None else logger

    async def prepare(self) -> None:
        """Do nothing; the log is there."""

    async def send(self, notification: Notification) -> None:
        """Write a line for each alert of the notification."""
        for alert, record in zip(
            notification.alerts, notification_records(notification, self._tz), strict=True
        ):
            level = _LEVELS[alert.severity] if alert.is_active else logging.INFO
            self._logger.log(
                level,
                "alert",
                component="alert",
                notification=notification.reason.value,
                message=escape_controls(alert.message),
                labels=_escaped(alert.labels.as_dict()),
                acknowledged=alert.acknowledged is not None,
                alert_timestamp=record["timestamp"],
                context=_escaped(record["context"]),
                recipients=[escape_controls(each) for each in self._recipients],
                **{
                    name: escape_controls(item) if isinstance(item, str) else item
                    for name, item in record.items()
                    if name in _FIELDS
                },
            )

    async def close(self) -> None:
        """Do nothing; the log belongs to the daemon."""


def _escaped(value: Any) -> Any:
    """Return the same structure with every text in it escaped, names too."""
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, Mapping):
        return {escape_controls(str(key)): _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(inner) for inner in value]
    return value
