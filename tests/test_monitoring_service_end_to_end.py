"""``MonitoringService`` in an engine, with a real daemon beside it that also hangs or dies."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tapewatch import MonitoringService
from tapewatch.storage.lock import holder_pid
from tapewatch.testing.daemon import DaemonProcess, eventually, free_port

KOLKATA = ZoneInfo("Asia/Kolkata")
LIMIT_S = 0.050


class TradingEngine:
    """What the equity engine does with monitoring: the service is optional, the call comes last."""

    def __init__(self, monitoring_service: MonitoringService | None = None) -> None:
        self.monitoring_service = monitoring_service
        self.ticks = 0
        self.cash, self.positions = 0.0, {"TCS": 3, "INFY": 2}
        self.halted = False
        self.monitoring_s: list[float] = []

    def metrics(self) -> dict[str, Any]:
        return {
            "heartbeat": {"last_tick": datetime.now(KOLKATA).isoformat(), "uptime_seconds": 1.5},
            "positions": {
                "count": len(self.positions),
                "total_value": 5000.0,
                "symbols": list(self.positions),
            },
            "pnl": {"daily": self.cash, "realized": self.cash, "unrealized": 0.0},
            "risk": {"circuit_breaker_active": self.halted, "daily_loss_pct": 0.1},
        }

    def tick(self, price: float = 1.0) -> None:
        """Trade, then hand the figures over."""
        self.ticks += 1
        self.cash += price
        if self.monitoring_service is not None:
            metrics = self.metrics()
            begin = time.perf_counter()
            self.monitoring_service.record_tick(metrics)
            self.monitoring_s.append(time.perf_counter() - begin)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[DaemonProcess]:
    config = "timezone: Asia/Kolkata\nsnapshots: {interval: 1s}\n"
    with DaemonProcess(tmp_path, config) as daemon:
        yield daemon


@pytest.fixture
def engine(running: DaemonProcess) -> Iterator[TradingEngine]:
    service = MonitoringService(
        "momentum", config=running.config_path, cadence_s=30, start_daemon=False
    )
    yield TradingEngine(service)
    service.close()


def active(engine: TradingEngine) -> list[dict[str, Any]]:
    assert engine.monitoring_service is not None
    return engine.monitoring_service.get_active_alerts()


def written(running: DaemonProcess) -> list[dict[str, Any]]:
    """Return the alert log of today by the configured zone."""
    path = running.data_dir / "logs" / "alerts" / f"{datetime.now(KOLKATA):%Y-%m-%d}.jsonl"
    return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.requirement("S5-03", "S5-46", "S5-62", "S5-74", "S5-83", "S5-92")
def test_an_alert_is_active_until_it_resolves_and_its_life_is_in_the_file_of_the_date(
    running: DaemonProcess, engine: TradingEngine
) -> None:
    engine.tick()
    assert active(engine) == []

    engine.halted = True
    engine.tick()
    (alert,) = eventually(lambda: active(engine), "the breaker's alert to be active")
    assert (alert["rule"], alert["severity"]) == ("circuit_breaker_triggered", "CRITICAL")
    assert alert["context"]["open_positions"] == 2
    assert alert["timestamp"].endswith("+05:30")
    assert not alert["acknowledged"]

    from tapewatch.cli.main import execute

    place = ["--config", str(running.config_path)]
    assert execute(["ack", "circuit_breaker_triggered", "--note", "seen", *place]) == 0
    eventually(lambda: active(engine)[0]["acknowledged"], "the alert to be shown as taken")

    engine.halted = False
    engine.tick()
    eventually(lambda: active(engine) == [], "the resolved alert to be active no more")
    told = eventually(
        lambda: (lines := written(running)) and lines[-1]["state"] == "resolved" and lines,
        "the end to be in the file of the date",
    )
    states = [(line["state"], line["acknowledged"]) for line in told]
    assert states == [("firing", False), ("firing", True), ("resolved", True)]
    assert {line["id"] for line in told} == {alert["id"]}


@pytest.mark.requirement("S5-02", "S5-04", "S5-05", "S5-62", "S5-84")
def test_several_ticks_are_a_series_and_a_snapshot_of_the_last(
    running: DaemonProcess, engine: TradingEngine
) -> None:
    def series() -> list[float]:
        _, body = running.get("/api/v1/query?query=pnl_daily%5B1m%5D")
        result = body["data"]["result"]
        return [float(value) for _, value in result[0]["values"]] if result else []

    expected: list[float] = []
    for price in (10.0, -4.0, 1.5):
        engine.tick(price)
        expected.append(engine.cash)
        # One at a time: of several in one millisecond a query shows the last.
        eventually(lambda: series() == expected, f"{expected} to be the series")

    directory = running.data_dir / "data" / "monitoring"

    def snapshot() -> str:
        newest = sorted(directory.glob("metrics_*.json"))[-1:]
        return newest[0].read_text() if newest else ""

    eventually(lambda: "7.5" in snapshot(), "the last tick to be in a snapshot")
    json.loads(snapshot(), parse_constant=pytest.fail)
    assert {p.name.partition("_")[0] for p in directory.iterdir()} == {"metrics"}


@pytest.mark.requirement("S5-27", "S5-28", "S5-36", "S5-64")
def test_a_daemon_that_hangs_delays_no_tick_and_reads_them_all_later(
    running: DaemonProcess, engine: TradingEngine
) -> None:
    pid = holder_pid(running.data_dir)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3000):
            engine.tick()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sorted(engine.monitoring_s)[int(0.99 * engine.ticks)] < LIMIT_S

    def read() -> bool:
        _, text = running.get("/metrics")
        return 'tapewatch_engine_ticks_total{engine="momentum"} 3000' in str(text)

    eventually(read, "every tick to be read")


def test_an_engine_without_the_service_trades_the_same() -> None:
    engine = TradingEngine()
    engine.tick()
    assert engine.ticks == 1


@pytest.mark.requirement("S5-29", "S5-37", "S5-72", "S5-93")
@pytest.mark.parametrize("harm", ["daemon killed", "data directory removed", "tape removed"])
def test_whatever_breaks_beside_it_the_engine_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    config = tmp_path / "tapewatch.yaml"
    data = tmp_path / "data"
    config.write_text(f"data_dir: {data}\nlisten: 127.0.0.1:{free_port()}\n")
    with caplog.at_level(logging.WARNING, "tapewatch"):
        service = MonitoringService("momentum", config=config)
        pid = eventually(lambda: holder_pid(data), "the daemon to hold the directory")
        engine = TradingEngine(service)
        engine.tick()
        do_harm(harm, data, pid)
        for _ in range(200):
            engine.tick()
        assert service.collect_metrics()["positions"]["count"] == 2
        service.close()
    assert engine.ticks == 201
    assert max(engine.monitoring_s) < 1
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(lines) <= 1, lines


def do_harm(harm: str, data: Path, pid: int) -> None:
    if harm == "daemon killed":
        os.kill(pid, signal.SIGKILL)
    elif harm == "data directory removed":
        shutil.rmtree(data, ignore_errors=True)
    else:
        for tape in (data / "tapes").glob("*.tape"):
            tape.unlink()


@pytest.mark.requirement("S5-01", "S5-30", "S5-60", "S5-78")
def test_what_an_engine_reports_is_what_is_collected(tmp_path: Path) -> None:
    service = MonitoringService("momentum", data_dir=tmp_path, start_daemon=False)
    engine = TradingEngine(service)
    engine.tick(2.5)
    engine.halted = True
    engine.tick(-5.0)

    metrics = service.collect_metrics()
    service.close()

    assert metrics["heartbeat"]["uptime_seconds"] == 1.5
    assert datetime.fromisoformat(metrics["heartbeat"]["last_tick"]).tzinfo is not None
    assert metrics["positions"] == {"count": 2, "total_value": 5000.0, "symbols": ["TCS", "INFY"]}
    assert metrics["pnl"] == {"daily": -2.5, "realized": -2.5, "unrealized": 0.0}
    assert metrics["risk"]["circuit_breaker_active"] is True
    assert datetime.fromisoformat(metrics["timestamp"]).tzinfo is not None


@pytest.mark.requirement("S5-36", "S5-64")
def test_a_tick_with_its_collection_stays_far_below_its_limit(tmp_path: Path) -> None:
    service = MonitoringService("momentum", data_dir=tmp_path, start_daemon=False)
    engine = TradingEngine(service)
    costs = []
    for _ in range(500):
        metrics = engine.metrics()
        begin = time.perf_counter()
        service.record_tick(metrics)
        service.collect_metrics()
        costs.append(time.perf_counter() - begin)
    service.close()
    assert sorted(costs)[int(0.99 * len(costs))] < LIMIT_S
