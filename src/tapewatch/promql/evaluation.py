"""One evaluation of one expression at many instants: limits, notes and the way down the tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, cast

import numpy as np

from tapewatch.model.errors import QueryError, QueryExecutionError, QueryLimitError
from tapewatch.model.labels import Labels
from tapewatch.promql import aggregation, binary, selection
from tapewatch.promql.ast import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
    children,
)
from tapewatch.promql.functions import FUNCTIONS, Invocation
from tapewatch.promql.result import QueryLimits, QueryTimeoutError
from tapewatch.promql.values import Floats, LabelSpace, Value, Vector, Windows, alive_rows
from tapewatch.series.querier import ColumnarQuerier, Times

SAME_LABELSET = "vector cannot contain metrics with the same labelset"


@dataclass(slots=True)
class Evaluation:
    """What is shared by all nodes while one expression is evaluated."""

    querier: ColumnarQuerier
    lookback_ns: int
    limits: QueryLimits
    labels: LabelSpace
    start_ns: int
    """What ``@ start()`` means."""
    end_ns: int
    """What ``@ end()`` means."""
    monotonic: Callable[[], float] | None = None
    deadline: float = 0.0
    strict: bool = False
    """Equal label sets fail even if they never meet at one step, as in a range query."""
    instant: bool = False
    """One instant: orders of rows (sort, topk) are part of the answer."""
    samples: int = 0
    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)
    invariant: frozenset[int] = frozenset()
    """Ids of nodes whose value is the same at every instant."""

    # Limits

    def check(self) -> None:
        """Raise when the time budget is spent."""
        if self.monotonic is not None and self.monotonic() > self.deadline:
            raise QueryTimeoutError(
                f"query timed out in expression evaluation; it may take {self.limits.timeout_s:g} s"
            )

    def charge(self, samples: int) -> None:
        """Count samples or cells before they are made; raise when there are too many."""
        self.samples += samples
        if self.samples > self.limits.max_samples:
            raise QueryLimitError(
                "query processing would load too many samples into memory; "
                f"it may hold {self.limits.max_samples}"
            )

    # Notes that travel with the result

    def warn(self, node: Expr, text: str) -> None:
        """Add a warning about a node of the query."""
        self.warnings[f"PromQL warning: {text} ({node.place[0]}:{node.place[1]})"] = None

    def info(self, node: Expr, text: str) -> None:
        """Add a remark about a node of the query."""
        self.infos[f"PromQL info: {text} ({node.place[0]}:{node.place[1]})"] = None

    def fail(self, node: Expr, message: str) -> NoReturn:
        """Refuse to go on: these data do not allow an answer."""
        raise QueryExecutionError(
            message, position=node.span[0], line=node.place[0], column=node.place[1]
        )

    # Label sets

    def drop_name(self, node: Expr, vector: Vector, *, strict: bool = False) -> Vector:
        """Return the vector without metric names; raise if that makes two rows equal."""
        if vector.drops_name:
            return vector
        if vector.one_name:
            return Vector(vector.labels, vector.values, vector.present, True, True, vector.ordered)
        labels = [self.labels.without_name(one) for one in vector.labels]
        renamed = Vector(labels, vector.values, vector.present, True, False, vector.ordered)
        return self.unite(node, renamed, strict=strict)

    def unite(self, node: Expr, vector: Vector, *, strict: bool = False) -> Vector:
        """Return the vector with rows of equal labels merged; raise if they meet.

        ``strict`` marks results that Prometheus judges over the whole range of a range query.
        """
        if len(set(vector.labels)) == vector.rows:
            return vector
        first: dict[Labels, int] = {}
        target = np.empty(vector.rows, dtype=np.intp)
        alive = alive_rows(vector.present)
        for row, labels in enumerate(vector.labels):
            target[row] = first.setdefault(labels, len(first))
        if strict and self.strict:
            live = target[alive]
            if len(np.unique(live)) != len(live):
                self.fail(node, SAME_LABELSET)
        values = np.zeros((len(first), vector.values.shape[1]))
        present = np.zeros(values.shape, dtype=np.bool_)
        for row in np.flatnonzero(alive).tolist():
            here = vector.present[row]
            into = target.item(row)
            if (present[into] & here).any():
                self.fail(node, SAME_LABELSET)
            values[into][here] = vector.values[row][here]
            present[into] |= here
        return Vector(list(first), values, present, vector.one_name, False, vector.ordered)

    # The way down

    def evaluate(self, node: Expr, times: Times) -> Value:
        """Return the value of a node at every instant of ``times`` (rising, at least one)."""
        if len(times) > 1 and id(node) in self.invariant:
            return repeat(self._visit(node, times[:1]), len(times))
        return self._visit(node, times)

    def vector(self, node: Expr, times: Times) -> Vector:
        """Evaluate a node that the parser has checked to be an instant vector."""
        return cast(Vector, self.evaluate(node, times))

    def _visit(self, node: Expr, times: Times) -> Value:
        if isinstance(node, VectorSelector):
            return selection.instant_vector(self, node, times)
        if isinstance(node, NumberLiteral):
            return np.full(len(times), node.value)
        if isinstance(node, BinaryExpr):
            return self._binary(node, times)
        if isinstance(node, Call):
            return self._call(node, times)
        if isinstance(node, AggregateExpr):
            self.check()
            return aggregation.aggregate(self, node, times)
        if isinstance(node, ParenExpr):
            return self.evaluate(node.expr, times)
        if isinstance(node, MatrixSelector):
            return selection.windows(self, node, times)
        if isinstance(node, SubqueryExpr):
            return selection.subquery(self, node, times)
        if isinstance(node, StringLiteral):
            return node.value
        if isinstance(node, UnaryExpr):
            return self._unary(node, times)
        raise TypeError(f"not an expression: {type(node).__name__}")

    def _binary(self, node: BinaryExpr, times: Times) -> Value:
        # A chain hangs to the left and may be thousands of links long: no recursion here.
        links = [node]
        left_node = node.lhs
        many = len(times) > 1
        while isinstance(left_node, BinaryExpr) and not (many and id(left_node) in self.invariant):
            links.append(left_node)
            left_node = left_node.lhs
        left = self.evaluate(left_node, times)
        for link in reversed(links):
            self.check()
            left = binary.apply(self, link, left, self.evaluate(link.rhs, times))
        return left

    def _unary(self, node: UnaryExpr, times: Times) -> Value:
        value = self.evaluate(node.expr, times)
        if node.op == "+":
            return value
        if not isinstance(value, Vector):
            return -cast(Floats, value)
        negated = Vector(
            value.labels, -value.values, value.present, value.one_name, value.drops_name
        )
        return self.drop_name(node, negated, strict=True)

    def _call(self, node: Call, times: Times) -> Value:
        self.check()
        function = FUNCTIONS[node.func]
        if function.run is None:
            raise QueryError(
                f"not supported yet: {node.func}(): {function.reason}",
                position=node.span[0],
                line=node.place[0],
                column=node.place[1],
            )
        args: list[Value] = []
        if function.evaluates_args:
            args = [self.evaluate(arg, times) for arg in node.args]
        return function.run(Invocation(node, args, times, self))


def repeat(value: Value, steps: int) -> Value:
    """Return a value of one instant as that of many."""
    if isinstance(value, str):
        return value
    if isinstance(value, Vector):
        shape = (value.rows, steps)
        return Vector(
            value.labels,
            np.broadcast_to(value.values, shape),
            np.broadcast_to(value.present, shape),
            value.one_name,
            value.drops_name,
            value.ordered,
        )
    if isinstance(value, Windows):
        shape = (value.rows, steps)
        return Windows(
            value.labels,
            value.times,
            value.values,
            np.broadcast_to(value.lo, shape),
            np.broadcast_to(value.hi, shape),
            np.broadcast_to(value.starts, (steps,)),
            np.broadcast_to(value.ends, (steps,)),
            value.range_ns,
            value.one_name,
        )
    return np.broadcast_to(value, (steps,))


def invariant_nodes(expr: Expr) -> frozenset[int]:
    """Return the ids of the nodes whose value does not depend on the instant.

    Only a selector with ``@`` makes it worth asking: an expression without any has none.
    """
    order: list[Expr] = []
    stack = [expr]
    fixed = False
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(children(node))
        fixed = fixed or _is_fixed(node)
    if not fixed:
        return frozenset()
    found: set[int] = set()
    for node in reversed(order):
        if _is_fixed(node) or _is_steady(node, found):
            found.add(id(node))
    return frozenset(found)


def _is_fixed(node: Expr) -> bool:
    if isinstance(node, MatrixSelector):
        node = node.selector
    if isinstance(node, VectorSelector | SubqueryExpr):
        return node.at_ns is not None or node.at_edge is not None
    return False


def _is_steady(node: Expr, found: set[int]) -> bool:
    """Tell whether a node that is no selector depends on nothing that changes with time."""
    if isinstance(node, VectorSelector | MatrixSelector | SubqueryExpr):
        return False
    if isinstance(node, Call) and FUNCTIONS[node.func].depends_on_time(node):
        return False
    return all(id(child) in found for child in children(node))
