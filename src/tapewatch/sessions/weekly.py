"""Trading hours that repeat every week in one time zone, with holidays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from tapewatch.model.clock import SECOND
from tapewatch.sessions.tradingday import local_date, local_ns

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_SEARCH_DAYS = 3 * 366
"""How far ahead a change is looked for: no market pauses longer."""


@dataclass(frozen=True, slots=True)
class WeeklySession:
    """One session a day on some weekdays, from ``opens`` up to but not including ``closes``.

    Times are local: across a change of the clocks the session keeps its hours and changes its
    length in UTC.
    """

    zone: ZoneInfo
    weekdays: frozenset[int]
    """Days on which a session opens; Monday is 0."""
    opens: time
    closes: time
    """Not later than ``opens`` means on the next day; the holiday of its opening day counts."""
    holidays: frozenset[date] = frozenset()

    @classmethod
    def of(
        cls,
        *,
        timezone: str,
        weekdays: Iterable[str] = WEEKDAYS[:5],
        open: time,
        close: time,
        holidays: Iterable[date] = (),
    ) -> WeeklySession:
        """Build a session from the words of the settings.

        Raises:
            ZoneInfoNotFoundError: There is no such time zone.
            ValueError: A weekday is none of mon, tue, wed, thu, fri, sat, sun, or the session
                has no length.
        """
        if open == close:
            raise ValueError("open and close are the same time; a session needs a length")
        unknown = [day for day in weekdays if day not in WEEKDAYS]
        if unknown:
            raise ValueError(f"unknown weekday {unknown[0]!r}; expected one of {WEEKDAYS}")
        days = frozenset(WEEKDAYS.index(day) for day in weekdays)
        return cls(ZoneInfo(timezone), days, open, close, frozenset(holidays))

    def is_open(self, at_ns: int) -> bool:
        """Return whether the session is open at an instant of the steady timeline."""
        day = local_date(at_ns, self.zone)
        # A clock set back over midnight can put an instant before its own date's midnight.
        return any(
            start <= at_ns < end for start, end in self._sessions(day - 2 * _DAY, day + _DAY)
        )

    def next_change_ns(self, at_ns: int) -> int | None:
        """Return when the session next opens or closes, later than the instant given.

        None if it does neither within three years: there is no weekday, or all are holidays.
        """
        day = local_date(at_ns, self.zone)
        for start, end in self._sessions(day - 2 * _DAY, day + _SEARCH_DAYS * _DAY):
            for edge in (start, end):
                # Sessions that touch make one: their common edge changes nothing.
                if edge > at_ns and self.is_open(edge) != self.is_open(edge - 1):
                    return edge
        return None

    def open_ns_between(self, start_ns: int, end_ns: int) -> int:
        """Return how much of [start, end) the session was open, in nanoseconds.

        Cost grows with the number of days.

        Raises:
            ValueError: The end lies before the start.
        """
        if end_ns < start_ns:
            raise ValueError(f"the end {end_ns} lies before the start {start_ns}")
        first = local_date(start_ns, self.zone) - 2 * _DAY
        last = local_date(end_ns, self.zone) + _DAY
        return sum(
            max(min(close, end_ns) - max(open_, start_ns), 0)
            for open_, close in self._sessions(first, last)
        )

    def open_seconds_between(self, start_ns: int, end_ns: int) -> float:
        """Return how much of [start, end) the session was open, in seconds."""
        return self.open_ns_between(start_ns, end_ns) / SECOND

    def _sessions(self, first: date, last: date) -> Iterator[tuple[int, int]]:
        """Yield [open, close) of the sessions that open on these dates, in order."""
        day = first
        while day <= last:
            if day.weekday() in self.weekdays and day not in self.holidays:
                next_day = day if self.closes > self.opens else day + _DAY
                start = local_ns(day, self.opens, self.zone)
                end = local_ns(next_day, self.closes, self.zone)
                if end > start:
                    yield start, end
            day += _DAY
