"""The proof that arrivals change nothing: what it may claim, and what it must leave open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine, parse
from tapewatch.rules.alerting import RuleAlerts
from tapewatch.rules.evidence import Evidence
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import AlertingRule
from tapewatch.rules.prefilter import MAX_SERIES, Comparison, Feed, Prefilter, refresh
from tapewatch.series.head import Head

T0 = 1_767_604_500 * SECOND

OPERATORS = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@given(
    st.sampled_from(sorted(OPERATORS)),
    st.lists(st.integers(-3, 3), min_size=1, max_size=4),
    st.integers(-3, 3),
)
def test_bounds_never_claim_more_than_the_values_say(
    op: str, values: list[int], constant: int
) -> None:
    comparison = Comparison(None, op, float(constant))  # type: ignore[arg-type]
    bounds = float(min(values)), float(max(values))
    truths = [OPERATORS[op](value, constant) for value in values]
    assert comparison.may_be_true(bounds) or not any(truths)
    assert not comparison.must_be_true(bounds) or all(truths)
    assert not comparison.may_be_true((math.inf, -math.inf))


@pytest.mark.parametrize(
    ("expr", "useful"),
    [
        ("x > 5", True),
        ("5 > x", True),
        ("(x) >= (5)", True),
        ("x * 2 - 1 > 5", True),
        ("1 - x > 5", True),
        ("+x / 3 == 5", True),
        ("min by (a) (x) < 5", True),
        ("x > 5 and y", True),
        ("rate(x[5m]) > 1 and x > 5", True),
        ("x > 5 or y < 5", True),
        ("x > 5 unless y", True),
        ("x", False),
        ("x > bool 5", False),
        ("x > y", False),
        ("rate(x[5m]) > 5", False),
        ("x > 5 or rate(x[5m]) > 5", False),
        ("sum(x) > 5", False),
        ("x offset 5m > 5", False),
        ("x @ 100 > 5", False),
        ("x @ end() > 5", False),
        ('{__name__=~"x.*"} > 5', False),
        ("5 / x > 5", False),
        ("x / 0 > 5", False),
        ("x % 2 > 5", False),
        ("x + Inf > 5", False),
        ("-rate(x[5m]) > 5", False),
        ("x + y", False),
        ("vector(1) == 1", False),
    ],
)
def test_it_knows_which_expressions_it_can_bound(expr: str, useful: bool) -> None:
    assert Prefilter(parse(expr), {}).is_useful is useful


class Fixture:
    """One rule over a head."""

    def __init__(self, expr: str, for_s: int = 0) -> None:
        self.head = Head()
        text = f"groups: [{{name: g, rules: [{{alert: A, expr: '{expr}', for: {for_s}s}}]}}]"
        (group,) = load_rules(text, "t.yaml")
        rule = group.rules[0]
        assert isinstance(rule, AlertingRule)
        self.rule = rule
        self.engine = QueryEngine(self.head)
        self.alerts = RuleAlerts(rule, group, Evidence(rule.expr), self.engine, T0)
        self.prefilter = Prefilter(rule.expr, {})

    def arrive(self, *points: tuple[float, float], series: str = "a", name: str = "x") -> None:
        for second, value in points:
            self.head.append(Labels.of(name, s=series), T0 + round(second * SECOND), value)
        times = np.array([T0 + round(s * SECOND) for s, _ in points], dtype=np.int64)
        for feed in self.prefilter.feeds:
            if feed.name == name:
                refresh([feed], self.head, int(times[0]), int(times[-1]))
        self.times = times

    def steady(self) -> bool:
        return self.prefilter.proves_steady(self.alerts, self.times)

    def evaluate(self) -> None:
        self.alerts.apply(self.engine.at(self.rule.expr, self.times))


def test_nothing_is_claimed_before_anything_was_seen() -> None:
    f = Fixture("x > 5")
    f.times = np.array([T0], dtype=np.int64)
    assert not f.steady()


def test_values_below_the_limit_are_steady_and_one_beyond_it_is_not() -> None:
    f = Fixture("x > 5")
    f.arrive((1, 1), (2, 5))
    assert f.steady()
    f.arrive((3, 1), (4, 6), (5, 1))
    assert not f.steady()


def test_what_arrived_before_the_first_batch_counts() -> None:
    f = Fixture("x > 5 and y > 0")
    f.head.append(Labels.of("y", s="a"), T0, 1.0)
    f.head.append(Labels.of("x", s="a"), T0 + SECOND // 2, 9.0)
    f.arrive((1, 1), name="y")
    assert not f.steady()  # x was not asked for yet
    f.arrive((2, 9))
    assert not f.steady()


def test_a_firing_alert_is_steady_while_its_series_stays_beyond() -> None:
    f = Fixture("x > 5")
    f.arrive((1, 6))
    f.evaluate()
    f.arrive((2, 7), (3, 8))
    assert f.steady()
    (episode,) = f.alerts.episodes.values()
    assert episode.value == 8
    f.arrive((4, 5))
    assert not f.steady()


def test_another_series_beyond_the_limit_is_news() -> None:
    f = Fixture("x > 5")
    f.arrive((1, 6))
    f.evaluate()
    f.arrive((2, 1), series="b")
    assert f.steady()
    f.arrive((3, 7), series="b")
    assert not f.steady()
    f.arrive((4, 7))  # a's own arrival, and b is still beyond without an alert
    assert not f.steady()


def test_a_pending_alert_is_steady_until_its_time_is_up() -> None:
    f = Fixture("x > 5", for_s=10)
    f.arrive((1, 6))
    f.evaluate()
    f.arrive((10, 6))
    assert f.steady()
    f.arrive((11, 6))
    assert not f.steady()


def test_an_alert_whose_series_fell_silent_is_not_steady() -> None:
    f = Fixture("x > 5")
    f.arrive((1, 6))
    f.evaluate()
    f.arrive((2, 1), series="b")
    f.arrive((302, 1), series="b")
    assert not f.steady()


def test_a_gap_that_a_query_cannot_look_across_is_not_steady() -> None:
    f = Fixture("x > 5")
    f.arrive((1, 6))
    f.evaluate()
    f.arrive((301, 6))
    assert not f.steady()


def test_an_unknown_or_clearing_alert_is_evaluated() -> None:
    f = Fixture("x > 5 and on (s) y > 0")
    f.arrive((1, 6))
    f.arrive((1, 1), name="y")
    f.evaluate()
    f.arrive((2, 6))
    assert not f.steady()


def test_a_nan_leaves_everything_open() -> None:
    f = Fixture("x > 5")
    f.arrive((1, float("nan")))
    assert not f.steady()
    f.arrive((2, 1))
    assert f.steady()


def test_too_many_series_are_left_to_one_evaluation() -> None:
    f = Fixture("x > 5")
    for number in range(MAX_SERIES + 1):
        f.head.append(Labels.of("x", s=str(number)), T0 + SECOND, 1.0)
    f.arrive((1, 1))
    assert not f.steady()
    f.arrive((2, 1))  # and for a minute nobody looks again
    assert not f.steady()


def test_what_a_feed_knew_is_dropped_when_it_is_too_old() -> None:
    feed = Feed("x", parse("x").matchers)  # type: ignore[attr-defined]
    head = Head()
    for second, series, value in ((1, "a", 9.0), (400, "b", 1.0)):
        head.append(Labels.of("x", s=series), T0 + second * SECOND, value)
        refresh([feed], head, T0 + second * SECOND, T0 + second * SECOND)
    assert feed.bounds == (1.0, 1.0)
    assert T0 + 400 * SECOND - MINUTE > T0


def test_a_late_batch_does_not_make_old_values_the_newest() -> None:
    f = Fixture("x > 5")
    f.arrive((10, 1))
    f.arrive((5, 2))
    assert f.prefilter.feeds[0].latest[Labels.of("x", s="a")] == (T0 + 10 * SECOND, 1.0)


def test_scaled_bounds_follow_the_arithmetic() -> None:
    for expr, value, steady in (
        ("x / 2 > 5", 10, True),
        ("x / 2 > 5", 11, False),
        ("-x < -5", 5, True),
        ("-x < -5", 6, False),
        ("10 - x < 5", 5, True),
        ("10 - x < 5", 6, False),
        ("x + 1 >= 5", 3, True),
        ("x * -1 <= -5", 5, False),
    ):
        f = Fixture(expr)
        f.arrive((1, value))
        assert f.steady() is steady, (expr, value)


def test_nothing_at_all_is_not_beyond_any_limit() -> None:
    f = Fixture("x + 1 > 5 or y > 5")
    f.arrive((1, 1))
    f.arrive((1, 1), name="y")
    assert f.steady()
    g = Fixture("x + 1 > 5 or x")
    g.arrive((1, 1))
    assert not g.steady()
