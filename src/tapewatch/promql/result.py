"""What a query answers with, and the limits it runs under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tapewatch.model.errors import QueryLimitError
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import ValueType
from tapewatch.series.querier import SeriesSlice, Times


class QueryTimeoutError(QueryLimitError):
    """The query used up its time; the same query may succeed on a less busy machine."""

    code = "query_timeout"


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How much one query may use."""

    timeout_s: float = 2.0
    """Seconds on the engine's monotonic clock; checked between and inside long steps."""
    max_samples: int = 20_000_000
    """Samples and matrix cells that one query may hold in all, about 9 bytes each."""
    max_points: int = 11_000
    """Points per series of `QueryEngine.range`."""


DEFAULT_LIMITS = QueryLimits()


class VectorSample(NamedTuple):
    """One series' value at one instant. Immutable; a named tuple because results have many."""

    labels: Labels
    time_ns: int
    value: float


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The answer to an instant or a range query; the field of its type is filled."""

    type: ValueType
    vector: tuple[VectorSample, ...] = ()
    matrix: tuple[SeriesSlice, ...] = ()
    """Of a range query sorted by labels."""
    scalar: float | None = None
    string: str = ""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepMatrix:
    """An expression's value at n instants, one row per series; nothing is where not present."""

    times: Times
    labels: tuple[Labels, ...]
    """One per row; the empty set for a scalar expression, which has exactly one row."""
    values: npt.NDArray[np.float64]
    """Shape (rows, n). Undefined where not present."""
    present: npt.NDArray[np.bool_]
    """Shape (rows, n). Every row has at least one True."""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
