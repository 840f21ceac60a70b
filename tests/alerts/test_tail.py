"""Following alert files: whole lines only, filtered by time and severity, over midnight."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.alerts.record import alert_record, record_line
from tapewatch.alerts.tail import (
    MAX_LINE_BYTES,
    LineReader,
    TailFilter,
    dates_since,
    next_date,
    parse_line,
    parse_since,
)
from tapewatch.model.clock import HOUR, MINUTE
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.alerts import START_NS, firing_alert

KOLKATA = ZoneInfo("Asia/Kolkata")


def line(severity: AlertSeverity = AlertSeverity.WARNING, at_ns: int = START_NS) -> bytes:
    record = alert_record(firing_alert(severity=severity, at_ns=at_ns), KOLKATA)
    return record_line(record).encode() + b"\n"


@pytest.mark.requirement("S5-32", "S5-86")
def test_records_are_given_once_their_line_is_whole() -> None:
    reader = LineReader()
    whole = line()
    assert reader.feed(whole[:40]) == []
    (record,) = reader.feed(whole[40:] + whole[:10])
    assert record.time_ns == START_NS
    assert record.severity is AlertSeverity.WARNING
    assert record.fields["rule"] == "daily_loss_high"
    assert record.text == whole.decode().rstrip("\n")


@pytest.mark.requirement("S5-40")
def test_bad_lines_are_skipped_and_counted() -> None:
    reader = LineReader()
    bad = b'{"timestamp": "2026-\n[1]\n\xff\xfe\n{"timestamp": 5, "severity": "INFO"}\n'
    nested = b"[" * 100_000 + b"\n"
    assert len(reader.feed(bad + nested + b"\n  \n" + line())) == 1
    assert reader.skipped == 5


def test_an_endless_line_is_skipped_without_being_kept() -> None:
    reader = LineReader()
    for _ in range(40):
        assert reader.feed(b"x" * 65_536) == []
    assert len(reader._rest) <= MAX_LINE_BYTES
    assert len(reader.feed(b"\n" + line())) == 1
    assert reader.skipped == 1


def test_a_last_line_without_its_end_counts_when_the_file_is_finished() -> None:
    reader = LineReader()
    assert reader.feed(line().rstrip(b"\n")) == []
    assert len(reader.finish()) == 1
    assert reader.finish() == []


@given(st.lists(st.integers(min_value=1, max_value=200), max_size=20))
def test_however_the_bytes_arrive_the_records_are_the_same(cuts: list[int]) -> None:
    data = line() + b"junk\n" + line(AlertSeverity.CRITICAL) + line()
    reader = LineReader()
    got, start = [], 0
    for cut in cuts:
        got += reader.feed(data[start : start + cut])
        start += cut
    got += reader.feed(data[start:])
    assert [r.severity.name for r in got] == ["WARNING", "CRITICAL", "WARNING"]


def test_six_fields_written_by_another_program_are_enough() -> None:
    record = parse_line(
        '{"timestamp":"2026-01-05T14:45:00+05:30","severity":"critical","rule":"x",'
        '"message":"m","context":{},"acknowledged":false}'
    )
    assert record is not None
    assert (record.time_ns, record.severity) == (START_NS, AlertSeverity.CRITICAL)


@pytest.mark.requirement("S5-32")
@pytest.mark.parametrize(
    ("since_ns", "severity", "wanted"),
    [
        (None, AlertSeverity.INFO, True),
        (START_NS, AlertSeverity.WARNING, True),
        (START_NS + 1, AlertSeverity.WARNING, False),
        (None, AlertSeverity.CRITICAL, False),
    ],
)
def test_the_filter_is_closed_at_both_ends(
    since_ns: int | None, severity: AlertSeverity, wanted: bool
) -> None:
    record = parse_line(line().decode())
    assert record is not None
    assert TailFilter(since_ns, severity).wants(record) is wanted


@pytest.mark.requirement("S5-32")
@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("90m", START_NS - 90 * MINUTE),
        ("2h30m", START_NS - 150 * MINUTE),
        ("2026-01-05", START_NS - 14 * HOUR - 45 * MINUTE),
        ("2026-01-05T14:45", START_NS),
        ("2026-01-05 14:45:00", START_NS),
        ("2026-01-05T09:15:00Z", START_NS),
        ("2026-01-05T14:45:00.250", START_NS + 250_000_000),
    ],
)
def test_since_takes_durations_dates_and_times(text: str, time_ns: int) -> None:
    assert parse_since(text, START_NS, KOLKATA) == time_ns


@pytest.mark.parametrize("text", ["", "yesterday", "90", "2026-02-30"])
def test_since_refuses_the_rest_and_shows_how(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90m, 2026-01-05"):
        parse_since(text, START_NS, KOLKATA)


@pytest.mark.requirement("S5-03", "S5-86")
def test_only_files_that_may_hold_the_time_are_read() -> None:
    names = ["2026-01-05.jsonl", "2026-01-02.jsonl", "2026-01-04.jsonl", "notes.txt", "x.jsonl"]
    assert dates_since(names, None, UTC) == ["2026-01-05.jsonl"]
    assert dates_since(names, START_NS, UTC) == ["2026-01-04.jsonl", "2026-01-05.jsonl"]
    assert dates_since([], START_NS, UTC) == []


@pytest.mark.requirement("S5-86")
def test_the_next_file_is_that_of_the_next_day() -> None:
    assert next_date("2026-01-31.jsonl") == "2026-02-01.jsonl"
    with pytest.raises(ValueError, match=r"expected <date>\.jsonl"):
        next_date("alerts.log")
