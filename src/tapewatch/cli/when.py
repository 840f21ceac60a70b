"""Moments as people type them: how long ago, a date, or a time with or without its offset."""

from __future__ import annotations

from datetime import datetime, tzinfo

import typer

from tapewatch.model.clock import SECOND
from tapewatch.model.duration import parse_duration

_EXPECTED = "expected how long ago (1h30m), a date (2026-11-21), a time (2026-11-21T09:15) or now"


def moment(text: str, now_ns: int, tz: tzinfo, option: str) -> int:
    """Return the nanoseconds since the epoch that a text means.

    A time without an offset is local to ``tz``.

    Raises:
        typer.BadParameter: It is no moment.
    """
    if text == "now":
        return now_ns
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
        local = time if time.tzinfo is not None else time.replace(tzinfo=tz)
        return round(local.timestamp() * 1e6) * (SECOND // 1_000_000)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"{option}: found {text!r}, {_EXPECTED}") from None


def span(text: str, option: str) -> int:
    """Return the nanoseconds of a duration, which must be above zero.

    Raises:
        typer.BadParameter: It is no such duration.
    """
    try:
        found = parse_duration(text)
    except ValueError:
        found = 0
    if found <= 0:
        raise typer.BadParameter(f"{option}: found {text!r}, expected a duration such as 1h or 30s")
    return found
