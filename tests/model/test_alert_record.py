"""Alert records: the six fields first, valid JSON always, and read back equal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.alerts.record import (
    alert_record,
    format_time,
    notification_records,
    parse_record,
    parse_time,
    record_line,
)
from tapewatch.model.alert import Acknowledgement, Alert, AlertState, TransitionReason
from tapewatch.model.alert_json import (
    alert_from_json,
    alert_to_json,
    notification_from_json,
    notification_to_json,
)
from tapewatch.model.labels import Labels
from tapewatch.model.notification import Notification, NotifyReason
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.alerts import START_NS, firing_alert, notification, resolves

KOLKATA = ZoneInfo("Asia/Kolkata")
CORE = ["timestamp", "severity", "rule", "message", "context", "acknowledged"]

any_text = st.text(st.characters(categories=None), max_size=20)
times = st.integers(min_value=0, max_value=4_000_000_000 * 10**9)
numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe_times = st.none() | times
acknowledgements = st.builds(Acknowledgement, any_text, times, any_text, maybe_times)
alerts = st.builds(
    Alert,
    id=any_text,
    fingerprint=any_text,
    rule=any_text,
    group=any_text,
    severity=st.sampled_from(AlertSeverity),
    state=st.sampled_from(AlertState),
    labels=st.dictionaries(any_text, any_text, max_size=4).map(Labels),
    annotations=st.dictionaries(any_text, any_text, max_size=4),
    value=st.none() | numbers,
    active_at_ns=times,
    updated_at_ns=times,
    fired_at_ns=maybe_times,
    resolved_at_ns=maybe_times,
    reason=st.sampled_from(TransitionReason),
    acknowledged=st.none() | acknowledgements,
    replayed=st.booleans(),
    context=st.dictionaries(any_text, st.none() | st.booleans() | any_text | numbers, max_size=4),
)


def finite(alert: Alert) -> Alert:
    """Return the alert with the numbers that a record cannot hold as it shows them."""
    words = {math.inf: "+Inf", -math.inf: "-Inf"}
    context = {
        name: ("NaN" if math.isnan(item) else words.get(item, item))
        if isinstance(item, float)
        else item
        for name, item in alert.context.items()
    }
    return replace(alert, context=context)


def same(one: Alert, other: Alert) -> bool:
    """Compare alerts, NaN being equal to itself."""
    if one.value is not None and other.value is not None and math.isnan(one.value):
        return math.isnan(other.value) and replace(one, value=0.0) == replace(other, value=0.0)
    return one == other


@pytest.mark.requirement("S5-57", "S5-58")
def test_the_six_fields_come_first_and_mean_what_the_schema_says() -> None:
    record = alert_record(firing_alert(), KOLKATA)
    assert list(record)[:6] == CORE
    assert {name: record[name] for name in CORE} == {
        "timestamp": "2026-01-05T14:45:00+05:30",
        "severity": "WARNING",
        "rule": "daily_loss_high",
        "message": "Daily loss is above its limit",
        "context": {"daily_loss_pct": -5.2, "threshold": -5.0, "open_positions": 7.0},
        "acknowledged": False,
    }


def test_an_acknowledged_alert_says_who_has_it() -> None:
    ack = Acknowledgement("mira", START_NS, "looking")
    record = alert_record(replace(firing_alert(), acknowledged=ack), UTC)
    assert record["acknowledged"] is True
    assert record["acknowledgement"] == {
        "by": "mira",
        "at": "2026-01-05T09:15:00+00:00",
        "note": "looking",
        "expires_at": None,
    }


def test_each_alert_of_a_notification_has_a_record_with_a_key_of_its_own() -> None:
    low = firing_alert()
    high = resolves(firing_alert(severity=AlertSeverity.CRITICAL), START_NS + 1).alert
    records = notification_records(notification(low, high, key="k"), UTC)
    assert [(r["key"], r["event"], r["state"]) for r in records] == [
        ("k", "first_notification", "firing"),
        ("k#1", "first_notification", "resolved"),
    ]


@pytest.mark.requirement("S5-80", "T10", "F60")
@given(alerts)
def test_every_alert_is_one_line_of_strict_json_and_reads_back_equal(alert: Alert) -> None:
    line = record_line(alert_record(alert, KOLKATA))
    assert len(line.splitlines()) == 1
    line.encode("utf-8")
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert same(parse_record(line), finite(alert))


@given(alerts)
def test_the_store_s_form_keeps_even_numbers_that_are_not_finite(alert: Alert) -> None:
    text = json.dumps(alert_to_json(alert), allow_nan=False)
    again = alert_from_json(json.loads(text))
    assert repr(again) == repr(alert)


@given(st.lists(alerts, max_size=3), st.booleans(), st.sampled_from(NotifyReason), any_text)
def test_notifications_survive_the_outbox(
    about: list[Alert], flag: bool, reason: NotifyReason, text: str
) -> None:
    message = Notification(text, text, reason, tuple(about), 5, text, flag, not flag)
    text_form = json.dumps(notification_to_json(message), allow_nan=False)
    assert repr(notification_from_json(json.loads(text_form))) == repr(message)


@pytest.mark.requirement("T10")
@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\r", "\n", "\x00", "\x1b", "\ud800"])
def test_characters_that_break_lines_or_readers_are_escaped(char: str) -> None:
    line = record_line({"message": f"a{char}b"})
    assert char not in line
    assert json.loads(line) == {"message": f"a{char}b"}


@given(times)
def test_times_read_back_to_the_nanosecond(time_ns: int) -> None:
    assert parse_time(format_time(time_ns, KOLKATA)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2026-01-05T09:15:00Z", START_NS),
        ("2026-01-05 14:45:00+05:30", START_NS),
        ("2026-01-05T09:15:00.000000001+00:00", START_NS + 1),
        ("1969-12-31T23:59:59.5+00:00", -500_000_000),
    ],
)
def test_times_of_other_writers_are_read(text: str, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize("text", ["", "now", "2026-01-05T09:15:00", "2026-13-05T09:15:00Z"])
def test_what_is_no_time_with_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|month"):
        parse_time(text)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{torn", "not an alert record"),
        ("[]", "found list, expected an object"),
        ("{}", "field 'acknowledgement' is missing"),
        (alert_record(firing_alert(), UTC) | {"id": 7}, "field 'id' is int, expected text"),
        (alert_record(firing_alert(), UTC) | {"labels": None}, "not an alert record"),
        (alert_record(firing_alert(), UTC) | {"severity": "BAD"}, "unknown severity 'BAD'"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(
    record: str | dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        parse_record(record)
