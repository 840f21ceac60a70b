"""Weekly trading hours: local time, both changes of the clocks, odd zones (F48)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.model.clock import DAY, HOUR, SECOND
from tapewatch.sessions.weekly import WeeklySession

KOLKATA = WeeklySession.of(
    timezone="Asia/Kolkata",
    open=time(9, 15),
    close=time(15, 30),
    holidays=[date(2026, 1, 26)],
)
NEW_YORK = WeeklySession.of(timezone="America/New_York", open=time(9, 30), close=time(16))
FUTURES = WeeklySession.of(
    timezone="America/Chicago",
    weekdays=("sun", "mon", "tue", "wed", "thu"),
    open=time(17),
    close=time(16),
)


def ns(text: str) -> int:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return round(moment.timestamp()) * SECOND


def test_a_session_is_open_from_its_opening_up_to_but_not_including_its_close() -> None:
    assert not KOLKATA.is_open(ns("2026-01-05T09:15:00+05:30") - 1)
    assert KOLKATA.is_open(ns("2026-01-05T09:15:00+05:30"))
    assert KOLKATA.is_open(ns("2026-01-05T15:30:00+05:30") - 1)
    assert not KOLKATA.is_open(ns("2026-01-05T15:30:00+05:30"))


def test_weekends_and_holidays_have_no_session() -> None:
    assert not KOLKATA.is_open(ns("2026-01-04T10:00:00+05:30"))
    assert not KOLKATA.is_open(ns("2026-01-26T10:00:00+05:30"))
    assert KOLKATA.is_open(ns("2026-01-27T10:00:00+05:30"))


@pytest.mark.requirement("F48")
def test_the_session_keeps_its_local_hours_when_clocks_go_forward() -> None:
    # 2026-03-08: New York goes from UTC-5 to UTC-4.
    assert NEW_YORK.next_change_ns(ns("2026-03-06T00:00:00Z")) == ns("2026-03-06T14:30:00Z")
    assert NEW_YORK.next_change_ns(ns("2026-03-07T00:00:00Z")) == ns("2026-03-09T13:30:00Z")


@pytest.mark.requirement("F48")
def test_the_session_keeps_its_local_hours_when_clocks_go_back() -> None:
    # 2026-11-01: New York goes from UTC-4 to UTC-5.
    assert NEW_YORK.next_change_ns(ns("2026-10-31T00:00:00Z")) == ns("2026-11-02T14:30:00Z")


@pytest.mark.requirement("F48")
def test_an_overnight_session_across_a_change_of_clocks_is_an_hour_shorter_or_longer() -> None:
    def length(start: str) -> float:
        opening = FUTURES.next_change_ns(ns(start))
        assert opening is not None
        closing = FUTURES.next_change_ns(opening)
        assert closing is not None
        return (closing - opening) / HOUR

    always = WeeklySession.of(
        timezone="America/Chicago", weekdays=("sat",), open=time(17), close=time(16)
    )
    assert length("2026-03-02T22:30:00Z") == 23
    forward = always.open_seconds_between(ns("2026-03-07T00:00:00Z"), ns("2026-03-09T12:00:00Z"))
    back = always.open_seconds_between(ns("2026-10-31T00:00:00Z"), ns("2026-11-02T12:00:00Z"))
    assert (forward / 3600, back / 3600) == (22, 24)


@pytest.mark.requirement("F48")
def test_a_session_whose_times_are_skipped_or_shown_twice_is_there_once() -> None:
    night = WeeklySession.of(
        timezone="Europe/Berlin", weekdays=("sun",), open=time(2, 15), close=time(2, 45)
    )
    skipped = night.open_seconds_between(ns("2026-03-28T12:00:00Z"), ns("2026-03-30T12:00:00Z"))
    twice = night.open_seconds_between(ns("2026-10-24T12:00:00Z"), ns("2026-10-26T12:00:00Z"))
    assert skipped == twice == 1800


def test_a_session_that_opens_inside_the_skipped_hour_and_closes_behind_it_has_its_rest() -> None:
    session = WeeklySession.of(
        timezone="Europe/Berlin", weekdays=("sun",), open=time(2, 30), close=time(3, 15)
    )
    # Clocks never show 02:30; 30 minutes behind the skip's start they show 03:30, too late.
    assert session.next_change_ns(ns("2026-03-28T12:00:00Z")) == ns("2026-04-05T00:30:00Z")


@pytest.mark.requirement("F48")
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_zones_off_the_full_hour_are_exact(zone: str) -> None:
    session = WeeklySession.of(timezone=zone, open=time(10), close=time(16))
    opening = session.next_change_ns(ns("2026-01-05T12:00:00Z"))
    assert opening is not None
    local = datetime.fromtimestamp(opening // SECOND, ZoneInfo(zone))
    assert (local.hour, local.minute) == (10, 0)


def test_an_overnight_session_belongs_to_the_day_it_opens() -> None:
    session = WeeklySession.of(
        timezone="UTC",
        weekdays=("fri",),
        open=time(22),
        close=time(4),
        holidays=[date(2026, 1, 10)],
    )
    # Saturday the 10th is a holiday, but the session of Friday the 9th runs into it.
    assert session.is_open(ns("2026-01-10T03:59:59Z"))
    assert not session.is_open(ns("2026-01-10T04:00:00Z"))
    assert not session.is_open(ns("2026-01-10T22:30:00Z"))


def test_sessions_that_touch_change_nothing_where_they_meet() -> None:
    session = WeeklySession(ZoneInfo("UTC"), frozenset(range(7)), time(0), time(0))
    assert session.is_open(ns("2026-01-10T00:00:00Z"))
    assert session.next_change_ns(ns("2026-01-10T12:00:00Z")) is None


def test_a_calendar_without_any_day_never_changes() -> None:
    session = WeeklySession.of(timezone="UTC", weekdays=(), open=time(9), close=time(10))
    assert session.next_change_ns(0) is None
    assert not session.is_open(ns("2026-01-05T09:30:00Z"))


def test_open_time_counts_whole_and_partial_sessions() -> None:
    start, end = ns("2026-01-05T15:00:00+05:30"), ns("2026-01-07T09:30:00+05:30")
    whole = (15.5 - 9.25) * 3600
    assert KOLKATA.open_seconds_between(start, end) == 30 * 60 + whole + 15 * 60
    assert KOLKATA.open_ns_between(start, start) == 0
    with pytest.raises(ValueError, match="lies before"):
        KOLKATA.open_ns_between(end, start)


def test_bad_words_are_named() -> None:
    with pytest.raises(ValueError, match="unknown weekday 'funday'"):
        WeeklySession.of(timezone="UTC", weekdays=["funday"], open=time(1), close=time(2))
    with pytest.raises(ValueError, match="same time"):
        WeeklySession.of(timezone="UTC", open=time(1), close=time(1))
    with pytest.raises(KeyError):
        WeeklySession.of(timezone="Mars/Olympus", open=time(1), close=time(2))


@pytest.mark.requirement("F48")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["UTC", "Asia/Kolkata", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe",
         "America/Sao_Paulo", "Pacific/Apia"]
    ),
    st.integers(0, 23 * 60 + 59),
    st.integers(0, 23 * 60 + 59),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(int(datetime(2008, 1, 1, tzinfo=UTC).timestamp()), 1_800_000_000),
)  # fmt: skip
def test_state_and_open_time_agree_with_the_changes_one_after_the_other(
    zone: str, opens: int, closes: int, days: set[int], start_s: int
) -> None:
    session = WeeklySession(
        ZoneInfo(zone),
        frozenset(days),
        time(opens // 60, opens % 60),
        time(closes // 60, closes % 60),
    )
    at = start = start_s * SECOND
    end = start + 9 * DAY
    is_open, total = session.is_open(at), 0
    while at < end:
        change = session.next_change_ns(at)
        upto = end if change is None else min(change, end)
        middle = (at + upto) // 2
        assert session.is_open(middle) is is_open
        total += (upto - at) * is_open
        if change is None or change >= end:
            break
        assert session.is_open(change) is not is_open
        at, is_open = change, not is_open
    assert session.open_ns_between(start, end) == total
