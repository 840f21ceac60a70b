"""Monitoring as one object in an engine: views, writes, a daemon beside it, never in the way."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapewatch import MonitoringService
from tapewatch.model.errors import StorageError, TapewatchError
from tapewatch.model.severity import AlertSeverity
from tapewatch.storage.lock import holder_pid
from tapewatch.testing.daemon import eventually, free_port

TICK: dict[str, Any] = {
    "timestamp": "2025-10-12T12:34:56+05:30",
    "heartbeat": {"last_tick": "2025-10-12T12:34:56+05:30", "uptime_seconds": 3600},
    "positions": {"count": 3, "total_value": 150000.0, "symbols": ["RELIANCE", "TCS", "INFY"]},
    "pnl": {"daily": 2500.50, "unrealized": 1200.00, "realized": 1300.50},
    "risk": {
        "circuit_breaker_active": False,
        "daily_loss_pct": 0.25,
        "max_position_value": 50000.0,
    },
    "sentiment": {"last_score": 0.65, "provider_errors_1h": 0, "cache_hit_rate": 0.85},
    "connectivity": {"breeze_authenticated": True, "last_api_call": "2025-10-12T12:34:50+05:30"},
    "artifacts": {"teacher_model_age_hours": 12, "student_model_age_hours": 6},
}


def with_risk(**risk: object) -> dict[str, Any]:
    """Return the tick with other values of ``risk``."""
    return {**TICK, "risk": {**TICK["risk"], **risk}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a configuration file for a data directory of the test's own."""
    config = tmp_path / "tapewatch.yaml"
    config.write_text(
        f"data_dir: {tmp_path}/data\nlisten: 127.0.0.1:{free_port()}\ntimezone: Asia/Kolkata\n"
        f"artifacts: [{{name: teacher_model, path: {tmp_path}/teacher.pkl}}]\n"
    )
    return config


@pytest.fixture
def service(place: Path) -> Iterator[MonitoringService]:
    """Return a service without a daemon."""
    made = MonitoringService("alpha", config=place, start_daemon=False)
    yield made
    made.close()


@pytest.mark.requirement("S5-01", "S5-41", "S5-60", "S5-78")
def test_the_collected_metrics_are_the_last_tick_and_what_the_service_knows(
    service: MonitoringService, tmp_path: Path
) -> None:
    (tmp_path / "teacher.pkl").write_bytes(b"model")
    service.record_tick({k: v for k, v in TICK.items() if k != "artifacts"})

    metrics = service.collect_metrics()

    assert metrics["pnl"] == TICK["pnl"]
    assert metrics["positions"]["symbols"] == ["RELIANCE", "TCS", "INFY"]
    assert metrics["heartbeat"]["last_tick"] == TICK["heartbeat"]["last_tick"]
    assert 0 <= metrics["artifacts"]["teacher_model_age_hours"] < 1
    json.dumps(metrics, allow_nan=False)


@pytest.mark.requirement("S5-56", "S5-45", "S5-89")
def test_the_age_of_a_missing_model_is_null_and_missing_is_a_state(
    service: MonitoringService, tmp_path: Path
) -> None:
    assert service.collect_metrics()["artifacts"] == {"teacher_model_age_hours": None}
    assert service.check_artifact_freshness(tmp_path / "teacher.pkl").missing


@pytest.mark.requirement("S5-42", "S5-61", "S5-77")
def test_evaluating_alerts_is_a_view_that_remembers_nothing(service: MonitoringService) -> None:
    assert service.evaluate_alerts(TICK) == []

    for _ in range(2):
        found = {
            (a.rule, a.severity) for a in service.evaluate_alerts(with_risk(daily_loss_pct=-5.2))
        }
        assert found == {
            ("daily_loss_high", AlertSeverity.WARNING),
            ("daily_loss_high", AlertSeverity.CRITICAL),
        }
    assert service.evaluate_alerts(with_risk(daily_loss_pct=5.2)) == [], "a profit never alerts"
    assert [a.rule for a in service.evaluate_alerts({"circuit_breaker_active": True})] == [
        "circuit_breaker_triggered"
    ]


@pytest.mark.requirement("S5-42")
def test_evaluating_alerts_writes_nothing_anywhere(
    service: MonitoringService, tmp_path: Path
) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        found = (p for p in tmp_path.rglob("*") if p.is_file())
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in found}

    before = files()
    assert service.evaluate_alerts(with_risk(circuit_breaker_active=True))
    assert service.get_active_alerts() == []
    assert files() == before


@pytest.mark.requirement("S5-46")
def test_a_damaged_store_is_no_empty_answer_and_is_left_alone(
    service: MonitoringService, tmp_path: Path
) -> None:
    store = tmp_path / "data" / "state.db"
    store.write_bytes(b"this is no database" * 100)
    with pytest.raises(TapewatchError):
        service.get_active_alerts()
    assert store.read_bytes() == b"this is no database" * 100


@pytest.mark.requirement("S5-42", "S5-91")
@pytest.mark.parametrize(
    ("count", "alerts"),
    [
        (np.int64(21), ["position_limits_breached"]),
        (np.float32(20), []),
        (Decimal(21), ["position_limits_breached"]),
        (math.inf, ["position_limits_breached"]),
        (math.nan, []),
        (None, []),
        ("21", []),
        (object(), []),
    ],
)
def test_an_odd_number_is_judged_as_the_daemon_would(
    service: MonitoringService, count: object, alerts: list[str]
) -> None:
    found = service.evaluate_alerts({"positions": {"count": count}})
    assert [alert.rule for alert in found] == alerts


def endless() -> dict[str, Any]:
    made: dict[str, Any] = {"fine": 1}
    made["self"] = made
    return made


@pytest.mark.requirement("S5-29", "S5-91")
@pytest.mark.parametrize(
    "odd",
    [endless(), {"a": endless()}, {1: {2: b"x"}}, {"a": {1, 2}, "b": Decimal("1.5")}, None, 7, "x"],
    ids=str,
)
def test_what_a_tick_may_hold_no_view_fails_at(service: MonitoringService, odd: Any) -> None:
    service.record_tick(odd)

    json.dumps(service.collect_metrics(), allow_nan=False)
    assert service.evaluate_alerts(odd) == []
    path = service.persist_metrics(odd)
    assert path is not None
    json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.requirement("S5-43")
def test_metrics_that_cannot_be_persisted_leave_the_old_file(
    service: MonitoringService, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.json"
    service.persist_metrics({"pnl": 1}, kept)
    with pytest.raises(StorageError, match="nowhere"):
        service.persist_metrics({"pnl": 2}, tmp_path / "nowhere" / "metrics.json")
    assert json.loads(kept.read_text()) == {"pnl": 1}
    assert sorted(p.name for p in tmp_path.glob("kept*")) == ["kept.json"]


@pytest.mark.requirement("S5-45", "S5-08")
def test_the_staleness_of_a_model_is_told_in_hours(
    service: MonitoringService, tmp_path: Path
) -> None:
    model = tmp_path / "teacher.pkl"
    model.write_bytes(b"model")
    written = time.time() - 30 * 3600
    os.utime(model, (written, written))

    hours = service.check_artifact_freshness(model).age_hours
    assert hours is not None and 30 <= hours < 30.1
    assert service.check_artifact_freshness(tmp_path / "none.pkl").age_hours is None
    found = service.evaluate_alerts(service.collect_metrics())
    assert [(alert.rule, alert.severity) for alert in found] == [
        ("stale_teacher_model", AlertSeverity.WARNING)
    ]


@pytest.mark.requirement("S5-43", "S5-40")
def test_metrics_are_persisted_whole_in_a_dated_file_or_where_one_says(
    service: MonitoringService, tmp_path: Path
) -> None:
    dated = service.persist_metrics(TICK)
    named = service.persist_metrics({"pnl": float("nan")}, tmp_path / "here.json")

    assert dated is not None and dated.name.startswith("metrics_")
    assert json.loads(dated.read_text()) == TICK
    assert named is not None and json.loads(named.read_text()) == {"pnl": None}


@pytest.mark.requirement("S5-44", "S5-57", "S5-74", "S5-80")
def test_an_emitted_alert_is_one_line_with_the_six_fields_however_often_it_is_emitted(
    service: MonitoringService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [alert] = service.evaluate_alerts(with_risk(circuit_breaker_active=True))

    with caplog.at_level(logging.WARNING, logger="tapewatch"):
        path = service.emit_alert(alert)
        service.emit_alert(alert)

    assert path is not None
    [line] = path.read_text().splitlines()
    record = json.loads(line)
    assert list(record)[:6] == [
        "timestamp",
        "severity",
        "rule",
        "message",
        "context",
        "acknowledged",
    ]
    assert record["severity"] == "CRITICAL"
    assert record["timestamp"].endswith("+05:30")
    assert {r.component for r in caplog.records} == {"alert"}  # type: ignore[attr-defined]
    assert service.emit_alert(alert, tmp_path / "elsewhere") is not None


@pytest.mark.requirement("S5-20", "S5-30")
def test_disabled_monitoring_has_no_side_effects(tmp_path: Path) -> None:
    config = tmp_path / "tapewatch.yaml"
    config.write_text(f"data_dir: {tmp_path}/data\nmonitoring: {{enabled: false}}\n")

    service = MonitoringService("alpha", config=config)
    service.record_tick(TICK)
    service.record_error("nothing")
    service.close()

    assert sorted(p.name for p in tmp_path.iterdir()) == ["tapewatch.yaml"]
    assert not service.enabled


def test_a_daemon_that_cannot_start_is_told_once_and_no_alert_is_not_the_answer(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken, caplog.at_level(logging.INFO, "tapewatch"):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = tmp_path / "taken.yaml"
        port = taken.getsockname()[1]
        config.write_text(f"data_dir: {tmp_path}/data\nlisten: 127.0.0.1:{port}\n")

        service = MonitoringService("alpha", config=config)
        service.record_tick(TICK)

        def told() -> list[logging.LogRecord]:
            return [r for r in caplog.records if r.levelno >= logging.WARNING]

        (line,) = eventually(told, "the end of the daemon to be logged")
        assert "nobody watches 'alpha'" in line.getMessage()
        assert f"cannot listen on 127.0.0.1:{port}" in line.getMessage()
        assert line.component == "monitoring"  # type: ignore[attr-defined]
        with pytest.raises(TapewatchError, match="nobody knows"):
            service.get_active_alerts()
        service.close()
    assert len(told()) == 1


@pytest.mark.requirement("S5-13")
def test_the_last_tick_is_the_time_of_its_recording_where_the_engine_does_not_say(
    service: MonitoringService,
) -> None:
    assert service.collect_metrics()["heartbeat"]["last_tick"] is None

    before = datetime.now(UTC)
    service.record_tick({"pnl": {"daily": 1.0}})

    last_tick = datetime.fromisoformat(service.collect_metrics()["heartbeat"]["last_tick"])
    assert before <= last_tick <= datetime.now(UTC)


@pytest.mark.requirement("S5-29", "S5-37", "S5-72", "S5-87", "S5-93")
@pytest.mark.parametrize("text", ["data_dir: /proc/nowhere/data\n", "unknown_key: 1\n", "a: [\n"])
def test_a_failed_start_leaves_the_engine_running_with_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    config = tmp_path / "tapewatch.yaml"
    config.write_text(text)

    with caplog.at_level(logging.INFO):
        service = MonitoringService("alpha", config=config)
    service.record_tick(TICK)
    service.close()

    lines = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(lines) == 1, [r.getMessage() for r in lines]


ENGINE = """
import sys, time
from tapewatch import MonitoringService
service = MonitoringService("alpha", config=sys.argv[1], cadence_s=0.05)
print("started", flush=True)
while True:
    service.record_tick({"pnl": {"daily": 1.0}, "risk": {"daily_loss_pct": 0.1}})
    time.sleep(0.05)
"""


@pytest.mark.requirement("S5-27", "S5-28", "S5-46", "S5-82", "S5-92")
def test_the_daemon_beside_the_engine_outlives_it_and_tells_of_its_death(
    place: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(place)], stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        pid = eventually(lambda: holder_pid(data), "the daemon to hold the directory")
        try:
            alerts = data / "logs" / "alerts"
            time.sleep(1.5)
            engine.kill()

            def told() -> bool:
                lines = [x for f in alerts.glob("*.jsonl") for x in f.read_text().splitlines()]
                return any(json.loads(line)["rule"] == "engine_crashed" for line in lines)

            eventually(told, "the crash to be in the alert log")
            other = MonitoringService("beta", config=place, start_daemon=False)
            assert "engine_crashed" in {a["rule"] for a in other.get_active_alerts()}
            other.close()
        finally:
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: holder_pid(data) is None, "the daemon to end")


@pytest.mark.requirement("S5-28")
def test_closing_stops_the_daemon_that_the_service_started(place: Path, tmp_path: Path) -> None:
    service = MonitoringService("alpha", config=place)
    eventually(lambda: holder_pid(tmp_path / "data"), "the daemon to hold the directory")
    service.record_tick(TICK)

    service.close()

    assert holder_pid(tmp_path / "data") is None
