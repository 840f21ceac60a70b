"""Writes a syntax tree as canonical PromQL; parsing the text gives the tree back."""

from __future__ import annotations

import math
import re

from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.duration import format_duration
from tapewatch.model.labels import METRIC_NAME
from tapewatch.promql.ast import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Cardinality,
    Edge,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorMatching,
    VectorSelector,
)
from tapewatch.promql.lexer import KEYWORDS
from tapewatch.promql.precedence import PRECEDENCE, RIGHT_ASSOCIATIVE, UNARY_PRECEDENCE

_METRIC_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_METRIC_NAME = frozenset(
    {"bool", "on", "ignoring", "group_left", "group_right", "atan2", "inf", "nan"}
)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_expr(expr: Expr) -> str:
    """Return the canonical text of an expression.

    Raises:
        ValueError: A duration is no whole number of milliseconds, which PromQL cannot write.
    """
    if isinstance(expr, BinaryExpr):
        return _format_binary(expr)
    if isinstance(expr, NumberLiteral):
        return format_number(expr.value)
    if isinstance(expr, StringLiteral):
        return quote(expr.value)
    if isinstance(expr, ParenExpr):
        return f"({format_expr(expr.expr)})"
    if isinstance(expr, UnaryExpr):
        return f"{expr.op}{_operand(expr.expr, UNARY_PRECEDENCE)}"
    if isinstance(expr, Call):
        return f"{expr.func}({', '.join(format_expr(a) for a in expr.args)})"
    if isinstance(expr, AggregateExpr):
        return _format_aggregate(expr)
    if isinstance(expr, VectorSelector):
        return _format_selector(expr) + _format_shift(expr)
    if isinstance(expr, MatrixSelector):
        selector = expr.selector
        return f"{_format_selector(selector)}[{_duration(expr.range_ns)}]{_format_shift(selector)}"
    if isinstance(expr, SubqueryExpr):
        step = "" if expr.step_ns is None else _duration(expr.step_ns)
        inner = _operand(expr.expr, max(PRECEDENCE.values()) + 1)
        return f"{inner}[{_duration(expr.range_ns)}:{step}]{_format_shift(expr)}"
    raise TypeError(f"not an expression: {type(expr).__name__}")


def format_number(value: float) -> str:
    """Return a number as PromQL writes it, in the fewest digits that keep it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    return text[:-2] if text.endswith(".0") else text


def quote(text: str) -> str:
    """Return a string literal in double quotes."""
    out = []
    for char in text:
        code = ord(char)
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")  # a byte that is no UTF-8
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _format_binary(expr: BinaryExpr) -> str:
    links = []
    node: Expr = expr
    while isinstance(node, BinaryExpr):
        links.append(node)
        if _needs_parentheses(node.lhs, node.op, is_left=True):
            node = ParenExpr(node.lhs)
            break
        node = node.lhs
    parts = [format_expr(node)]
    for link in reversed(links):
        rhs = format_expr(link.rhs)
        if _needs_parentheses(link.rhs, link.op, is_left=False):
            rhs = f"({rhs})"
        parts.append(f" {link.op}{_format_matching(link)} {rhs}")
    return "".join(parts)


def _needs_parentheses(node: Expr, parent: str, *, is_left: bool) -> bool:
    """Tell whether an operand needs parentheses that its tree does not have."""
    mine = _precedence(node)
    if mine is None:
        return False
    outer = PRECEDENCE[parent]
    if isinstance(node, BinaryExpr) and mine == outer:
        return is_left == (parent in RIGHT_ASSOCIATIVE)
    # A unary minus on the right is bound by what stands before it, whatever its precedence.
    if not is_left and not isinstance(node, BinaryExpr):
        return False
    return mine < outer


def _precedence(node: Expr) -> int | None:
    if isinstance(node, BinaryExpr):
        return PRECEDENCE[node.op]
    if isinstance(node, UnaryExpr):
        return UNARY_PRECEDENCE
    if isinstance(node, NumberLiteral) and format_number(node.value)[0] in "+-":
        return UNARY_PRECEDENCE
    return None


def _operand(node: Expr, outer: int) -> str:
    mine = _precedence(node)
    text = format_expr(node)
    if mine is None:
        return f"({text})" if isinstance(node, NumberLiteral) else text
    same_level = mine == outer and isinstance(node, BinaryExpr)
    return f"({text})" if mine < outer or same_level or isinstance(node, NumberLiteral) else text


def _format_matching(expr: BinaryExpr) -> str:
    out = " bool" if expr.return_bool else ""
    matching = expr.matching
    if matching is None or not _needs_matching(matching):
        return out
    out += f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if matching.card in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY):
        word = "group_left" if matching.card is Cardinality.MANY_TO_ONE else "group_right"
        out += f" {word} {_labels(matching.include)}"
    return out


def _needs_matching(matching: VectorMatching) -> bool:
    grouped = matching.card in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
    return matching.on or bool(matching.labels) or grouped


def _format_aggregate(expr: AggregateExpr) -> str:
    out = expr.op
    if expr.without or expr.grouping:
        out += f" {'without' if expr.without else 'by'} {_labels(expr.grouping)} "
    args = [expr.expr] if expr.param is None else [expr.param, expr.expr]
    return f"{out}({', '.join(format_expr(a) for a in args)})"


def _labels(names: tuple[str, ...]) -> str:
    return f"({', '.join(_label(name) for name in names)})"


def _label(name: str) -> str:
    plain = _LABEL_NAME.fullmatch(name) and name.lower() not in ("inf", "nan")
    return name if plain else quote(name)


def _format_selector(selector: VectorSelector) -> str:
    matchers = list(selector.matchers)
    head = ""
    inner = []
    if selector.name:
        matchers = matchers[1:]
        if _METRIC_NAME.fullmatch(selector.name) and _is_free_name(selector.name):
            head = selector.name
        else:
            inner.append(quote(selector.name))
    for m in matchers:
        name = m.name if m.name == METRIC_NAME or _LABEL_NAME.fullmatch(m.name) else quote(m.name)
        inner.append(f"{name}{m.type.value}{quote(m.value)}")
    return head + ("{" + ",".join(inner) + "}" if inner or not head else "")


def _is_free_name(name: str) -> bool:
    """Tell whether a word stands for a metric wherever a selector may stand."""
    return name.lower() not in _NO_METRIC_NAME and name.lower() not in KEYWORDS


def _format_shift(node: VectorSelector | SubqueryExpr) -> str:
    out = ""
    if node.at_edge is not None:
        out += f" @ {'start' if node.at_edge is Edge.START else 'end'}()"
    elif node.at_ns is not None:
        out += f" @ {_seconds(node.at_ns)}"
    if node.offset_ns:
        sign = "-" if node.offset_ns < 0 else ""
        out += f" offset {sign}{_duration(abs(node.offset_ns))}"
    return out


def _seconds(ns: int) -> str:
    whole, rest = divmod(abs(ns) // MILLISECOND, SECOND // MILLISECOND)
    return f"{'-' if ns < 0 else ''}{whole}.{rest:03d}"


def _duration(ns: int) -> str:
    if ns % MILLISECOND:
        raise ValueError(f"{ns} ns is no whole number of milliseconds; PromQL cannot write it")
    return format_duration(ns)
