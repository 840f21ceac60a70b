"""The query engine: one expression over one querier, at an instant, over steps or anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tapewatch.model.clock import MINUTE
from tapewatch.model.errors import QueryError, QueryLimitError
from tapewatch.model.labels import EMPTY, Labels
from tapewatch.promql.ast import Expr, SubqueryExpr, ValueType, selectors, walk
from tapewatch.promql.evaluation import Evaluation, invariant_nodes
from tapewatch.promql.parser import parse
from tapewatch.promql.result import (
    DEFAULT_LIMITS,
    QueryLimits,
    QueryResult,
    StepMatrix,
    VectorSample,
)
from tapewatch.promql.values import LabelSpace, Value, Vector, Windows, alive_rows, pick
from tapewatch.series.querier import (
    ColumnarQuerier,
    Matcher,
    Querier,
    Selection,
    SeriesSlice,
    Times,
)

_cached_parse = lru_cache(maxsize=512)(parse)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the engine must know of an expression before it evaluates it; found once per text."""

    invariant: frozenset[int]
    has_edges: bool
    """It uses ``@ start()`` or ``@ end()``."""


class _ByColumns:
    """Asks a querier that knows no tables."""

    def __init__(self, querier: Querier) -> None:
        self.select = querier.select
        self.label_names = querier.label_names
        self.label_values = querier.label_values
        self.series = querier.series

    def columns(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        first_ns: int | None = None,
    ) -> Selection:
        """Return all samples in [start, end]: more than instants need does no harm."""
        return Selection.of(self.select(matchers, start_ns, end_ns))


class QueryEngine:
    """Evaluates PromQL with the semantics of Prometheus 3.5.

    Args:
        querier: Where series come from.
        lookback_ns: How far back an instant selector reaches, the edge itself left out.
        limits: What one query may use.
        monotonic: Seconds that only rise; without it queries have no time limit.

    Safe for use from several threads at once: all that queries share are caches of derivations.
    """

    def __init__(
        self,
        querier: Querier,
        *,
        lookback_ns: int = 5 * MINUTE,
        limits: QueryLimits = DEFAULT_LIMITS,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._querier = querier if isinstance(querier, ColumnarQuerier) else _ByColumns(querier)
        self._lookback_ns = lookback_ns
        self._limits = limits
        self._monotonic = monotonic
        self._labels = LabelSpace()
        self._shapes: dict[int, tuple[Expr, _Shape]] = {}

    def instant(self, expr: Expr | str, at_ns: int) -> QueryResult:
        """Return the value of an expression at one instant (nanoseconds since the epoch).

        Raises:
            QueryError: The text is no valid expression, or uses what is not supported.
            QueryExecutionError: The data do not allow an answer.
            QueryLimitError: It takes too long or too much.
        """
        node = _cached_parse(expr) if isinstance(expr, str) else expr
        times = np.array([at_ns], dtype=np.int64)
        evaluation = self._evaluation(at_ns, at_ns, self._shape(node).invariant)
        evaluation.instant = True
        with np.errstate(all="ignore"):
            value = evaluation.evaluate(node, times)
        return _instant_result(evaluation, value, at_ns)

    def range(self, expr: Expr | str, start_ns: int, end_ns: int, step_ns: int) -> QueryResult:
        """Return the values of an expression at start, start + step, ... up to the end.

        Raises:
            QueryError: As `instant`; also if the expression is no scalar or instant vector.
            QueryLimitError: As `instant`; also for more points per series than allowed.
        """
        node = _cached_parse(expr) if isinstance(expr, str) else expr
        if step_ns <= 0:
            raise QueryError(f"zero or negative query resolution step: {step_ns} ns")
        if end_ns < start_ns:
            raise QueryError("end timestamp must not be before start time")
        steps = (end_ns - start_ns) // step_ns + 1
        if steps > self._limits.max_points:
            raise QueryLimitError(
                f"exceeded maximum resolution of {self._limits.max_points} points per "
                f"timeseries: the range has {steps}; increase the step"
            )
        if node.type not in (ValueType.SCALAR, ValueType.VECTOR):
            raise QueryError(
                f'invalid expression type "{node.type.words}" for range query, '
                "must be Scalar or instant Vector"
            )
        times = start_ns + np.arange(steps, dtype=np.int64) * step_ns
        evaluation = self._evaluation(start_ns, end_ns, self._shape(node).invariant)
        evaluation.strict = True
        with np.errstate(all="ignore"):
            value = evaluation.evaluate(node, times)
        matrix = [
            SeriesSlice(row.labels, row.times, row.values)
            for row in _rows(evaluation, value, times)
        ]
        matrix.sort(key=lambda series: series.labels.pairs)
        return QueryResult(
            ValueType.MATRIX,
            matrix=tuple(matrix),
            warnings=tuple(evaluation.warnings),
            infos=tuple(evaluation.infos),
        )

    def at(self, expr: Expr | str, times: Times) -> StepMatrix:
        """Return the values of an expression at any rising instants, in one pass.

        Equals an instant query at each of them; ``@ start()`` and ``@ end()`` are each instant
        itself. Bounded by samples and time, not by the number of instants.

        Raises:
            QueryError: As `instant`; also if the expression is no scalar or instant vector.
        """
        node = _cached_parse(expr) if isinstance(expr, str) else expr
        if node.type not in (ValueType.SCALAR, ValueType.VECTOR):
            raise QueryError(
                f'invalid expression type "{node.type.words}", must be Scalar or instant Vector'
            )
        if not len(times):
            nothing = np.zeros((0, 0))
            return StepMatrix(times, (), nothing, nothing.astype(np.bool_))
        shape = self._shape(node)
        if shape.has_edges and len(times) > 1:
            return self._one_by_one(node, times)
        evaluation = self._evaluation(int(times[0]), int(times[-1]), shape.invariant)
        with np.errstate(all="ignore"):
            value = evaluation.evaluate(node, times)
        return _matrix(evaluation, value, times)

    def _one_by_one(self, node: Expr, times: Times) -> StepMatrix:
        """Evaluate each instant alone and put the columns together."""
        rows: dict[Labels, int] = {}
        labels: list[Labels] = []
        cells: list[tuple[int, int, float]] = []
        warnings: dict[str, None] = {}
        infos: dict[str, None] = {}
        for column in range(len(times)):
            part = self.at(node, times[column : column + 1])
            warnings.update(dict.fromkeys(part.warnings))
            infos.update(dict.fromkeys(part.infos))
            for own, value in zip(part.labels, part.values[:, 0].tolist(), strict=True):
                row = rows.setdefault(own, len(rows))
                if row == len(labels):
                    labels.append(own)
                cells.append((row, column, value))
        values = np.zeros((len(labels), len(times)))
        present = np.zeros(values.shape, dtype=np.bool_)
        for row, column, value in cells:
            values[row, column] = value
            present[row, column] = True
        return StepMatrix(times, tuple(labels), values, present, tuple(warnings), tuple(infos))

    def _evaluation(self, start_ns: int, end_ns: int, invariant: frozenset[int]) -> Evaluation:
        monotonic = self._monotonic
        return Evaluation(
            self._querier,
            self._lookback_ns,
            self._limits,
            self._labels,
            start_ns,
            end_ns,
            monotonic,
            monotonic() + self._limits.timeout_s if monotonic is not None else 0.0,
            invariant=invariant,
        )

    def _shape(self, node: Expr) -> _Shape:
        known = self._shapes.get(id(node))
        if known is not None and known[0] is node:
            return known[1]
        edges = any(selector.at_edge is not None for selector in selectors(node))
        edges = edges or any(isinstance(n, SubqueryExpr) and n.at_edge for n in walk(node))
        shape = _Shape(invariant_nodes(node), edges)
        if len(self._shapes) >= 4096:
            self._shapes.clear()
        # The expression is kept with its id, so the id cannot come to mean another one.
        self._shapes[id(node)] = (node, shape)
        return shape


def _instant_result(evaluation: Evaluation, value: Value, at_ns: int) -> QueryResult:
    warnings, infos = tuple(evaluation.warnings), tuple(evaluation.infos)
    if isinstance(value, Vector):
        labels = evaluation.labels.labels_of(value)
        present = value.present[:, 0].tolist()
        samples = tuple(
            [
                VectorSample(own, at_ns, number)
                for own, number, here in zip(
                    labels, value.values[:, 0].tolist(), present, strict=True
                )
                if here
            ]
        )
        return QueryResult(ValueType.VECTOR, vector=samples, warnings=warnings, infos=infos)
    if isinstance(value, Windows):
        matrix = tuple(
            SeriesSlice(own, value.times[lo:hi], value.values[lo:hi])
            for own, lo, hi in zip(
                value.labels, value.lo[:, 0].tolist(), value.hi[:, 0].tolist(), strict=True
            )
            if hi > lo
        )
        return QueryResult(ValueType.MATRIX, matrix=matrix, warnings=warnings, infos=infos)
    if isinstance(value, str):
        return QueryResult(ValueType.STRING, string=value, warnings=warnings, infos=infos)
    number = value.item(0)
    return QueryResult(ValueType.SCALAR, scalar=number, warnings=warnings, infos=infos)


def _rows(evaluation: Evaluation, value: Value, times: Times) -> list[SeriesSlice]:
    matrix = _matrix(evaluation, value, times)
    full = np.logical_and.reduce(matrix.present, axis=1).tolist()
    return [
        SeriesSlice(own, times, matrix.values[row])
        if full[row]
        else SeriesSlice(own, times[matrix.present[row]], matrix.values[row][matrix.present[row]])
        for row, own in enumerate(matrix.labels)
    ]


def _matrix(evaluation: Evaluation, value: Value, times: Times) -> StepMatrix:
    warnings, infos = tuple(evaluation.warnings), tuple(evaluation.infos)
    if not isinstance(value, Vector):
        row = np.asarray(value, dtype=np.float64)[None, :]
        present = np.ones(row.shape, dtype=np.bool_)
        return StepMatrix(times, (EMPTY,), row, present, warnings, infos)
    labels = evaluation.labels.labels_of(value)
    values, present = value.values, value.present
    alive = alive_rows(present)
    if not alive.all():
        labels = pick(labels, alive)
        values, present = values[alive], present[alive]
    return StepMatrix(times, tuple(labels), values, present, warnings, infos)
