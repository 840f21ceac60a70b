"""Dates in a zone: each instant has one, and the day rolls once (F48)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.clock import HOUR, MINUTE, SECOND
from tapewatch.sessions.tradingday import TradingDay


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


def test_the_date_is_the_zones_and_not_utcs() -> None:
    kolkata = TradingDay(ZoneInfo("Asia/Kolkata"))
    assert kolkata.date_of(ns("2026-01-05T18:29:59Z")) == date(2026, 1, 5)
    assert kolkata.date_of(ns("2026-01-05T18:30:00Z")) == date(2026, 1, 6)
    assert kolkata.next_roll_ns(ns("2026-01-05T18:29:59Z")) == ns("2026-01-05T18:30:00Z")
    assert kolkata.next_roll_ns(ns("2026-01-05T18:30:00Z")) == ns("2026-01-06T18:30:00Z")


def test_a_day_may_begin_at_another_time() -> None:
    day = TradingDay(ZoneInfo("America/Chicago"), time(17))
    assert day.date_of(ns("2026-01-05T16:59:59-06:00")) == date(2026, 1, 4)
    assert day.date_of(ns("2026-01-05T17:00:00-06:00")) == date(2026, 1, 5)


@pytest.mark.requirement("F48")
def test_days_of_23_and_25_hours_roll_once() -> None:
    berlin = TradingDay(ZoneInfo("Europe/Berlin"))
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    assert berlin.start_ns(date(2026, 3, 30)) - berlin.start_ns(spring) == 23 * HOUR
    assert berlin.start_ns(date(2026, 10, 26)) - berlin.start_ns(autumn) == 25 * HOUR


@pytest.mark.requirement("F48")
def test_a_midnight_that_clocks_skip_begins_the_day_where_they_go_on() -> None:
    beirut = TradingDay(ZoneInfo("Asia/Beirut"))
    roll = beirut.next_roll_ns(ns("2026-03-28T12:00:00+02:00"))
    assert roll == ns("2026-03-29T01:00:00+03:00")
    assert beirut.date_of(roll - 1) == date(2026, 3, 28)
    assert beirut.date_of(roll) == date(2026, 3, 29)


@pytest.mark.requirement("F48")
def test_clocks_set_back_across_midnight_do_not_bring_yesterday_back() -> None:
    # St John's, 2006-10-29: at 00:01 clocks went back to 23:01 of the 28th.
    zone = ZoneInfo("America/St_Johns")
    day = TradingDay(zone)
    first_midnight = day.next_roll_ns(ns("2006-10-28T20:00:00-02:30"))
    assert day.date_of(first_midnight) == date(2006, 10, 29)
    half_past_eleven_again = first_midnight + 30 * MINUTE
    shown = datetime.fromtimestamp(half_past_eleven_again // SECOND, zone)
    assert shown.date() == date(2006, 10, 28)
    assert day.date_of(half_past_eleven_again) == date(2006, 10, 29)


@pytest.mark.requirement("F48")
def test_a_leap_second_is_the_second_before_it_again() -> None:
    # POSIX time has no 23:59:60; the stamp after 23:59:59 is midnight.
    utc = TradingDay(ZoneInfo("UTC"))
    assert utc.date_of(ns("2016-12-31T23:59:59Z") + SECOND - 1) == date(2016, 12, 31)
    assert utc.date_of(ns("2016-12-31T23:59:59Z") + SECOND) == date(2017, 1, 1)


@pytest.mark.requirement("F48")
@given(
    st.sampled_from(
        ["UTC", "Asia/Kolkata", "America/St_Johns", "America/Havana", "America/Sao_Paulo",
         "Asia/Beirut", "Pacific/Apia", "Africa/Monrovia"]
    ),
    st.integers(0, 23),
    st.integers(int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()), 1_800_000_000),
)  # fmt: skip
def test_dates_never_go_back_and_change_only_at_a_roll(
    zone: str, begins: int, start_s: int
) -> None:
    day = TradingDay(ZoneInfo(zone), time(begins))
    at = start_s * SECOND
    for _ in range(3):
        today, roll = day.date_of(at), day.next_roll_ns(at)
        assert roll > at
        assert day.date_of(roll - 1) == today
        assert day.date_of(roll) > today
        at = roll
