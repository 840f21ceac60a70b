"""Build the daemon from its settings, run it, and take it down in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from tapewatch._version import __version__
from tapewatch.alerts.book import AlertBook
from tapewatch.alerts.policy import ReceiverPolicy
from tapewatch.config.fields import zone
from tapewatch.config.load import LoadedConfig
from tapewatch.config.model import JsonlReceiverSettings, Settings, WebhookReceiverSettings
from tapewatch.config.view import config_view
from tapewatch.daemon.book_keeping import saved_book
from tapewatch.daemon.core import RETIRED, Core
from tapewatch.daemon.crash_loop import Failures, describe
from tapewatch.daemon.fleet import EngineExpectation, Fleet
from tapewatch.daemon.keeper import Keeper, Retention
from tapewatch.daemon.own_samples import OwnSamples
from tapewatch.daemon.refused_reload import RefusedReload
from tapewatch.daemon.rule_set import RuleSet, load_rule_set
from tapewatch.daemon.service import DaemonService
from tapewatch.daemon.steady_clock import SteadyClock
from tapewatch.daemon.view import Painter
from tapewatch.daemon.whole_config import load_whole_again
from tapewatch.ingest.artifacts import ArtifactWatch
from tapewatch.model.clock import DAY, SECOND
from tapewatch.model.errors import ConfigError, Problem, TapewatchError
from tapewatch.model.notification import DeliveryResult, Notification
from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.dispatcher import Dispatcher
from tapewatch.notify.jsonl import JsonlReceiver
from tapewatch.notify.receiver import Receiver
from tapewatch.notify.registry import ReceiverSettings as RegistrySettings
from tapewatch.notify.registry import create_receiver
from tapewatch.notify.webhook import WebhookSettings
from tapewatch.promql import QueryEngine
from tapewatch.record.paths import tape_directory
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.series.head import Head
from tapewatch.series.merged import MergedQuerier, MillisecondView
from tapewatch.sessions.weekly import WeeklySession
from tapewatch.storage.lock import DirectoryLock
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.stand_in import remove_abandoned
from tapewatch.storage.state import StateStore
from tapewatch.web.app import create_app
from tapewatch.web.server import WebServer
from tapewatch.web.settings import WebSettings

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter from another: bounds the wait of an alert behind a
long query."""
DRAIN_S = 8.0
MAX_SAMPLES = 6_000_000
"""Samples in memory, about 50 MB; beyond it the oldest go to disk before their time."""

log = structlog.get_logger(component="monitoring")


def run(config: LoadedConfig, rules: RuleSet | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT; rules that are not given are loaded."""
    if not config.settings.monitoring.enabled:
        log.info("monitoring_disabled", hint="monitoring.enabled is false")
        return 0
    prepare_directory(config.data_dir)
    with DirectoryLock(config.data_dir):
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        failures = Failures.load(config.data_dir)
        wait_s = failures.wait_s(time.time_ns())
        if wait_s:
            log.critical("crash_loop", seconds=wait_s, hint=describe(failures))
            time.sleep(wait_s)
        started_ns = time.time_ns()
        result = _run_once(config, rules)
        if result == 0:
            failures.clear(config.data_dir)
        else:
            failures.failed(config.data_dir, started_ns, time.time_ns())
        return result


def _run_once(config: LoadedConfig, rules: RuleSet | None) -> int:
    try:
        daemon = Daemon(config, rules)
    except TapewatchError:
        raise  # told as it is: a person can do something about it
    except Exception as error:
        log.critical("start_failed", reason=f"{type(error).__name__}: {error}", exc_info=True)
        return 1
    try:
        return asyncio.run(daemon.run())
    finally:
        daemon.close()


def prepare_directory(path: Path) -> None:
    """Make the data directory, readable by its owner alone.

    Raises:
        TapewatchError: It cannot be made or is not a directory.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tape_directory(path).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if path.is_dir() and (full or not os.access(path, os.W_OK)):
            return  # read-only or full: the daemon starts, and says that it does not persist
        blocking = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
        reason = f"{blocking} is not a directory" if blocking is not None else error.strerror
        raise TapewatchError(
            f"cannot use the data directory {path}: {reason}",
            next_step="name a directory that this user may write: --data-dir DIR",
        ) from error


class Daemon:
    """All parts of one running daemon.

    Start: lock, stores, clock, rules, head, book, core, receivers, sockets; nothing acts before
    all of it stands. Stop, in the other direction: no more requests, the loop's last round, the
    receivers drain, samples are flushed, stores close.
    """

    def __init__(self, config: LoadedConfig, rules: RuleSet | None = None) -> None:
        self.config = config
        self.refused_reload: RefusedReload | None = None
        settings = config.settings
        self.zone = zone(settings.timezone)
        wall = SteadyClock().now_ns()
        self.state = StateStore.open(config.data_dir / "state.db", now_ns=wall, patient=True)
        saved = self.state.load()
        self.clock = SteadyClock(saved.values.get("timeline"))
        now = self.clock.now_ns()
        self.samples = SampleStore.open(config.data_dir / "samples.db", now_ns=now, patient=True)
        self.rules = rules or load_rule_set(config)
        storage = settings.storage
        self.head = Head(
            max_series=storage.max_series,
            max_series_per_source=storage.max_series_per_engine,
            max_samples=MAX_SAMPLES,
        )
        self.querier = MergedQuerier(self.head, self.samples)
        self._durable = {k: dict(v) for k, v in self.samples.watermarks().items()}
        fleet = Fleet(
            tape_directory(config.data_dir),
            head=self.head,
            catalogue=self.rules.catalogue,
            clock=self.clock,
            heartbeat_ns=settings.monitoring.heartbeat_interval,
            expected=_expectations(settings),
            offsets=saved.offsets,
            watermarks=self._durable,
            saved_engines=saved.engines,
            retired={
                name.removeprefix(RETIRED): int(started_ns)
                for name, started_ns in saved.values.items()
                if name.startswith(RETIRED)
            },
            awake_ns=now,
        )
        evaluator = RuleEvaluator(
            self.rules.groups,
            QueryEngine(self.querier, monotonic=time.monotonic),
            started_ns=now,
            record=self.head.append,
            newest=self.head,
            monotonic=time.monotonic,
        )
        evaluator.restore(saved.active_alerts)
        book = AlertBook.from_saved(
            saved_book(saved.values), _policies(settings), **_told_when(settings)
        )
        book.restore(saved.active_alerts, now)
        self.painter = Painter(self.head, self.zone, now)
        self.painter.remember(list(reversed(self.state.alerts(active=False, limit=50))))
        self.receivers = [_receiver(each, config) for each in settings.receivers]
        self.dispatcher = Dispatcher(self.receivers, self._delivered, clock=self.clock)
        self.own = OwnSamples(
            now_ns=self.clock.now_ns,
            dispatcher=self.dispatcher,
            calendar=settings.session.name if settings.session else "always",
            session=_session(settings),
            engines_of={a.name: a.engine for a in settings.artifacts if a.engine},
        )
        self.artifacts = _artifact_watch(config, self.own)
        self.core = Core(
            clock=self.clock,
            head=self.head,
            fleet=fleet,
            evaluator=evaluator,
            book=book,
            state=self.state,
            durable_samples=self._durable,
            offer=self._offer,
            own_samples=self.own,
            on_round=self._after_round,
            on_transition=self.painter.on_transition,
        )
        self.core.committed.update({k: dict(v) for k, v in saved.offsets.items()})
        if self.state.refused is not None:
            self.core.storage_reason = self.state.refused.message
        self.own.storage_reason = lambda: self.core.storage_reason or self.keeper.reason
        self.painter.storage_reason = self.own.storage_reason
        self.own.deviation_ns = lambda: self.core.clock_deviation_ns
        self.own.unreadable = lambda: len(fleet.unreadable)
        snapshots = settings.snapshots
        self.keeper = Keeper(
            clock=self.clock,
            head=self.head,
            samples=self.samples,
            core=self.core,
            painter=self.painter,
            catalogue=self.rules.catalogue,
            zone=self.zone,
            retention=Retention(storage.metrics_retention, storage.alerts_retention),
            snapshots=config.snapshots_directory if snapshots.enabled else None,
            snapshot_ns=snapshots.interval,
            tapes=tape_directory(config.data_dir),
            durable=self._durable,
            prune_alert_files=self._prune_alert_files,
        )
        self.service = DaemonService(
            clock=self.clock,
            core=self.core,
            painter=self.painter,
            head=self.head,
            querier=MillisecondView(self.querier),
            merged=self.querier,
            samples=self.samples,
            queries=QueryEngine(MillisecondView(self.querier), monotonic=time.monotonic),
            state=self.state,
            dispatcher=self.dispatcher,
            catalogue=self.rules.catalogue,
            zone=self.zone,
            data_dir=config.data_dir,
            config_view=self._config_view,
            reload=self.reload,
            refused_reload=lambda: self.refused_reload,
        )
        self.server = WebServer(create_app(self.service, _web_settings(config)))
        self._outbox = saved.outbox
        self.painter.recovered = self._recovered
        self.own.recovered = lambda: len(self._recovered())
        self._told_recovered: set[str] = set()
        self.own.failing = self._failing_rules
        self._told_failing: dict[tuple[str, str], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._core_failed = False

    # -- running ------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until told to stop."""
        self.server.open()
        loop = self._loop = asyncio.get_running_loop()
        self._handle_signals(loop)
        self.dispatcher.start()
        for row in self._outbox:
            self.dispatcher.offer(row.notification, row.attempts)
        if self.state.refused is not None:
            log.error("not_persisting", reason=str(self.state.refused))
        _warn_of(self.rules)
        for directory in remove_abandoned():
            log.info("stand_in_removed", directory=str(directory))
        # What was built lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        core_thread = threading.Thread(target=self._run_core, name="core", daemon=True)
        core_thread.start()
        self.keeper.start()
        serving = asyncio.create_task(self.server.serve(), name="web")
        serving.add_done_callback(self._web_ended)
        log.info(
            "daemon_started",
            version=__version__,
            url=self.server.url,
            data_dir=str(self.config.data_dir),
            rules=sum(len(group.rules) for group in self.rules.groups),
            receivers=[receiver.name for receiver in self.config.settings.receivers],
        )
        await self._stop.wait()
        self.service.draining = True
        log.info("daemon_stopping")
        self.core.stop()
        await asyncio.to_thread(core_thread.join, DRAIN_S)
        await self.dispatcher.stop(DRAIN_S)
        await asyncio.to_thread(self._settle)
        self.server.close()
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(serving, 5)
        if self._failure is not None:
            log.critical(
                "daemon_failed",
                reason=f"{type(self._failure).__name__}: {self._failure}",
                hint="nothing is watched until it is started again",
            )
            return 1
        log.info("daemon_stopped")
        return 0

    def close(self) -> None:
        """Close the stores; safe whatever has been started."""
        self.core.fleet.close()
        self.state.close()
        self.samples.close()

    async def reload(self) -> Mapping[str, Any]:
        """Read configuration and rules again, whole or not at all."""
        try:
            fresh, rules = await asyncio.to_thread(load_whole_again, self.config)
        except ConfigError as error:
            self.own.reload_ok = False
            self.refused_reload = RefusedReload.of(error, self.clock.now_ns())
            log.error("reload_refused", problems=[str(p) for p in error.problems])
            raise
        await asyncio.wrap_future(self.core.submit(lambda: self._apply(fresh, rules)))
        needs_restart = _needs_restart(self.config.settings, fresh.settings)
        self.config, self.rules = fresh, rules
        self.own.reload_ok = True
        self.refused_reload = None
        _warn_of(rules)
        log.info("reloaded", rules=sum(len(g.rules) for g in rules.groups), restart=needs_restart)
        return {
            "status": "reloaded",
            "groups": len(rules.groups),
            "rules": sum(len(group.rules) for group in rules.groups),
            "needs_restart": needs_restart,
        }

    def _apply(self, fresh: LoadedConfig, rules: RuleSet) -> None:
        now = self.clock.now_ns()
        self.core.take(self.core.evaluator.replace_groups(rules.groups, now), now)
        self.core.fleet.expect(_expectations(fresh.settings), self.core.wakefulness.awake_ns(now))
        self.artifacts = _artifact_watch(fresh, self.own)
        self.own.session = _session(fresh.settings)

    def _run_core(self) -> None:
        try:
            self.core.run()
        except BaseException as error:
            self._failure, self._core_failed = error, True
            log.critical("core_failed", reason=f"{type(error).__name__}: {error}", exc_info=True)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def _recovered(self) -> tuple[str, ...]:
        """Return why stores were begun anew; one may be found damaged after the start, too."""
        return tuple(r for r in (self.state.recovered, self.samples.recovered) if r)

    def _failing_rules(self) -> int:
        """Return how many rules fail; a reason that is new is logged."""
        failing = {
            (each.group, each.rule): each.last_error
            for each in self.core.evaluator.health()
            if each.last_error
        }
        if failing != self._told_failing:
            for (group, rule), reason in failing.items():
                if self._told_failing.get((group, rule)) != reason:
                    log.error("rule_failing", group=group, rule=rule, reason=reason)
            self._told_failing = failing
        return len(failing)

    def _after_round(self, core: Core, now_ns: int) -> None:
        for reason in self._recovered():
            if reason not in self._told_recovered:
                self._told_recovered.add(reason)
                log.error("store_recovered", reason=reason)
        self.artifacts.run_due(now_ns, now_ns + self.clock.deviation_ns())
        self.painter.paint(core, now_ns)

    def _web_ended(self, serving: asyncio.Task[None]) -> None:
        if self._stop.is_set() or serving.cancelled():
            return
        self._failure = serving.exception() or RuntimeError("the web server ended by itself")
        log.critical("web_failed", reason=str(self._failure), exc_info=serving.exception())
        self._stop.set()

    def _settle(self) -> None:
        """Commit the last delivery results, then flush samples.

        After a failure of the core nothing is committed: the offsets may be ahead of what the
        failed round has concluded. The next start reads from the last commit, as after any crash.
        """
        if self._core_failed:
            self.keeper.abandon()
        else:
            self.core.finish()
            self.keeper.stop()

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def stop() -> None:
            if self._stop.is_set():
                log.warning("stopped_at_once", hint="a second signal does not wait")
                os._exit(130)
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self._reload_on_signal()))

    async def _reload_on_signal(self) -> None:
        with contextlib.suppress(ConfigError):  # logged, counted and visible as a metric
            await self.reload()

    # -- between threads ----------------------------------------------------------------------

    def _offer(self, notification: Notification, attempts: int) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.dispatcher.offer, notification, attempts)

    def _delivered(self, result: DeliveryResult) -> None:
        self.painter.on_delivery(result)
        self.core.delivered(result)

    def _config_view(self) -> Mapping[str, Any]:
        return config_view(self.config)

    def _prune_alert_files(self, now_ns: int) -> None:
        for receiver in self.receivers:
            if isinstance(receiver, JsonlReceiver):
                with contextlib.suppress(OSError):  # tried again in an hour
                    receiver.prune(now_ns)


def _warn_of(rules: RuleSet) -> None:
    for warning in rules.warnings:
        log.warning("rule_doubtful", problem=str(warning))


def _expectations(settings: Settings) -> dict[str, EngineExpectation]:
    return {each.name: EngineExpectation(each.cadence, each.grace) for each in settings.engines}


def _policies(settings: Settings) -> list[ReceiverPolicy]:
    return [
        ReceiverPolicy(
            each.name,
            min_severity=each.min_severity,
            send_resolved=each.send_resolved,
            reminders=each.reminders,
            send_acknowledged=each.send_acknowledged,
        )
        for each in settings.receivers
    ]


def _told_when(settings: Settings) -> dict[str, Any]:
    cooldowns = settings.alerts.cooldowns
    return {
        "cooldowns": {
            AlertSeverity.INFO: cooldowns.info,
            AlertSeverity.WARNING: cooldowns.warning,
            AlertSeverity.CRITICAL: cooldowns.critical,
            AlertSeverity.EMERGENCY: cooldowns.emergency,
        },
        "repeat_interval_ns": settings.alerts.repeat_interval,
    }


def _receiver(settings: Any, config: LoadedConfig) -> Receiver:
    directory = None
    webhook = None
    if isinstance(settings, JsonlReceiverSettings):
        directory = config.alerts_directory
        if settings.directory is not None:
            directory = config.below_data(settings.directory)
    elif isinstance(settings, WebhookReceiverSettings):
        webhook = _webhook(settings)
    return create_receiver(
        RegistrySettings(
            settings.name,
            settings.kind,
            directory=directory,
            keep_days=config.settings.storage.alerts_retention // DAY,
            webhook=webhook,
            recipients=config.settings.alerts.recipients,
            tz=zone(config.settings.timezone),
        )
    )


def _webhook(settings: WebhookReceiverSettings) -> WebhookSettings:
    try:
        return WebhookSettings(
            url=settings.url.text if settings.url is not None else "",
            secret=settings.secret.get_secret_value() if settings.secret is not None else None,
            deadline_s=settings.deadline / SECOND,
        )
    except ValueError as error:
        raise ConfigError([Problem(f"receivers.{settings.name}", 0, 0, str(error))]) from None


def _session(settings: Settings) -> WeeklySession | None:
    session = settings.session
    if session is None:
        return None
    return WeeklySession.of(
        timezone=session.timezone or settings.timezone,
        weekdays=session.weekdays,
        open=session.open,
        close=session.close,
        holidays=session.holidays,
    )


def _artifact_watch(config: LoadedConfig, own: OwnSamples) -> ArtifactWatch:
    paths = {a.name: config.beside_file(a.path) for a in config.settings.artifacts}
    return ArtifactWatch(paths, own.on_artifact)


def _web_settings(config: LoadedConfig) -> WebSettings:
    settings = config.settings
    token = settings.web.auth_token
    return WebSettings(
        host=settings.listen.host,
        port=settings.listen.port,
        socket_path=config.socket_path,
        token=token.get_secret_value() if token is not None else None,
        behind_proxy=settings.web.trust_tls_proxy,
        metrics_public=settings.web.metrics_public,
        allowed_hosts=settings.web.allowed_hosts,
    )


_LIVE_SECTIONS = ("packs", "rules", "engines", "artifacts", "session")


def _needs_restart(old: Settings, new: Settings) -> list[str]:
    """Return the changed sections that only a restart can apply."""
    return [
        name
        for name in type(old).model_fields
        if name not in _LIVE_SECTIONS and getattr(old, name) != getattr(new, name)
    ]
