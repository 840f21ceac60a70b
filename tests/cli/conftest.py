"""Commands in processes of their own, and one real daemon for those that look at one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.alert_record import alert_record, record_line
from tapewatch.model.labels import Labels
from tapewatch.model.severity import AlertSeverity
from tapewatch.record import Recorder
from tapewatch.testing.daemon import DaemonProcess, eventually

RULES = """
groups:
  - name: test
    rules:
      - alert: losing
        expr: pnl_daily < 0
        labels: {severity: critical}
        annotations: {summary: 'P&L of {{ $labels.engine }} is {{ $value }}'}
      - alert: many_positions
        expr: positions_count > 20
        labels: {severity: warning}
        annotations: {summary: many positions}
"""
CONFIG = """
packs: []
rules: [rules.yaml]
monitoring: {heartbeat_interval: 1h}
alerts: {cooldowns: {warning: 0s, critical: 0s}}
receivers:
  - {name: jsonl, kind: jsonl}
"""


class Command:
    """Runs ``tapewatch`` as a person would, with nothing of this machine's own settings."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("TAPEWATCH_", "XDG_"))
        }
        self.environ |= {"HOME": str(home)}
        for name in ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NO_COLOR"):
            self.environ.pop(name, None)

    def __call__(
        self, *arguments: str, environ: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [sys.executable, "-m", "tapewatch", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self.environ | dict(environ or {}),
            cwd=self.home,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start without waiting."""
        environ = self.environ | options.pop("environ", {})
        return subprocess.Popen(
            [sys.executable, "-m", "tapewatch", *arguments],
            text=True,
            env=environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )


@pytest.fixture
def command(tmp_path: Path) -> Command:
    home = tmp_path / "home"
    home.mkdir()
    return Command(home)


class Live:
    """A daemon that runs, an engine that it watches, and commands that ask it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "rules.yaml").write_text(RULES)
        self.daemon = DaemonProcess(directory, CONFIG)
        self.daemon.start()
        self.command = Command(directory)
        self.engine = Recorder("momentum", data_dir=self.daemon.data_dir)
        self.tick(250.0)

    @property
    def data_dir(self) -> Path:
        return self.daemon.data_dir

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command(*arguments, "--config", str(self.daemon.config_path))

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def tick(self, pnl: float, positions: int = 3) -> None:
        """Record one tick and wait until the daemon has it."""
        self.engine.record_tick(
            {
                "pnl": {"daily": pnl},
                "positions": {"count": positions},
                "risk": {"circuit_breaker_active": False},
                "connectivity": {"breeze_authenticated": True},
            }
        )
        self.until_pnl(pnl)

    def until_pnl(self, pnl: float) -> None:
        """Wait until the daemon has a tick with this P&L."""

        def arrived() -> bool:
            _, body = self.daemon.get("/api/v1/query?query=pnl_daily")
            result = (body or {}).get("data", {}).get("result", [])
            return bool(result) and float(result[0]["value"][1]) == pnl

        eventually(arrived, f"a tick with P&L {pnl}")

    def until_alerts(self, *rules: str) -> None:
        """Wait until exactly these rules have active alerts."""

        def reached() -> bool:
            found = self.daemon.alerts(active="true")
            return sorted(alert["rule"] for alert in found) == sorted(rules)

        eventually(reached, f"active alerts {rules}")

    def stop(self) -> None:
        self.engine.close()
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.kill(signal.SIGKILL)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A daemon of the test's own."""
    running = Live(tmp_path / "live")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def running_calmly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One daemon for all tests that only look, with nothing wrong."""
    running = Live(tmp_path_factory.mktemp("calm") / "live")
    yield running
    running.stop()


@pytest.fixture
def calm(running_calmly: Live) -> Live:
    """The daemon that nothing is wrong with, its engine's last tick a moment ago."""
    running_calmly.tick(250.0)
    return running_calmly


@pytest.fixture(scope="session")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """What a daemon leaves that was killed while an alert was firing."""
    running = Live(tmp_path_factory.mktemp("left") / "live")
    for step in range(20):
        running.tick(100.0 + step)
    running.tick(-300.0)
    running.until_alerts("losing")
    running.daemon.kill(signal.SIGTERM)
    yield running
    running.stop()


def alert_line(
    rule: str,
    at_ns: int,
    *,
    severity: AlertSeverity = AlertSeverity.WARNING,
    summary: str = "",
) -> str:
    """Return one line of an alert file, with its line end."""
    from datetime import UTC

    alert = Alert(
        id=f"{rule}-{at_ns:x}",
        fingerprint="0123456789abcdef",
        rule=rule,
        group="test",
        severity=severity,
        state=AlertState.FIRING,
        labels=Labels({"alertname": rule}),
        annotations={"summary": summary or f"{rule} fires"},
        value=1.0,
        active_at_ns=at_ns,
        updated_at_ns=at_ns,
        fired_at_ns=at_ns,
    )
    return record_line(alert_record(alert, UTC)) + "\n"


@pytest.fixture
def line_of() -> Any:
    """Make lines of alert files: ``line_of(rule, at_ns, severity=..., summary=...)``."""
    return alert_line
