"""Other numbers in a rule."""

from __future__ import annotations

import pytest

from tapewatch.model.clock import MINUTE
from tapewatch.promql import format_expr, parse
from tapewatch.rules.rewrite import rebuilt, with_offset, with_threshold


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("x > 5", "x > 7"),
        ("5 < x", "7 < x"),
        ("x > (5)", "x > 7"),
        ("x == bool 5", "x == bool 7"),
        ("x * 5 > 5", "x * 5 > 7"),
        ("x > 5 or on (e) y / 3600 > 5", "x > 7 or on (e) y / 3600 > 7"),
        ("sum by (e) (x > 5) > 2", "sum by (e) (x > 7) > 2"),
        ("topk(5, x > 5)", "topk(5, x > 7)"),
        ("clamp_max(x > 5, 5)", "clamp_max(x > 7, 5)"),
        ("max_over_time((x > 5)[1h:5m])", "max_over_time((x > 7)[1h:5m])"),
        ("-(x > 5)", "-(x > 7)"),
    ],
)
def test_every_comparison_with_the_constant_gets_the_new_one(expr: str, expected: str) -> None:
    changed = with_threshold(parse(expr), 5, 7)
    assert changed is not None
    assert format_expr(changed) == expected


def test_an_expression_that_does_not_compare_with_it_is_left_alone() -> None:
    assert with_threshold(parse("x > 4 and x + 5 > y"), 5, 7) is None


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("x offset 1h", "x offset 5m"),
        ("rate(x[1m] offset 1h) > 5", "rate(x[1m] offset 5m) > 5"),
        ("max_over_time(x[1h:5m] offset 1h)", "max_over_time(x[1h:5m] offset 5m)"),
        ("x - x offset 1h", "x - x offset 5m"),
    ],
)
def test_every_offset_gets_the_new_one(expr: str, expected: str) -> None:
    changed = with_offset(parse(expr), 5 * MINUTE)
    assert changed is not None
    assert format_expr(changed) == expected


def test_an_expression_without_an_offset_is_left_alone() -> None:
    assert with_offset(parse("x + rate(x[5m])"), MINUTE) is None


def test_chains_longer_than_pythons_stack_are_followed() -> None:
    expr = parse("x" + "+1" * 3000)
    assert rebuilt(expr, lambda node: node) == expr
