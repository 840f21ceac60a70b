"""Whatever an engine hands over goes through a real daemon, and never stops it."""

from __future__ import annotations

import math
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapewatch.record import Recorder
from tapewatch.testing.daemon import DaemonProcess, eventually

Daemon = Callable[..., DaemonProcess]


class Side(Enum):
    BUY = "buy"


class Level(IntEnum):
    HIGH = 3


class Hostile:
    """An object that fails however it is looked at."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def endless() -> dict[str, Any]:
    """Return a dictionary that holds itself."""
    made: dict[str, Any] = {"fine": 1}
    made["self"] = made
    return made


def deep(levels: int) -> dict[str, Any]:
    """Return so many dictionaries in one another."""
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"deeper": made}
    return made


def deep_list(levels: int) -> list[Any]:
    """Return so many lists in one another."""
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


ODD: list[Any] = [
    datetime(2025, 1, 2, tzinfo=UTC),
    datetime(2025, 1, 2),  # noqa: DTZ001 - engines do that
    date(2025, 1, 2),
    timedelta(1),
    b"\xff\x00",
    Decimal("1.5"),
    Decimal("NaN"),
    Decimal("1e999"),
    Side.BUY,
    Level.HIGH,
    np.float64(1.5),
    np.int64(2),
    np.bool_(True),
    np.datetime64("2025-01-02"),
    np.array([1, 2]),
    {1, 2},
    frozenset("a"),
    "x" * 100_000,
    "\x00",
    "a\nb\x1b[2J",
    "\ud800",
    math.nan,
    math.inf,
    -math.inf,
    endless(),
    deep(700),
    deep_list(900),
    {1: 2, None: 3, (1, 2): 4, b"k": 5, 2.5: 1, Side.BUY: 1},
    {"nested": {b"k": 1}},
    {"nested": {datetime(2025, 1, 2, tzinfo=UTC): 1}},
    {"nested": {(1, 2): 1}},
    {"nested": {None: 1}},
    {"\ud800": 1},
    2**63,
    2**64 - 1,
    -(2**63),
    10**400,
    uuid.UUID(int=1),
    Path("/x"),
    1 + 2j,
    range(3),
    object,
    Hostile(),
    None,
]


@pytest.fixture
def running(daemon: Daemon) -> DaemonProcess:
    return daemon().start()


@pytest.fixture
def recorder(running: DaemonProcess) -> Iterator[Recorder]:
    made = Recorder("odd", data_dir=running.data_dir, cadence_s=100)
    yield made
    made.close()


def record_everywhere(recorder: Recorder, odd: Any) -> None:
    """Hand an odd value over in every place that takes one."""
    recorder.record_tick(odd)
    recorder.record_tick({"odd": odd, "fine": 1.0})
    recorder.record_tick({"group": {"odd": odd, "fine": 1.0}})
    recorder.record_metric("odd_metric", odd, label=odd)
    recorder.record_metric(odd, 1.0)
    recorder.record_error(odd)
    recorder.record_error("text", type=odd, odd=odd)
    recorder.record_error(ValueError(odd), odd=odd)
    recorder.record_trade(odd)
    recorder.record_trade({"pnl": odd, "symbol": odd})
    recorder.state("odd", field=odd)


def metric(running: DaemonProcess, series: str) -> float:
    """Return a value from ``/metrics``; -1 when it is not there."""
    status, body = running.get("/metrics")
    assert status == 200, running.log_tail()
    lines = [line for line in str(body).splitlines() if line.startswith(f"{series} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else -1.0


def last_event(running: DaemonProcess) -> int:
    """Return the number of the last event that was committed."""
    connection = sqlite3.connect(f"file:{running.data_dir}/state.db?mode=ro", uri=True)
    try:
        (number,) = connection.execute("SELECT max(number) FROM events").fetchone()
    finally:
        connection.close()
    return int(number or 0)


@pytest.mark.requirement("S5-29", "S5-72", "S5-91", "F58")
@pytest.mark.timeout(120)
def test_no_value_that_an_engine_hands_over_stops_the_daemon(
    running: DaemonProcess, recorder: Recorder
) -> None:
    for index, odd in enumerate(ODD):
        record_everywhere(recorder, odd)
        recorder.record_tick({"marker": float(index)})
        eventually(
            lambda i=index: metric(running, 'marker{engine="odd"}') == i,
            f"the tick behind {type(odd).__name__} number {index} to be read",
        )

    before = last_event(running)
    recorder.record_trade({"symbol": "TCS", "pnl": 1.0})
    eventually(lambda: last_event(running) > before, "an event behind them all to be durable")
    assert running.get("/readyz")[0] == 200
    assert metric(running, "tapewatch_storage_degraded") == 0
    for path in ("/", "/status", "/health/detailed", "/api/tapewatch/alerts"):
        assert running.get(path)[0] == 200, path
    assert [x for x in running.log_lines() if x["level"] in ("error", "critical")] == []

    # Nothing of it is in the way of a restart either, which reads the store and the tape again.
    running.kill()
    running.start()
    recorder.record_tick({"marker": -5.0})
    eventually(lambda: metric(running, 'marker{engine="odd"}') == -5, "ticks to be read again")


@pytest.mark.requirement("S5-07", "S5-70", "S5-100")
def test_errors_that_the_engine_names_raise_the_alerts_for_them(
    running: DaemonProcess, recorder: Recorder
) -> None:
    for _ in range(5):
        recorder.record_error(TimeoutError("no answer"), type="sentiment")
    recorder.record_error("unrelated")
    eventually(
        lambda: (
            metric(running, 'tapewatch_engine_errors_total{engine="odd",type="sentiment"}') == 5
        ),
        "five errors to be counted",
    )
    assert running.alerts(active="true") == [], "five in the hour is the limit"

    recorder.record_error("503 from the provider", type="sentiment")
    recorder.record_error(PermissionError("session expired"), type="authentication")

    def raised() -> dict[str, str]:
        return {a["rule"]: a["severity"] for a in running.alerts(active="true")}

    expected = {"sentiment_failures_high": "WARNING", "authentication_failed": "CRITICAL"}
    eventually(lambda: raised() == expected, f"{expected} to be raised, not {raised()}")


@pytest.mark.requirement("S5-56", "F58")
def test_null_is_no_value_and_nan_is_an_invalid_one_whatever_else_arrives(
    running: DaemonProcess, recorder: Recorder
) -> None:
    def invalid() -> tuple[float, float]:
        name = "tapewatch_engine_invalid"
        return (
            metric(running, f'{name}{{engine="odd"}}'),
            metric(running, f'{name}_values_total{{engine="odd"}}'),
        )

    def marked(value: float) -> None:
        recorder.record_metric("marker", value)
        eventually(lambda: metric(running, 'marker{engine="odd"}') == value, "it to be read")

    recorder.record_tick({"artifacts": {"teacher_model_age_hours": None}, "pnl": {"daily": 1.0}})
    marked(1)
    assert invalid() == (0, 0)

    recorder.record_tick({"pnl": {"daily": math.nan}})
    marked(2)
    eventually(lambda: invalid() == (1, 1), "the value to be counted, and to stay the newest")

    recorder.record_tick({"pnl": {"daily": 1.0}})
    eventually(lambda: invalid() == (0, 1), "a good value to end that")

    for value in (1.0, None, 1.0, None):
        recorder.record_tick({"model_age": value})
    marked(3)
    assert invalid() == (0, 1)
