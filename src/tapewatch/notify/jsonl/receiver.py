"""Appends each notification to the alert file of the trading date it was told on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from pathlib import Path

from tapewatch.model.alert_record import notification_records, record_line
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import Notification
from tapewatch.notify.jsonl.daily_file import DailyFile
from tapewatch.notify.side_thread import SideThread

KEEP_DAYS = 90


class JsonlReceiver:
    """Keeps ``logs/alerts/<date>.jsonl``, one alert record per line.

    A thread of its own waits for the disk, so a slow one delays nobody else.
    """

    kind = "jsonl"
    keeps_every = True

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "jsonl",
        tz: tzinfo = UTC,
        keep_days: int = KEEP_DAYS,
        recipients: Sequence[str] = (),
    ) -> None:
        """Prepare; nothing is opened or made before the first notification.

        Args:
            directory: Where the dated files lie.
            name: The receiver's name.
            tz: The zone of the trading date and of the stamps.
            keep_days: Files of dates further back than this are removed by ``prune``.
            recipients: Named in each record.
        """
        self.name = name
        self._files = DailyFile(directory, tz)
        self._keep_days = keep_days
        self._recipients = tuple(recipients)
        self._thread = SideThread(f"tapewatch-{name}")

    async def prepare(self) -> None:
        """Start the thread; no file is touched."""
        await self._thread.submit(lambda: None)

    async def send(self, notification: Notification) -> None:
        """Append a record for each alert, and return when they are on the disk.

        Raises:
            DeliveryError: They could not be written; never permanent, since space and rights
                can come back.
        """
        await self._thread.submit(lambda: self.write(notification))

    def write(self, notification: Notification) -> None:
        """Append as ``send`` does, waiting in the caller's thread.

        Raises:
            DeliveryError: As ``send``.
        """
        records = notification_records(notification, self._files.tz, self._recipients)
        lines = [(record["key"], record_line(record)) for record in records]
        try:
            self._files.append(lines, notification.created_at_ns)
        except OSError as error:
            path = self._files.path(notification.created_at_ns)
            raise DeliveryError(
                f"cannot append to the alert file {path}: {error.strerror or error}",
                permanent=False,
            ) from error

    def prune(self, now_ns: int) -> list[Path]:
        """Remove the files that are older than the retention; return them.

        Raises:
            OSError: The directory cannot be read or a file not removed.
        """
        return self._files.prune(now_ns, self._keep_days)

    async def close(self) -> None:
        """Stop the thread; a write that hangs is left behind."""
        self._thread.close()
