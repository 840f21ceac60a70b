"""The current metrics of every engine, in the nested form of S5's schema."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any

from tapewatch.alerts.record import format_time
from tapewatch.ingest.flatten import TIME_SUFFIX
from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.metric import MetricCatalogue
from tapewatch.series.head import Head
from tapewatch.web.facade import EngineView

FRESH_NS = 5 * MINUTE


def metrics_snapshot(
    head: Head,
    catalogue: MetricCatalogue,
    engines: Iterable[EngineView],
    now_ns: int,
    zone: tzinfo,
) -> dict[str, Any]:
    """Return ``{"timestamp", "engines": {name: {...nested metrics}}}``.

    A metric with a declared path stands under that path, others under their own name. What has
    no value, or none younger than five minutes, is left out rather than repeated.
    """
    out: dict[str, dict[str, Any]] = {
        view["name"]: {
            "state": view["state"],
            "ticks": view["ticks"],
            "last_tick_age_seconds": view["last_tick_age_seconds"],
        }
        for view in engines
    }
    for labels, _, value in head.latest(since_ns=now_ns - FRESH_NS):
        engine = labels.get("engine")
        if engine not in out or labels.name.startswith("tapewatch_") or len(labels) > 2:
            continue
        definition = catalogue.by_name(labels.name)
        path = definition.path if definition is not None and definition.path else labels.name
        *parents, leaf = path.split(".")
        place = out[engine]
        for parent in parents:
            child = place.setdefault(parent, {})
            place = child if isinstance(child, dict) else out[engine]
        if labels.name.endswith(TIME_SUFFIX) and math.isfinite(value):
            place[leaf] = format_time(int(value * SECOND), zone)
        else:
            place[leaf] = value if math.isfinite(value) else None
    return {"timestamp": format_time(now_ns, zone), "engines": out}


def moment(now_ns: int, zone: tzinfo) -> datetime:
    """Return an instant of the steady timeline as a date and time of the zone."""
    return datetime.fromtimestamp(now_ns / SECOND, zone)
