"""How tightly PromQL's operators bind: the one table that parser and printer share."""

from __future__ import annotations

PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    "==": 3,
    "!=": 3,
    "<": 3,
    ">": 3,
    "<=": 3,
    ">=": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 6,
}
"""A higher number binds tighter."""
UNARY_PRECEDENCE = 5
"""A sign binds like ``*``, so ``-2 ^ 2`` is -4."""
RIGHT_ASSOCIATIVE = frozenset({"^"})
