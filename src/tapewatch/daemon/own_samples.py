"""The daemon's own series that rules read: artifacts, session, clock, storage, receivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tapewatch.ingest.artifacts import Freshness
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.notify.dispatcher import Dispatcher

ARTIFACT_AGE = "tapewatch_artifact_age_seconds"
ARTIFACT_MISSING = "tapewatch_artifact_missing"
ARTIFACT_UNREADABLE = "tapewatch_artifact_unreadable"
SESSION_OPEN = "tapewatch_session_open"
CLOCK_JUMP = "tapewatch_clock_jump_seconds"
RELOAD_OK = "tapewatch_config_reload_successful"
STORAGE_DEGRADED = "tapewatch_storage_degraded"
RECEIVER_UP = "tapewatch_receiver_up"
NOTIFICATIONS_FAILED = "tapewatch_notifications_failed_total"
TAPES_UNREADABLE = "tapewatch_tapes_unreadable"
RULES_FAILING = "tapewatch_rules_failing"
STORES_RECOVERED = "tapewatch_stores_recovered"


class Session(Protocol):
    """When the market is open."""

    def is_open(self, at_ns: int) -> bool:
        """Return whether the session is open at an instant."""
        ...


class OwnSamples:
    """Gathers what the rules about files, sessions and Tapewatch itself read."""

    def __init__(
        self,
        *,
        now_ns: Callable[[], int],
        dispatcher: Dispatcher,
        calendar: str,
        session: Session | None,
        engines_of: dict[str, str],
    ) -> None:
        self.reload_ok = True
        self.storage_reason: Callable[[], str] = str
        self.deviation_ns: Callable[[], int] = int
        self.unreadable: Callable[[], int] = int
        self.recovered: Callable[[], int] = int
        self.failing: Callable[[], int] = int
        self.session = session
        self._now_ns = now_ns
        self._dispatcher = dispatcher
        self._calendar = Labels({"calendar": calendar})
        self._artifacts: dict[str, Freshness] = {}
        self.engines_of = engines_of
        """The engine that uses each artifact, where the settings name one."""

    def on_artifact(self, name: str, found: Freshness, _now_ns: int) -> None:
        """Take the result of a freshness check."""
        self._artifacts[name] = found

    def __call__(self) -> Iterator[tuple[Labels, float]]:
        """Yield every series with its present value."""
        for name, found in self._artifacts.items():
            labels = Labels({"artifact": name, "engine": self.engines_of.get(name, "")})
            yield labels.with_(__name__=ARTIFACT_MISSING), float(found.missing)
            unreadable = not found.missing and found.age_seconds is None
            yield labels.with_(__name__=ARTIFACT_UNREADABLE), float(unreadable)
            if found.age_seconds is not None:
                yield labels.with_(__name__=ARTIFACT_AGE), found.age_seconds
        is_open = self.session is None or self.session.is_open(self._now_ns())
        yield self._calendar.with_(__name__=SESSION_OPEN), float(is_open)
        yield Labels.of(CLOCK_JUMP), self.deviation_ns() / SECOND
        yield Labels.of(RELOAD_OK), float(self.reload_ok)
        yield Labels.of(STORAGE_DEGRADED), float(bool(self.storage_reason()))
        yield Labels.of(RULES_FAILING), float(self.failing())
        yield Labels.of(STORES_RECOVERED), float(self.recovered())
        yield Labels.of(TAPES_UNREADABLE), float(self.unreadable())
        for stats in self._dispatcher.statistics():
            labels = Labels({"receiver": stats.receiver})
            yield labels.with_(__name__=RECEIVER_UP), float(stats.up)
            failed = stats.outcomes.get("failed", 0) + stats.outcomes.get("expired", 0)
            yield labels.with_(__name__=NOTIFICATIONS_FAILED), float(failed)
