"""What an engine may hand over, and what arrives."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapewatch.record import Recorder
from tapewatch.tape import RecordKind

Read = Callable[[Recorder], Any]


def same(a: Any, b: Any) -> bool:
    """Compare plain data: NaN equals NaN, and minus zero is not zero."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class Hostile:
    """An object that fails however it is looked at."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.requirement("S5-64")
def test_a_flat_tick_arrives_with_its_names_and_values(
    recorder: Recorder, read_recorder: Read
) -> None:
    recorder.record_tick({"pnl": 12.5, "positions": 3, "breaker": True})
    recorder.record_tick({"pnl": -1.0, "positions": 0, "breaker": False})
    assert read_recorder(recorder).ticks == [
        {"pnl": 12.5, "positions": 3.0, "breaker": 1.0},
        {"pnl": -1.0, "positions": 0.0, "breaker": 0.0},
    ]


@pytest.mark.requirement("S5-49", "S5-51", "S5-52")
def test_a_nested_tick_arrives_as_it_was(recorder: Recorder, read_recorder: Read) -> None:
    tick = {
        "timestamp": "2025-01-02T10:30:00+05:30",
        "positions": {"count": 2, "symbols": ["TCS", "INFY"], "total_value": 1.5},
        "artifacts": {"teacher_model_age_hours": None},
        "risk": {"circuit_breaker_active": False},
    }
    for _ in range(3):
        recorder.record_tick(tick)
    assert read_recorder(recorder).ticks == [tick] * 3


def test_the_order_of_keys_does_not_matter_to_an_established_layout(
    recorder: Recorder, read_recorder: Read
) -> None:
    recorder.record_tick({"a": 1.0, "b": 2.0})
    recorder.record_tick({"b": 20.0, "a": 10.0})
    assert read_recorder(recorder).ticks == [{"a": 1.0, "b": 2.0}, {"a": 10.0, "b": 20.0}]


def test_alternating_shapes_never_mix_their_values(recorder: Recorder, read_recorder: Read) -> None:
    shapes: list[dict[str, Any]] = [
        {"a": 1.0, "b": 2.0},
        {"c": 3.0, "d": 4.0},
        {"a": 5.0},
        {"nested": {"x": 6.0}},
        {"nested": 7.0},
        {f"f{i}": float(i) for i in range(100)},
        {},
    ]
    for _ in range(20):
        for shape in shapes:
            recorder.record_tick(shape)
    assert read_recorder(recorder).ticks == shapes * 20


def test_more_shapes_than_layouts_are_still_all_read(
    recorder: Recorder, read_recorder: Read
) -> None:
    ticks = [{f"only_{i}": float(i)} for i in range(1000)]
    for tick in ticks:
        recorder.record_tick(tick)
    assert read_recorder(recorder).ticks == ticks


@pytest.mark.requirement("F58", "S5-91")
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (math.nan, math.nan),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (-0.0, -0.0),
        (None, math.nan),
        (True, 1.0),
        (Decimal("1.25"), 1.25),
        (Fraction(1, 4), 0.25),
        (np.float64(2.5), 2.5),
        (np.float32(2.5), 2.5),
        (np.int64(-7), -7.0),
        (np.bool_(True), 1.0),
        (10**30, 1e30),
        (10**400, math.nan),
        ("text", "text"),
        ([1, 2], [1, 2]),
        ({"x": 1}, {"x": 1}),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (Hostile(), math.nan),
    ],
)
def test_an_odd_value_in_an_established_layout_arrives_or_is_not_a_number(
    recorder: Recorder, read_recorder: Read, value: Any, arrives: Any
) -> None:
    recorder.record_tick({"pnl": 1.0, "count": 2})
    recorder.record_tick({"pnl": value, "count": 2})
    recorder.record_tick({"pnl": 3.0, "count": 2})
    ticks = read_recorder(recorder).ticks
    assert len(ticks) == 3
    assert same(ticks[1]["pnl"], arrives)
    assert ticks[1]["count"] == 2
    assert ticks[2] == {"pnl": 3.0, "count": 2.0}


@pytest.mark.requirement("F58", "S5-91")
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (None, None),
        (Decimal("1.25"), 1.25),
        (np.float64(2.5), 2.5),
        (np.int64(7), 7),
        (np.array([[1], [2]]), [[1], [2]]),
        (
            {
                3,
            },
            [3],
        ),
        ((1, "a"), [1, "a"]),
        (10**30, 1e30),
        (-(10**30), -1e30),
        (10**400, None),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        (b"bytes", b"bytes"),
        (datetime(2025, 1, 2, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (object(), None),
        (Hostile(), None),
        (math.nan, math.nan),
        (1 + 2j, None),
    ],
)
def test_an_odd_value_in_a_nested_tick_arrives_or_is_nothing(
    recorder: Recorder, read_recorder: Read, value: Any, arrives: Any
) -> None:
    recorder.record_tick({"group": {"odd": value, "fine": 1.5}})
    (tick,) = read_recorder(recorder).ticks
    assert same(tick["group"]["odd"], arrives)
    assert tick["group"]["fine"] == 1.5


def test_what_cannot_be_told_is_counted(recorder: Recorder, read_recorder: Read) -> None:
    recorder.record_tick({"group": {"odd": object()}})
    recorder.record_tick({"a": 1.0})
    recorder.record_tick({"a": 10**400})
    counters = read_recorder(recorder).counters
    assert counters is not None
    assert counters.replaced_values == 2
    assert recorder.counters["replaced_values"] == 2


def test_a_dictionary_that_holds_itself_is_cut_off(recorder: Recorder, read_recorder: Read) -> None:
    tick: dict[str, Any] = {"fine": 1.5}
    tick["self"] = tick
    recorder.record_tick(tick)
    (found,) = read_recorder(recorder).ticks
    assert found["fine"] == 1.5
    assert found["self"]["self"]["fine"] == 1.5


@pytest.mark.parametrize("keys", [[1, 2], [(1, 2)], [None, "a"], ["lone \ud800", "b"]])
def test_keys_that_are_no_text_become_text(
    recorder: Recorder, read_recorder: Read, keys: list[Any]
) -> None:
    recorder.record_tick(dict.fromkeys(keys, 1.0))
    recorder.record_tick({"group": dict.fromkeys(keys, 1.0)})
    first, second = read_recorder(recorder).ticks
    assert len(first) == len(second["group"]) == len(keys)
    assert all(isinstance(key, str) for key in first)


@pytest.mark.parametrize("junk", [None, 3, "text", [1, 2], [("a", 1)], object(), Hostile()])
def test_something_that_is_no_dictionary_never_raises(
    recorder: Recorder, read_recorder: Read, junk: Any
) -> None:
    recorder.record_tick({"a": 1.0})
    recorder.record_tick(junk)
    recorder.record_trade(junk)
    recorder.record_tick({"a": 2.0})
    assert read_recorder(recorder).ticks[-1] == {"a": 2.0}


def test_a_default_dictionary_is_not_changed_by_recording_it(recorder: Recorder) -> None:
    recorder.record_tick({"a": 1.0, "b": 2.0})
    tick = defaultdict(float, a=1.0, c=3.0)
    recorder.record_tick(tick)
    assert set(tick) == {"a", "c"}


def test_a_tick_too_large_for_the_ring_is_dropped_and_counted(
    recorder: Recorder, read_recorder: Read
) -> None:
    recorder.record_tick({"huge": ["x" * 1000] * 100})
    recorder.record_tick({"a": 1.0})
    written = read_recorder(recorder)
    assert written.ticks == [{"a": 1.0}]
    assert written.counters.oversized_records == 1
    assert written.counters.dropped_frames == 1


def test_a_metric_arrives_with_its_labels(recorder: Recorder, read_recorder: Read) -> None:
    recorder.record_metric("slippage_bps", 1.25, venue="XNSE", symbol="TCS")
    recorder.record_metric("slippage_bps", Decimal("2.5"), symbol="TCS", venue="XNSE")
    recorder.record_metric("queue", 3)
    recorder.record_metric("queue", "not a number")  # type: ignore[arg-type]
    series = read_recorder(recorder).series
    labels = {"venue": "XNSE", "symbol": "TCS"}
    assert sorted(series, key=lambda pair: str(pair))[:2] == [
        ({"queue": 3.0}, {}),
        ({"queue": pytest.approx(math.nan, nan_ok=True)}, {}),
    ]
    assert [pair for pair in series if pair[1]] == [
        ({"slippage_bps": 1.25}, labels),
        ({"slippage_bps": 2.5}, labels),
    ]


def test_labels_beyond_the_cap_are_written_in_the_long_form_and_counted(
    recorder: Recorder, read_recorder: Read
) -> None:
    for order in range(2100):
        recorder.record_metric("fill", float(order), order=order)
    written = read_recorder(recorder)
    assert len(written.series) + len(written.events) == 2100
    last = written.events[-1]
    assert last.kind is RecordKind.METRIC
    assert last.body == {"values": {"fill": 2099.0}, "labels": {"order": "2099"}}
    assert written.counters.refused_layouts == len(written.events) > 0


def test_an_error_arrives_with_its_place_and_context(
    recorder: Recorder, read_recorder: Read
) -> None:
    try:
        int("no number")
    except ValueError as error:
        recorder.record_error(error, symbol="TCS")
    recorder.record_error("broker said no", code=7)
    first, second = read_recorder(recorder).events
    assert first.kind is RecordKind.ERROR
    assert first.body["type"] == "ValueError"
    assert "no number" in first.body["message"]
    assert first.body["where"][0].endswith("test_an_error_arrives_with_its_place_and_context")
    assert first.body["context"] == {"symbol": "TCS"}
    assert second.body == {
        "type": "message",
        "message": "broker said no",
        "where": [],
        "context": {"code": 7},
    }


@pytest.mark.requirement("S3-12", "S3-96")
def test_a_trade_with_a_pnl_is_a_closed_trade_and_one_without_is_a_fill(
    recorder: Recorder, read_recorder: Read
) -> None:
    recorder.record_trade({"symbol": "TCS", "pnl": Decimal("150.5"), "execution_time": 0.2})
    recorder.record_trade({"symbol": "TCS", "side": "buy", "quantity": 10, "price": 99.5})
    closed, fill = read_recorder(recorder).events
    assert closed.kind is RecordKind.TRADE_CLOSED
    assert closed.body == {"symbol": "TCS", "pnl": 150.5, "execution_time": 0.2}
    assert fill.kind is RecordKind.FILL


def test_a_state_arrives_with_its_fields(recorder: Recorder, read_recorder: Read) -> None:
    recorder.state("halted", by="risk", state="nested word")
    (event,) = read_recorder(recorder).events
    assert event.kind is RecordKind.STATE
    assert event.body == {"state": "halted", "fields": {"by": "risk", "state": "nested word"}}


numbers = st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.booleans())
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
data = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-(2**63), 2**64 - 1), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ticks=st.lists(st.dictionaries(names, st.one_of(numbers, data), max_size=40), max_size=12))
def test_whatever_is_recorded_is_read(
    tmp_path_factory: pytest.TempPathFactory, read_recorder: Read, ticks: list[dict[str, Any]]
) -> None:
    recorder = Recorder(
        "p", data_dir=tmp_path_factory.mktemp("tape"), frame_bytes=1 << 20, event_bytes=1 << 14
    )
    for tick in ticks:
        recorder.record_tick(tick)
    written = read_recorder(recorder)
    assert len(written.ticks) == len(ticks)
    for tick, found in zip(ticks, written.ticks, strict=True):
        assert set(found) == set(tick)
        for name, value in tick.items():
            if value is None:
                assert found[name] is None or math.isnan(found[name])
            elif isinstance(value, (bool, int)) and isinstance(found[name], float):
                assert found[name] == float(value)
            else:
                assert same(found[name], value)
    assert (written.lost, written.torn, written.skipped_bytes) == (0, 0, 0)


def test_context_may_use_any_name(recorder: Recorder, read_recorder: Read) -> None:
    recorder.record_error("e", error="x", name="y", self="z")
    recorder.state("s", name="n")
    with recorder.timer("t", name="n"):
        pass
    written = read_recorder(recorder)
    assert written.events[0].body["context"] == {"error": "x", "name": "y", "self": "z"}
    assert written.events[1].body["fields"] == {"name": "n"}
    assert written.series[0][1] == {"name": "n"}


def test_without_the_interpreter_lock_recording_is_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    recorder = Recorder("engine", data_dir=tmp_path)
    recorder.record_tick({"a": 1.0})
    assert not recorder.recording
    assert "GIL" in caplog.text
