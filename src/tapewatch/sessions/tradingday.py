"""The date that an instant belongs to in a time zone: the key of daily files and daily figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tapewatch.model.clock import SECOND

MIDNIGHT = time(0)


def local_ns(day: date, at: time, zone: ZoneInfo) -> int:
    """Return when clocks in the zone first show a time on a day, as nanoseconds of the epoch.

    A time that clocks skip (spring) is the instant so long after the skip's start as it lies
    behind the skipped stretch's beginning; of a time shown twice (autumn) it is the first.
    """
    moment = datetime.combine(day, at.replace(tzinfo=None), zone).astimezone(UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000


def local_date(at_ns: int, zone: ZoneInfo) -> date:
    """Return the date that calendars in the zone show."""
    return datetime.fromtimestamp(at_ns // SECOND, zone).date()


@dataclass(frozen=True, slots=True)
class TradingDay:
    """Days that begin at one local time, midnight by default.

    Every instant has one date and dates never go back, also where clocks are set back across the
    beginning of the day; so what happens once a day happens once.
    """

    zone: ZoneInfo
    begins: time = MIDNIGHT
    """The day named by a date begins at this time of that date."""

    def start_ns(self, day: date) -> int:
        """Return the day's first instant."""
        return local_ns(day, self.begins, self.zone)

    def date_of(self, at_ns: int) -> date:
        """Return the day that an instant belongs to."""
        day = local_date(at_ns, self.zone) + timedelta(days=1)
        while self.start_ns(day) > at_ns:
            day -= timedelta(days=1)
        return day

    def next_roll_ns(self, at_ns: int) -> int:
        """Return when the next day begins; always later than the instant given."""
        day = self.date_of(at_ns)
        while (start := self.start_ns(day)) <= at_ns:
            day += timedelta(days=1)
        return start
