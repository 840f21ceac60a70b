"""What the last daemon saved, read without changing a byte of it, for when no daemon runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tapewatch.cli.place import Place
from tapewatch.model.alert_record import alert_record, format_time
from tapewatch.model.clock import SECOND
from tapewatch.model.errors import StorageError, TapewatchError
from tapewatch.model.health import HealthStatus
from tapewatch.storage.database import Database, Settings
from tapewatch.storage.reserve import Reserve
from tapewatch.storage.state import StateStore
from tapewatch.storage.state_schema import STATE_SCHEMA

if TYPE_CHECKING:
    from tapewatch.promql import QueryEngine, QueryResult
    from tapewatch.storage.samples import SampleStore

_READING = Settings(synchronous="NORMAL", busy_seconds=1.0)
_SHOWN = 1000
_LIVE_STATES = ("running", "starting", "stalled", "expected")


class Persisted:
    """The state and sample stores of a data directory. Use it in a ``with`` block.

    Nothing is opened for writing and nothing is repaired: a store that is missing or damaged is
    reported, and stays as it is for the daemon to deal with.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._samples: SampleStore | None = None
        self._queries: QueryEngine | None = None

    def __enter__(self) -> Persisted:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._samples is not None:
            self._samples.close()

    # -- series ---------------------------------------------------------------------------------

    def query(self, text: str, time_s: float | None = None) -> dict[str, Any]:
        """Evaluate PromQL at one instant, by default at the newest sample.

        Raises:
            TapewatchError: There are no saved samples, or the query is wrong.
        """
        at_ns = _ns(self.latest_s() if time_s is None else time_s)
        return _answer(self._engine().instant(text, at_ns), at_ns)

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float) -> dict[str, Any]:
        """Evaluate PromQL at every step of [start, end].

        Raises:
            TapewatchError: As ``query``.
        """
        end_ns = _ns(end_s)
        result = self._engine().range(text, _ns(start_s), end_ns, max(_ns(step_s), 1))
        return _answer(result, end_ns)

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, sorted.

        Raises:
            TapewatchError: There are no saved samples.
        """
        return self._store().label_values("__name__")

    def latest_s(self) -> float:
        """Return the time of the newest sample in Unix seconds, rounded up to a millisecond."""
        bounds = self._store().bounds()
        return time.time() if bounds is None else -(-bounds[1] // 1_000_000) / 1000

    # -- state ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return engines and active alerts as they were when the daemon last wrote."""
        report: dict[str, Any] = {
            "running": False,
            "source": str(self._place.data_dir),
            "health": HealthStatus.UNKNOWN,
            "message": f"no daemon runs for {self._place.data_dir}",
            "engines": [],
            "alerts": [],
        }
        try:
            store = self._state()
            if store is None:
                report["message"] += ", and none has saved anything there"
                return report
            try:
                saved = store.load()
                alerts = store.alerts(active=True, limit=_SHOWN)
            finally:
                store.close()
        except StorageError as error:
            report["message"] += f"; {error}"
            return report
        report["message"] += "; this is what the last one saved"
        report["engines"] = [self._engine_view(n, e) for n, e in sorted(saved.engines.items())]
        alerts.sort(key=lambda alert: (-alert.severity, -alert.updated_at_ns))
        report["alerts"] = [alert_record(alert, self._place.zone) for alert in alerts]
        return report

    def active_alerts(self) -> list[dict[str, Any]]:
        """Return the records of the alerts that were active; empty when nothing was ever saved.

        Raises:
            StorageError: There is a store and it cannot be read.
        """
        store = self._state()
        if store is None:
            return []
        try:
            alerts = store.alerts(active=True, limit=_SHOWN)
        finally:
            store.close()
        return [dict(alert_record(alert, self._place.zone)) for alert in alerts]

    def health(self) -> dict[str, Any]:
        """Return a check for the daemon and one for each engine."""
        report = self.status()
        checks: dict[str, Any] = {
            "daemon": {"status": HealthStatus.UNKNOWN, "message": "no daemon runs"}
        }
        for engine in report["engines"]:
            status = {
                "crashed": HealthStatus.CRITICAL,
                "never_started": HealthStatus.CRITICAL,
                "stopped": HealthStatus.NOT_CONFIGURED,
            }.get(engine["state"], HealthStatus.UNKNOWN)
            checks[f"engine:{engine['name']}"] = {"status": status, "message": engine["reason"]}
        return {
            "status": HealthStatus.UNKNOWN,
            "message": report["message"],
            "checks": checks,
        }

    # -- inside ---------------------------------------------------------------------------------

    def _engine_view(self, name: str, saved: Mapping[str, Any]) -> dict[str, Any]:
        state = str(saved.get("state", "unknown"))
        last = saved.get("last_tick_ns")
        seen = "no tick was seen"
        age = None
        if isinstance(last, int):
            age = max(time.time() - last / SECOND, 0.0)
            seen = f"last tick {format_time(last, self._place.zone)[:19].replace('T', ' ')}"
        # Whoever lived when the daemon ended may be dead by now: nobody has looked since.
        known = state not in _LIVE_STATES
        return {
            "name": name,
            "state": state if known else "unknown",
            "reason": f"{'' if known else 'was '}{state} when the daemon ended; {seen}",
            "last_tick_age_seconds": age,
            "tick_rate": None,
            "ticks": _count(saved, "ticks"),
            "positions": None,
            "equity": None,
            "daily_pnl": None,
        }

    def _state(self) -> StateStore | None:
        path = self._place.data_dir / "state.db"
        if not path.exists():
            return None
        return StateStore(Database(path, STATE_SCHEMA, _READING), Reserve(path))

    def _store(self) -> SampleStore:
        # numpy takes a while to import, and the state alone needs none of it.
        from tapewatch.storage.samples import MAX_SELECTED_SAMPLES, SampleStore
        from tapewatch.storage.samples_schema import SAMPLES_SCHEMA

        if self._samples is None:
            path = self._place.data_dir / "samples.db"
            if not path.exists():
                raise TapewatchError(
                    f"no daemon runs for {self._place.data_dir}, and none has saved samples there",
                    next_step="start it with: tapewatch run",
                )
            self._samples = SampleStore(
                Database(path, SAMPLES_SCHEMA, _READING),
                max_selected=MAX_SELECTED_SAMPLES,
                min_free_bytes=0,
            )
        return self._samples

    def _engine(self) -> QueryEngine:
        from tapewatch.promql import QueryEngine

        if self._queries is None:
            self._queries = QueryEngine(self._store(), monotonic=time.monotonic)
        return self._queries


def _answer(result: QueryResult, at_ns: int) -> dict[str, Any]:
    from tapewatch.web.prometheus_json import envelope, result_json

    text = envelope(result_json(result, at_ns), result.warnings, result.infos)
    answer: dict[str, Any] = json.loads(text)
    return answer


def _ns(seconds: float) -> int:
    return round(seconds * 1000) * (SECOND // 1000)


def _count(saved: Mapping[str, Any], name: str) -> int | None:
    """Add up a count over the finished tapes and those that were being read."""
    parts = [saved.get("finished", {}), *saved.get("tapes", {}).values()]
    counts = [part[name] for part in parts if isinstance(part, Mapping) and name in part]
    return sum(counts) if counts and all(isinstance(c, int) for c in counts) else None
