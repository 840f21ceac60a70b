"""The syntax tree of a PromQL expression: frozen nodes that know their place in the text.

Trees compare by meaning, not by place. Chains of binary operators hang to the left and may be
thousands of links long, so whatever walks a tree follows ``BinaryExpr.lhs`` in a loop.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from tapewatch.model.labels import METRIC_NAME
from tapewatch.series.querier import Matcher, MatchType


class ValueType(StrEnum):
    """What an expression evaluates to."""

    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    STRING = "string"

    @property
    def words(self) -> str:
        """The type as error messages call it."""
        return {"vector": "instant vector", "matrix": "range vector"}.get(self.value, self.value)


class Edge(StrEnum):
    """``@ start()`` or ``@ end()``: an edge of the query's own range."""

    START = "start"
    END = "end"


class Cardinality(StrEnum):
    """How many series of either side may meet in one match."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    """``group_left``: the left side is the many side."""
    ONE_TO_MANY = "one-to-many"
    """``group_right``: the right side is the many side."""
    MANY_TO_MANY = "many-to-many"
    """Set operators."""


SET_OPERATORS = frozenset({"and", "or", "unless"})
COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})


@dataclass(frozen=True, slots=True, repr=False)
class Expr:
    """Any expression. ``span`` is [start, end) in characters, ``place`` line and column from 1."""

    span: tuple[int, int] = field(default=(0, 0), compare=False, kw_only=True)
    place: tuple[int, int] = field(default=(1, 1), compare=False, kw_only=True)

    @property
    def type(self) -> ValueType:
        """What the expression evaluates to."""
        return ValueType.VECTOR

    def __str__(self) -> str:
        from tapewatch.promql.printer import format_expr

        return format_expr(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NumberLiteral(Expr):
    """A number or a duration used as one, sign included. Equal when the bits are equal."""

    value: float

    @property
    def type(self) -> ValueType:
        return ValueType.SCALAR

    def _bits(self) -> bytes:
        # A NaN equals itself here, and 0 differs from -0: they print and compute differently.
        return b"nan" if self.value != self.value else struct.pack("<d", self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberLiteral) and self._bits() == other._bits()

    def __hash__(self) -> int:
        return hash(self._bits())


@dataclass(frozen=True, slots=True, repr=False)
class StringLiteral(Expr):
    """A text. Bytes that are no UTF-8 are kept as lone surrogates (``surrogateescape``)."""

    value: str

    @property
    def type(self) -> ValueType:
        return ValueType.STRING


@dataclass(frozen=True, slots=True, repr=False)
class VectorSelector(Expr):
    """Picks the newest sample of each matching series at an instant."""

    name: str
    """The metric name when written as a name; empty when there is none."""
    matchers: tuple[Matcher, ...]
    """All tests, the one for ``name`` first."""
    offset_ns: int = 0
    at_ns: int | None = None
    at_edge: Edge | None = None

    @property
    def exact_name(self) -> str:
        """The only metric name that can match, or the empty text when that cannot be told."""
        for matcher in self.matchers:
            if matcher.name == METRIC_NAME and matcher.type is MatchType.EQUAL:
                return matcher.value
        return ""


@dataclass(frozen=True, slots=True, repr=False)
class MatrixSelector(Expr):
    """Picks all samples of each matching series in (t - range, t]."""

    selector: VectorSelector
    range_ns: int

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX


@dataclass(frozen=True, slots=True, repr=False)
class SubqueryExpr(Expr):
    """Evaluates an expression at every multiple of the step in (t - range, t]."""

    expr: Expr
    range_ns: int
    step_ns: int | None = None
    """None means the engine's default step."""
    offset_ns: int = 0
    at_ns: int | None = None
    at_edge: Edge | None = None

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX


@dataclass(frozen=True, slots=True, repr=False)
class ParenExpr(Expr):
    """An expression in parentheses."""

    expr: Expr

    @property
    def type(self) -> ValueType:
        return self.expr.type


@dataclass(frozen=True, slots=True, repr=False)
class UnaryExpr(Expr):
    """``+`` or ``-`` before an expression that is no number literal."""

    op: str
    expr: Expr

    @property
    def type(self) -> ValueType:
        return self.expr.type


@dataclass(frozen=True, slots=True, repr=False)
class Call(Expr):
    """A function call."""

    func: str
    args: tuple[Expr, ...]
    returns: ValueType = ValueType.VECTOR

    @property
    def type(self) -> ValueType:
        return self.returns


@dataclass(frozen=True, slots=True, repr=False)
class AggregateExpr(Expr):
    """An aggregation over series, such as ``sum by (job) (x)``."""

    op: str
    expr: Expr
    param: Expr | None = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """Which series of the two sides belong together."""

    card: Cardinality = Cardinality.ONE_TO_ONE
    labels: tuple[str, ...] = ()
    on: bool = False
    """True: match on ``labels`` alone; False: on all labels but these."""
    include: tuple[str, ...] = ()
    """Labels that ``group_left`` or ``group_right`` copy from the one side."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BinaryExpr(Expr):
    """A binary operation. ``matching`` is None when a side is a scalar."""

    op: str
    lhs: Expr
    rhs: Expr
    matching: VectorMatching | None = None
    return_bool: bool = False

    result: ValueType = field(init=False, compare=False, default=ValueType.SCALAR)

    def __post_init__(self) -> None:
        # Kept, not derived: asking a chain of thousands of links for it would ask every link.
        if ValueType.VECTOR in (self.lhs.type, self.rhs.type):
            object.__setattr__(self, "result", ValueType.VECTOR)

    @property
    def type(self) -> ValueType:
        return self.result

    def _link(self) -> tuple[object, ...]:
        return (self.op, self.rhs, self.matching, self.return_bool)

    def __eq__(self, other: object) -> bool:
        mine: Expr = self
        theirs = other
        while isinstance(mine, BinaryExpr) and isinstance(theirs, BinaryExpr):
            if mine._link() != theirs._link():
                return False
            mine, theirs = mine.lhs, theirs.lhs
        if isinstance(mine, BinaryExpr):
            return False  # asking it again would ask for ever
        return mine == theirs

    def __hash__(self) -> int:
        links = []
        node: Expr = self
        while isinstance(node, BinaryExpr):
            links.append(node._link())
            node = node.lhs
        return hash((tuple(links), node))


def children(node: Expr) -> tuple[Expr, ...]:
    """Return the expressions directly below a node, in the order of the text.

    The selector inside a range selector counts as part of it, not as a child.
    """
    if isinstance(node, BinaryExpr):
        return (node.lhs, node.rhs)
    if isinstance(node, Call):
        return node.args
    if isinstance(node, AggregateExpr):
        return (node.expr,) if node.param is None else (node.param, node.expr)
    if isinstance(node, ParenExpr | UnaryExpr | SubqueryExpr):
        return (node.expr,)
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield the expression and everything below it, parents first, in the order of the text."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def unwrap(expr: Expr) -> Expr:
    """Return the expression without the parentheses around it."""
    while isinstance(expr, ParenExpr):
        expr = expr.expr
    return expr


def selectors(expr: Expr) -> list[VectorSelector]:
    """Return every selector inside an expression, those of range selectors included."""
    found = []
    for node in walk(expr):
        if isinstance(node, MatrixSelector):
            found.append(node.selector)
        elif isinstance(node, VectorSelector):
            found.append(node)
    return found


def metric_names(expr: Expr) -> frozenset[str] | None:
    """Return the metric names an expression reads.

    None when that cannot be told: a selector has no exact name (none, a regular expression, or a
    negated test). An expression without selectors reads nothing: the empty set.
    """
    names = {selector.exact_name for selector in selectors(expr)}
    return None if "" in names else frozenset(names)


def is_label_name(name: str) -> bool:
    """Tell whether a text may name a label or metric: not empty and whole UTF-8."""
    return name != "" and not any("\ud800" <= char <= "\udfff" for char in name)
