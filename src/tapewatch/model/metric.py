"""What is known of a metric besides its samples: type, unit, help, and the names it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    INFO = "info"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric as a pack declares it."""

    name: str
    """The metric name, for example ``pnl_daily``."""
    type: MetricType = MetricType.GAUGE
    unit: str = ""
    help: str = ""
    path: str = ""
    """Dotted path in an engine's tick, for example ``pnl.daily``; empty if it has none."""
    aliases: tuple[str, ...] = ()
    """Other paths or flat names that mean the same metric."""


class MetricCatalogue:
    """Finds definitions by metric name and by the path an engine uses.

    Raises:
        ValueError: Two definitions claim one name or one path.
    """

    def __init__(self, definitions: Iterable[MetricDefinition] = ()) -> None:
        self._by_name: dict[str, MetricDefinition] = {}
        self._by_path: dict[str, MetricDefinition] = {}
        for definition in definitions:
            if definition.name in self._by_name:
                raise ValueError(f"metric {definition.name!r} is declared twice")
            self._by_name[definition.name] = definition
            for path in filter(None, (definition.path, *definition.aliases)):
                if path in self._by_path:
                    raise ValueError(
                        f"path {path!r} is claimed by {self._by_path[path].name!r} "
                        f"and {definition.name!r}"
                    )
                self._by_path[path] = definition

    def by_name(self, name: str) -> MetricDefinition | None:
        """Return the definition of a metric, or None."""
        return self._by_name.get(name)

    def by_path(self, path: str) -> MetricDefinition | None:
        """Return the definition that a tick's dotted path means, or None."""
        return self._by_path.get(path)

    @property
    def definitions(self) -> Mapping[str, MetricDefinition]:
        """All definitions by metric name."""
        return self._by_name
