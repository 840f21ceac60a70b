"""Monitoring as one object inside an engine: the recorder, and a daemon beside the process.

The engine's own process only writes the tape. Rules are evaluated and alerts are sent by a
daemon, started as a process of its own if none holds the data directory yet; so the engine's
crash is still told, and nothing that monitoring does can slow or end trading.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapewatch.config.load import LoadedConfig
    from tapewatch.daemon.rule_set import RuleSet
    from tapewatch.ingest.artifacts import Freshness
    from tapewatch.model.alert import Alert
    from tapewatch.record import Recorder

_log = logging.getLogger("tapewatch")
_MONITORING = {"component": "monitoring"}
_ALERT = {"component": "alert"}
_STOP_S = 10.0


class MonitoringService:
    """The service of the equity engine: hand it every tick, ask it about health and alerts.

    ``record_tick`` costs microseconds and never raises. Every other method is a view or an
    explicit write; none of them sends a notification a second time: those are the daemon's.
    If anything fails at the start, one line is logged and the service goes on without effect, as
    it does when ``monitoring.enabled`` is false.

    Args:
        name: The engine's name.
        config: A configuration file; None looks in the usual places.
        data_dir: The data directory; None takes the configured one.
        cadence_s: Seconds between two ticks, when known: a stall is three of them.
        start_daemon: Start a daemon when none holds the data directory.

    >>> service = MonitoringService("doctest", start_daemon=False, enabled=False)
    >>> service.record_tick({"pnl": {"daily": 12.5}})
    >>> service.close()
    """

    def __init__(
        self,
        name: str = "engine",
        *,
        config: str | Path | None = None,
        data_dir: str | Path | None = None,
        cadence_s: float | None = None,
        start_daemon: bool = True,
        enabled: bool | None = None,
    ) -> None:
        self.name = name
        self.enabled = False
        self._recorder: Recorder | None = None
        self._config: LoadedConfig | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._rules: RuleSet | None = None
        self._latest: object = {}
        self._latest_at_ns: int | None = None
        self._started = time.monotonic()
        if enabled is False:
            return
        try:
            self._start(config, data_dir, cadence_s, start_daemon=start_daemon)
        except Exception as error:
            # Trading comes first: the engine runs on, unwatched, and says so once.
            _log.error("monitoring is off: %s: %s", type(error).__name__, error, extra=_MONITORING)
            self.close()

    def _start(
        self,
        config: str | Path | None,
        data_dir: str | Path | None,
        cadence_s: float | None,
        *,
        start_daemon: bool,
    ) -> None:
        from tapewatch.config.load import FlagValue, load_config
        from tapewatch.record import Recorder

        flags = [] if data_dir is None else [FlagValue("--data-dir", "data_dir", str(data_dir))]
        self._config = load_config(Path(config) if config else None, flags=flags)
        if not self._config.settings.monitoring.enabled:
            return
        self._recorder = Recorder(self.name, data_dir=self._config.data_dir, cadence_s=cadence_s)
        if not self._recorder.recording:
            return  # the recorder has said why, once
        if start_daemon:
            self._start_daemon(self._config)
        self.collect_metrics()  # so that no tick pays for what it imports
        self.enabled = True
        _log.info("monitoring %r in %s", self.name, self._config.data_dir, extra=_MONITORING)

    def _start_daemon(self, config: LoadedConfig) -> None:
        from tapewatch.storage.lock import holder_pid

        if holder_pid(config.data_dir) is not None:
            return
        command = [sys.executable, "-m", "tapewatch", "run", "--data-dir", str(config.data_dir)]
        if config.path is not None:
            command += ["--config", str(config.path)]
        log_path = config.data_dir / "daemon.log"
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            said_before = log.tell()
            # A session of its own: Ctrl-C for the engine, or its death, must not end the watcher.
            self._daemon = subprocess.Popen(  # noqa: S603 - our own program and paths
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        threading.Thread(
            target=self._tell_its_end,
            args=(self._daemon, config.data_dir, log_path, said_before),
            name="tapewatch-daemon-end",
            daemon=True,
        ).start()

    def _tell_its_end(
        self, daemon: subprocess.Popen[bytes], data_dir: Path, log_path: Path, said_before: int
    ) -> None:
        """Wait for the daemon, and say so when it ended before this service was closed."""
        from tapewatch.storage.lock import holder_pid

        code = daemon.wait()
        # Another daemon may hold the directory: then the engine is watched all the same.
        if self._daemon is not daemon or holder_pid(data_dir) is not None:
            return
        _log.error(
            "nobody watches %r: the daemon ended with exit code %d%s (its log: %s)",
            self.name,
            code,
            _last_error(log_path, said_before),
            log_path,
            extra=_MONITORING,
        )

    # -- from the engine ----------------------------------------------------------------------

    def record_tick(self, metrics: Mapping[str, Any]) -> None:
        """Record one tick: the nested schema or any flat or nested dictionary. Never raises."""
        recorder = self._recorder
        if recorder is None:
            return
        self._latest = metrics
        self._latest_at_ns = time.time_ns()
        recorder.record_tick(metrics)

    def record_error(self, error: BaseException | str, **context: object) -> None:
        """Record an error, for example ``type="sentiment"``. Never raises."""
        if self._recorder is not None:
            self._recorder.record_error(error, **context)

    def record_trade(self, trade: Mapping[str, Any]) -> None:
        """Record a fill or a closed trade. Never raises."""
        if self._recorder is not None:
            self._recorder.record_trade(trade)

    def close(self) -> None:
        """Say goodbye on the tape, and stop the daemon if this service started it."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()
        daemon, self._daemon = self._daemon, None
        if daemon is not None and daemon.poll() is None:
            daemon.terminate()
            try:
                daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                _log.warning("the daemon (pid %d) is still stopping", daemon.pid, extra=_MONITORING)

    # -- views --------------------------------------------------------------------------------

    def collect_metrics(self) -> dict[str, Any]:
        """Return the present state: the last tick, with what the service itself knows.

        What the engine says of its heartbeat goes before the time of its last ``record_tick``.
        Model ages are null when the file is missing or none is configured.
        """
        from tapewatch.alerts.record import format_time

        now_ns = time.time_ns()
        snapshot: dict[str, Any] = {
            "timestamp": format_time(now_ns, self._zone()),
            **_plain(self._latest),
        }
        heartbeat = snapshot.get("heartbeat")
        uptime = round(time.monotonic() - self._started, 3)
        ticked_ns = self._latest_at_ns
        snapshot["heartbeat"] = {
            "last_tick": None if ticked_ns is None else format_time(ticked_ns, self._zone()),
            "uptime_seconds": uptime,
            **(heartbeat if isinstance(heartbeat, dict) else {}),
        }
        given = snapshot.get("artifacts")
        artifacts: dict[str, Any] = {}
        if self._config is not None:
            for artifact in self._config.settings.artifacts:
                found = self.check_artifact_freshness(self._config.beside_file(artifact.path))
                artifacts[f"{artifact.name}_age_hours"] = found.age_hours
        snapshot["artifacts"] = artifacts | (given if isinstance(given, dict) else {})
        return snapshot

    def evaluate_alerts(self, metrics: Mapping[str, Any]) -> list[Alert]:
        """Return the alerts that these metrics, held long enough, would raise.

        A pure view: nothing is stored, sent or remembered. The rules are the configured ones with
        their effective thresholds, as the first call finds them: it takes half a second, later
        ones milliseconds.

        Raises:
            ConfigError: A rule file or a threshold is wrong.
        """
        if self._config is None:
            return []
        from tapewatch.daemon.rule_set import evaluate_once, load_rule_set

        if self._rules is None:
            self._rules = load_rule_set(self._config)
        return evaluate_once(self._rules, self.name, _bounded(metrics), time.time_ns())

    def get_active_alerts(self) -> list[dict[str, Any]]:
        """Return the firing and unknown alerts as records, from the daemon or what it stored.

        Raises:
            TapewatchError: Neither the daemon nor its store can be read: unknown, not "none".
        """
        if self._config is None:
            return []
        from tapewatch.cli.client import UnreachableError, connect
        from tapewatch.cli.place import find_place

        place = find_place(self._config.path, self._config.data_dir)
        client = connect(place)
        if client is not None:
            with client:
                found: list[dict[str, Any]] = client.get(
                    "/api/tapewatch/alerts", params={"active": "true"}
                )["alerts"]
                return found
        if self._daemon is not None and self._daemon.poll() is not None:
            raise UnreachableError(
                f"the daemon that {self.name!r} started has ended, so nobody knows",
                next_step=f"its log says why: {self._config.data_dir / 'daemon.log'}",
            )
        from tapewatch.cli.persisted import Persisted

        with Persisted(place) as saved:
            return saved.active_alerts()

    def check_artifact_freshness(self, model_path: str | Path) -> Freshness:
        """Return how old a file is; a missing file is a state of its own."""
        from tapewatch.ingest.artifacts import check_freshness

        return check_freshness(Path(model_path), time.time_ns())

    # -- explicit writes ----------------------------------------------------------------------

    def persist_metrics(
        self, metrics: Mapping[str, Any], path: str | Path | None = None
    ) -> Path | None:
        """Write metrics as JSON, whole or not at all; return the file, None when disabled.

        Args:
            metrics: JSON-able.
            path: The file; None writes ``metrics_<timestamp>.json`` into the snapshot directory.

        Raises:
            StorageError: It cannot be written.
        """
        from tapewatch.model.json_line import to_json_line
        from tapewatch.storage.atomic import write_atomic
        from tapewatch.storage.snapshots import write_snapshot

        if path is not None:
            write_atomic(Path(path), to_json_line(_plain(metrics)).encode() + b"\n")
            return Path(path)
        if self._config is None:
            return None
        moment = datetime.now(self._zone())
        return write_snapshot(self._config.snapshots_directory, _plain(metrics), moment)

    def emit_alert(self, alert: Alert, log_path: str | Path | None = None) -> Path | None:
        """Append an alert to the alert log of its date; the same one is written once.

        Args:
            alert: For example from ``evaluate_alerts``.
            log_path: The directory of the dated files; None takes the configured one.

        Returns:
            The file, or None when monitoring is disabled and no directory is given.

        Raises:
            DeliveryError: It cannot be written.
        """
        from tapewatch.alerts.keys import key
        from tapewatch.model.notification import Notification, NotifyReason
        from tapewatch.notify.jsonl import JsonlReceiver
        from tapewatch.notify.jsonl.daily_file import DailyFile

        if log_path is not None:
            directory = Path(log_path)
        elif self._config is not None:
            directory = self._config.alerts_directory
        else:
            return None
        zone = self._zone()
        _log.warning(
            "alert %s (%s): %s", alert.rule, alert.severity.name, alert.message, extra=_ALERT
        )
        JsonlReceiver(directory, tz=zone).write(
            Notification(
                key=key(alert.id, alert.state.value, 1, "emit_alert"),
                receiver="emit_alert",
                reason=NotifyReason.FIRST_NOTIFICATION,
                alerts=(alert,),
                created_at_ns=alert.updated_at_ns,
            )
        )
        return DailyFile(directory, zone).path(alert.updated_at_ns)

    def _zone(self) -> tzinfo:
        from tapewatch.config.fields import zone

        return zone(self._config.settings.timezone if self._config is not None else "UTC")


def _last_error(log_path: Path, start: int) -> str:
    """Return the last error that the command line wrote behind a place of a log, or nothing."""
    mark = "tapewatch: error: "
    try:
        with log_path.open("rb") as log:
            log.seek(start)
            lines = log.read(1 << 20).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    errors = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    return f": {errors[-1]}" if errors else ""


def _bounded(metrics: object) -> dict[str, Any]:
    """Return metrics as the recorder would write them; nothing for what is no dictionary."""
    from tapewatch.record.values import plain

    data = plain(metrics, _no_count)
    return data if isinstance(data, dict) else {}


def _plain(metrics: object) -> dict[str, Any]:
    """Return metrics as JSON-able data, bounded; what JSON has no form for becomes null."""
    strict: dict[str, Any] = _strict(_bounded(metrics))
    return strict


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _no_count() -> None:
    """Take note of a value that cannot be told: the recorder has counted it already."""
