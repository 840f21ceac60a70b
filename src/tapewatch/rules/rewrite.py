"""Put other numbers into a rule: how settings change thresholds, windows and durations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapewatch.promql.ast import (
    COMPARISONS,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
    unwrap,
)


def with_threshold(expr: Expr, old: float, new: float) -> Expr | None:
    """Return the expression with a constant that it compares with replaced.

    Args:
        expr: The expression.
        old: The constant to look for; every comparison with it is changed.
        new: What to compare with instead.

    Returns:
        None if nothing in the expression is compared with the old constant.
    """
    wanted, literal = NumberLiteral(old), NumberLiteral(new)
    done = False

    def change(node: Expr) -> Expr:
        nonlocal done
        if not isinstance(node, BinaryExpr) or node.op not in COMPARISONS:
            return node
        if unwrap(node.rhs) == wanted:
            done = True
            return replace(node, rhs=literal)
        if unwrap(node.lhs) == wanted:
            done = True
            return replace(node, lhs=literal)
        return node

    changed = rebuilt(expr, change)
    return changed if done else None


def with_offset(expr: Expr, offset_ns: int) -> Expr | None:
    """Return the expression with every ``offset`` in it replaced; None if there is none."""
    done = False

    def change(node: Expr) -> Expr:
        nonlocal done
        if isinstance(node, VectorSelector | SubqueryExpr) and node.offset_ns:
            done = True
            return replace(node, offset_ns=offset_ns)
        if isinstance(node, MatrixSelector) and node.selector.offset_ns:
            done = True
            return replace(node, selector=replace(node.selector, offset_ns=offset_ns))
        return node

    changed = rebuilt(expr, change)
    return changed if done else None


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return the expression with ``change`` applied to every node, inner nodes first.

    Follows chains of operators in a loop: they may be thousands of links long.
    """
    chain: list[BinaryExpr] = []
    node = expr
    while isinstance(node, BinaryExpr):
        chain.append(node)
        node = node.lhs
    result = change(_with_children(node, change))
    for link in reversed(chain):
        result = change(replace(link, lhs=result, rhs=rebuilt(link.rhs, change)))
    return result


def _with_children(node: Expr, change: Callable[[Expr], Expr]) -> Expr:
    if isinstance(node, Call):
        return replace(node, args=tuple(rebuilt(arg, change) for arg in node.args))
    if isinstance(node, AggregateExpr):
        param = None if node.param is None else rebuilt(node.param, change)
        return replace(node, expr=rebuilt(node.expr, change), param=param)
    if isinstance(node, ParenExpr | UnaryExpr | SubqueryExpr):
        return replace(node, expr=rebuilt(node.expr, change))
    return node
