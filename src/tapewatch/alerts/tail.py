"""Reading alert files as they grow: whole lines, since a time, from a severity up.

Pure parsing. Who follows the files (``tapewatch tail``) reads bytes and hands them over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from tapewatch.model.alert_record import parse_time
from tapewatch.model.clock import DAY, MICROSECOND, SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.model.severity import AlertSeverity

MAX_LINE_BYTES = 1 << 20
"""A longer line is no record of ours; it is skipped without being kept in memory."""


@dataclass(frozen=True, slots=True)
class TailLine:
    """One record of an alert file."""

    time_ns: int
    """When the alert changed, from ``timestamp``."""
    severity: AlertSeverity
    fields: Mapping[str, Any]
    """The whole record."""
    text: str
    """The line as it stands in the file."""


@dataclass(frozen=True, slots=True)
class TailFilter:
    """What is wanted: both ends are closed."""

    since_ns: int | None = None
    min_severity: AlertSeverity = AlertSeverity.INFO

    def wants(self, line: TailLine) -> bool:
        """Return True for a record at or after ``since_ns`` and at least as bad."""
        if line.severity < self.min_severity:
            return False
        return self.since_ns is None or line.time_ns >= self.since_ns


def parse_line(line: str) -> TailLine | None:
    """Return the record on a line; None if it is blank, torn or no alert record.

    The six fields of the alert schema are enough: files written by other programs can be read.
    """
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            return None
        stamp, severity = fields["timestamp"], fields["severity"]
        if not (isinstance(stamp, str) and isinstance(severity, str)):
            return None
        return TailLine(parse_time(stamp), AlertSeverity.parse(severity), fields, line)
    except (ValueError, KeyError, OverflowError, RecursionError):
        return None


class LineReader:
    """Cuts a growing file into lines; a line counts once its end has been written."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self.skipped = 0
        """Lines that are no alert records, blank ones not counted."""

    def feed(self, data: bytes) -> list[TailLine]:
        """Take the next bytes of the file and return the records that they complete."""
        *whole, rest = (self._rest + data).split(b"\n")
        out: list[TailLine] = []
        for raw in whole:
            out += self._take(raw)
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            self._rest = b""
            self._skipping = True
        return out

    def finish(self) -> list[TailLine]:
        """Take what is left as the last line: the file will not grow any more."""
        return self.feed(b"\n") if self._rest or self._skipping else []

    def _take(self, raw: bytes) -> list[TailLine]:
        if self._skipping:
            self._skipping = False
            self.skipped += 1
            return []
        if not raw.strip():
            return []
        line = parse_line(raw.decode("utf-8", "replace"))
        if line is None:
            self.skipped += 1
            return []
        return [line]


def parse_since(text: str, now_ns: int, tz: tzinfo) -> int:
    """Return the time that ``--since`` means, in nanoseconds since the epoch.

    Args:
        text: A duration back from now (``90m``, ``2h30m``), a date (from its local midnight), or
            an ISO 8601 time; a time without offset is local.
        now_ns: The time now.
        tz: The zone of dates and of times without offset.

    Raises:
        ValueError: It is none of them; the message shows how they are written.
    """
    text = text.strip()
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError:
        pass
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"cannot read the time {text!r}; write it like 90m, 2026-01-05 or 2026-01-05T09:15"
        ) from None
    if local.tzinfo is None:
        local = local.replace(tzinfo=tz)
    return round(local.timestamp() * 1_000_000) * MICROSECOND


def dates_since(names: Iterable[str], since_ns: int | None, tz: tzinfo) -> list[str]:
    """Return the alert files that may hold records since a time, oldest first.

    A record may stand in the file of a later day than its own stamp, never in that of an earlier
    one, but for a day of grace where zones were changed.

    Args:
        names: File names; those that are not ``<date>.jsonl`` are left out.
        since_ns: The time; None for the newest file alone.
        tz: The zone that the files are dated in.
    """
    dated = sorted((day, name) for name in names if (day := _date_of(name)) is not None)
    if since_ns is None:
        return [name for _, name in dated[-1:]]
    first = datetime.fromtimestamp((since_ns - DAY) // SECOND, tz).date()
    return [name for day, name in dated if day >= first]


def next_date(name: str) -> str:
    """Return the file name that follows at local midnight.

    Raises:
        ValueError: The name is not ``<date>.jsonl``.

    >>> next_date("2026-12-31.jsonl")
    '2027-01-01.jsonl'
    """
    day = _date_of(name)
    if day is None:
        raise ValueError(f"not the name of an alert file: {name!r}; expected <date>.jsonl")
    return f"{(day + timedelta(days=1)).isoformat()}.jsonl"


def _date_of(name: str) -> date | None:
    stem, dot, suffix = name.partition(".")
    if not dot or suffix != "jsonl" or len(stem) != 10:
        return None
    try:
        return date.fromisoformat(stem)
    except ValueError:
        return None
