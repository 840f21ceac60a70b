"""What a tick's dictionary turns into."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.ingest.flatten import MAX_DEPTH, MAX_FIELDS, flatten, parse_iso_time

S5_TICK = {
    "timestamp": "2025-10-12T12:34:56+05:30",
    "heartbeat": {"last_tick": "2025-10-12T12:34:56+05:30", "uptime_seconds": 3600},
    "positions": {"count": 3, "total_value": 150000.0, "symbols": ["RELIANCE", "TCS", "INFY"]},
    "pnl": {"daily": 2500.50, "unrealized": 1200.00, "realized": 1300.50},
    "risk": {
        "circuit_breaker_active": False,
        "daily_loss_pct": -0.25,
        "max_position_value": 50000.0,
    },
    "sentiment": {"last_score": 0.65, "provider_errors_1h": 0, "cache_hit_rate": 0.85},
    "connectivity": {"breeze_authenticated": True, "last_api_call": "2025-10-12T12:34:50+05:30"},
    "artifacts": {"teacher_model_age_hours": 12, "student_model_age_hours": 6},
}


@pytest.mark.requirement("S5-13", "S5-14", "S5-15", "S5-16", "S5-17", "S5-18", "S5-19", "S5-49")
@pytest.mark.requirement("S5-50", "S5-51", "S5-52", "S5-53", "S5-54", "S5-55", "S5-56")
def test_the_whole_s5_schema_becomes_numbers_and_times() -> None:
    flat = flatten(S5_TICK)

    assert flat.numbers == {
        "heartbeat.uptime_seconds": 3600.0,
        "positions.count": 3.0,
        "positions.total_value": 150000.0,
        "positions.symbols": 3.0,
        "pnl.daily": 2500.5,
        "pnl.unrealized": 1200.0,
        "pnl.realized": 1300.5,
        "risk.circuit_breaker_active": 0.0,
        "risk.daily_loss_pct": -0.25,
        "risk.max_position_value": 50000.0,
        "sentiment.last_score": 0.65,
        "sentiment.provider_errors_1h": 0.0,
        "sentiment.cache_hit_rate": 0.85,
        "connectivity.breeze_authenticated": 1.0,
        "artifacts.teacher_model_age_hours": 12.0,
        "artifacts.student_model_age_hours": 6.0,
    }
    assert flat.times == {
        "timestamp": 1760252696.0,
        "heartbeat.last_tick": 1760252696.0,
        "connectivity.last_api_call": 1760252690.0,
    }
    assert flat.refused == 0


@pytest.mark.requirement("F58")
def test_nothing_becomes_nan_and_a_foreign_object_is_counted() -> None:
    flat = flatten({"a": None, "b": math.nan, "c": object(), "d": 10**400})

    assert math.isnan(flat.numbers["a"])
    assert math.isnan(flat.numbers["b"])
    assert set(flat.numbers) == {"a", "b"}
    assert flat.nothing == 1
    assert flat.refused == 2


@pytest.mark.requirement("F51")
def test_a_time_without_a_zone_is_a_text_not_a_guess() -> None:
    assert parse_iso_time("2025-10-12T12:34:56") is None
    assert parse_iso_time("2025-10-12T12:34:56Z") == 1760272496.0
    assert flatten({"t": "2025-10-12T12:34:56"}).texts == {"t": "2025-10-12T12:34:56"}


def test_depth_and_width_are_bounded_and_the_rest_is_counted() -> None:
    deep: dict[str, object] = {"x": 1}
    for _ in range(MAX_DEPTH + 5):
        deep = {"d": deep}

    assert flatten(deep).refused == 1
    assert flatten({f"f{i}": i for i in range(MAX_FIELDS + 7)}).refused == 7


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), _json))
def test_any_tick_flattens_without_an_exception(tick: dict[str, object]) -> None:
    flat = flatten(tick)

    assert all(isinstance(v, float) for v in flat.numbers.values())
    json.dumps({**flat.times, **flat.texts})
