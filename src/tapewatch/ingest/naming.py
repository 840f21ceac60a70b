"""Give each path of a tick its metric name and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tapewatch.ingest.flatten import TIME_SUFFIX
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_:]")
MAX_NAME_LENGTH = 128


def metric_name(path: str, catalogue: MetricCatalogue, *, is_time: bool = False) -> str:
    """Return the metric name that a path means.

    The catalogue decides where it knows the path; else the path's parts are joined by ``_``.

    >>> metric_name("pnl.daily", MetricCatalogue())
    'pnl_daily'
    >>> metric_name("last_fill", MetricCatalogue(), is_time=True)
    'last_fill_timestamp_seconds'
    """
    known = catalogue.by_path(path)
    if known is not None:
        return known.name
    name = _FORBIDDEN.sub("_", path)
    if not name or name[0].isdigit():
        name = f"_{name}"
    if is_time and not name.endswith(TIME_SUFFIX):
        name += f"_{TIME_SUFFIX}"
    return name[:MAX_NAME_LENGTH]


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """Which columns of a layout become which series."""

    labels: tuple[Labels, ...]
    columns: tuple[int, ...]
    collisions: int
    """Paths whose name another path of the layout had already: refused, and counted."""


def name_columns(
    paths: Sequence[str],
    catalogue: MetricCatalogue,
    labels: Labels,
    *,
    time_paths: frozenset[str] = frozenset(),
) -> NamedColumns:
    """Name each path; two paths of one name are a collision and the first one wins."""
    series: dict[Labels, int] = {}
    collisions = 0
    for column, path in enumerate(paths):
        name = metric_name(path, catalogue, is_time=path in time_paths)
        identity = labels.with_(__name__=name)
        if identity in series:
            collisions += 1
        else:
            series[identity] = column
    return NamedColumns(tuple(series), tuple(series.values()), collisions)
