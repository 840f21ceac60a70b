"""Judge what an engine says of itself: model freshness, broker connection, circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tapewatch.cli.place import Place
from tapewatch.cli.source import SeriesSource
from tapewatch.ingest.artifacts import check_freshness
from tapewatch.model.clock import HOUR, MINUTE, SECOND
from tapewatch.model.duration import format_duration
from tapewatch.model.errors import TapewatchError
from tapewatch.model.health import HealthStatus

STALE_AFTER_HOURS = 24.0
STALE_SETTING = "artifact_stale_hours"
"""The pack's setting that replaces it."""
_FRESH_S = 60.0
_WATCHED = (
    (
        "circuit_breaker",
        "risk_circuit_breaker_active",
        1.0,
        ("inactive", "active: the daily loss limit stopped trading"),
    ),
    (
        "broker",
        "connectivity_breeze_authenticated",
        0.0,
        ("authenticated", "not authenticated: orders cannot reach the broker"),
    ),
)
"""Prefix of the check, metric, the value that is bad, words for good and for bad."""


def trading_checks(source: SeriesSource, place: Place, *, running: bool) -> dict[str, Any]:
    """Return a check for each artifact, broker connection and circuit breaker that is known.

    Bad news counts whatever its age. Good news counts only from a running daemon and only when
    it is fresh: yesterday's open connection says nothing of today's.
    """
    checks = dict(_artifacts(place))
    try:
        for prefix, metric, bad, words in _WATCHED:
            for engine, value, age_s in _last_values(source, metric, running=running):
                checks[f"{prefix}:{engine}"] = _judged(
                    words[value == bad], value == bad, age_s, running=running
                )
    except TapewatchError as error:
        checks["saved samples" if not running else "samples"] = _check(
            HealthStatus.UNKNOWN, error.message
        )
    return checks


def _last_values(
    source: SeriesSource, metric: str, *, running: bool
) -> Iterator[tuple[str, float, float]]:
    """Yield engine, newest value and its age in seconds."""
    at_s = source.latest_s()
    now_s = at_s if running else time.time()
    values = source.query(metric, at_s)["data"]["result"]
    if not values:
        return
    stamps = {
        item["metric"].get("engine", ""): float(item["value"][1])
        for item in source.query(f"timestamp({metric})", at_s)["data"]["result"]
    }
    for item in values:
        engine = item["metric"].get("engine", "")
        yield engine, float(item["value"][1]), max(now_s - stamps.get(engine, at_s), 0.0)


def _judged(words: str, bad: bool, age_s: float, *, running: bool) -> dict[str, Any]:
    ago = f"{words}, {_age(age_s)} ago"
    if bad:
        return _check(HealthStatus.CRITICAL, ago if age_s > _FRESH_S else words)
    if not running or age_s > _FRESH_S:
        return _check(HealthStatus.UNKNOWN, ago)
    return _check(HealthStatus.HEALTHY, words)


def _artifacts(place: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    if place.config is None:
        return
    settings = place.config.settings
    hours = STALE_AFTER_HOURS
    for pack in settings.packs:
        hours = pack.thresholds.get(STALE_SETTING, hours)
    for artifact in settings.artifacts:
        name = f"artifact:{artifact.name}"
        if artifact.engine is not None:
            name += f":{artifact.engine}"
        found = check_freshness(place.config.beside_file(artifact.path), time.time_ns())
        if found.missing:
            yield name, _check(HealthStatus.DEGRADED, f"missing: {artifact.path}")
        elif found.age_seconds is None:
            yield name, _check(HealthStatus.UNKNOWN, found.source)
        else:
            stale = found.age_seconds * SECOND > hours * HOUR
            age = _age(found.age_seconds)
            limit = format_duration(round(hours * HOUR))
            status = HealthStatus.DEGRADED if stale else HealthStatus.HEALTHY
            yield name, _check(status, f"{age} old, {'more' if stale else 'less'} than {limit}")


def _age(seconds: float) -> str:
    """Return an age with no more digits than people read: ``1d1h``, ``2h5m``, ``40s``."""
    grain = HOUR if seconds >= 86_400 else MINUTE if seconds >= 3600 else SECOND
    return format_duration(int(seconds * SECOND) // grain * grain)


def _check(status: HealthStatus, message: str) -> dict[str, Any]:
    return {"status": status, "message": message}
