"""Full coverage of the alert rules: every part of every condition is needed by a case here.

A rule is a line of data, so counting executed lines says nothing about it. Instead each part of
its condition is taken away or loosened, one at a time: an operand of ``or``, an exception, a
limit, a matcher, a term. Some case must then come out differently. A rule without a case that
raises it and one that does not, or with a part that no case needs, fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from tapewatch.config.packs import load_pack
from tapewatch.model.clock import HOUR, MINUTE, SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine, format_expr, selectors
from tapewatch.promql.ast import BinaryExpr, Call, Expr, ValueType, VectorSelector
from tapewatch.rules.model import AlertingRule
from tapewatch.series.head import Head

NOW = 1_760_000_000 * SECOND
LIFE = {"tapewatch_engine_last_tick_timestamp_seconds": NOW / SECOND - 3}
TOTAL = "tapewatch_engine_errors_total"
SESSION = "tapewatch_session_open"


@dataclass(frozen=True)
class Series:
    """A value that held for a while: from so long ago until so long ago."""

    name: str
    value: float
    since_ns: int = 0
    until_ns: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def put(self, head: Head) -> None:
        series = Labels({"__name__": self.name, "engine": "momentum", **self.labels})
        for ago in range(self.since_ns, self.until_ns - 1, -MINUTE):
            head.append(series, NOW - ago, self.value)


def given(labels: Mapping[str, str] | None = None, /, **values: float) -> list[Series]:
    """Return values that have just arrived."""
    return [Series(name, value, labels=labels or {}) for name, value in values.items()]


def errors(kind: str, old: float | None, new: float, window_ns: int) -> list[Series]:
    """Return a count of errors, before the window (None: there were none) and now."""
    labels = {"type": kind}
    before = [Series(TOTAL, old or 0, 2 * window_ns, MINUTE, labels)] if old is not None else []
    return [*before, Series(TOTAL, new, labels=labels)]


def artifact(name: str, what: str, value: float) -> list[Series]:
    return given({"artifact": name}, **{f"tapewatch_artifact_{what}": value})


def session(calendar: str, is_open: float) -> list[Series]:
    return given({"calendar": calendar}, **{SESSION: is_open})


def pnl(daily: float, realized: float, unrealized: float) -> list[Series]:
    return given(pnl_daily=daily, pnl_realized=realized, pnl_unrealized=unrealized)


def at_tolerance() -> float:
    """Return the daily profit that differs from nothing by exactly what is tolerated."""
    daily = 0.01
    for _ in range(10):
        daily = 0.01 + 1e-6 * daily
    return daily


@dataclass(frozen=True)
class Cases:
    """What raises a rule and what does not."""

    raised: list[list[Series]]
    silent: list[list[Series]]
    thresholds: Mapping[str, float] = field(default_factory=dict)


def limit(metric: str, within: float, beyond: float, **thresholds: float) -> Cases:
    return Cases([given(**{metric: beyond})], [given(**{metric: within})], thresholds)


def model(name: str) -> Cases:
    day = 24 * 3600
    return Cases(
        [
            given(**{f"artifacts_{name}_age_hours": 24.001}),
            artifact(name, "age_seconds", day + 1),
        ],
        [
            given(**{f"artifacts_{name}_age_hours": 24}),
            artifact(name, "age_seconds", day),
            artifact("universe", "age_seconds", day + 1),
        ],
    )


def missing(name: str, other: str) -> Cases:
    return Cases(
        [artifact(name, "missing", 1)],
        [artifact(name, "missing", 0), artifact(other, "missing", 1)],
    )


OLD_SCORE = given(sentiment_last_update_timestamp_seconds=NOW / SECOND - 3601)
NO_SCORE = given(sentiment_provider_errors_1h=0)

CASES: dict[str, Cases] = {
    "circuit_breaker_triggered": limit("risk_circuit_breaker_active", 0, 1),
    "daily_loss_high warning": limit("risk_daily_loss_pct", -4, -4.001),
    "daily_loss_high critical": limit("risk_daily_loss_pct", -5, -5.001),
    "position_limits_breached critical count": limit("positions_count", 20, 21),
    "position_limits_breached critical value": limit(
        "risk_max_position_value", 1000, 1000.5, max_position_value=1000
    ),
    "engine_crashed": limit("tapewatch_engine_crashed", 0, 1),
    "heartbeat_lapsed critical stalled": Cases(
        [
            given(**LIFE, tapewatch_engine_stalled=1),
            given(**LIFE, tapewatch_engine_stalled=1, tapewatch_engine_crashed=0),
        ],
        [
            given(**LIFE, tapewatch_engine_stalled=0),
            given(**LIFE, tapewatch_engine_stalled=1, tapewatch_engine_crashed=1),
        ],
    ),
    "heartbeat_lapsed critical never_started": limit("tapewatch_engine_never_started", 0, 1),
    "data_invalid": limit("tapewatch_engine_invalid", 0, 1),
    "breeze_connectivity_lost": limit("connectivity_breeze_authenticated", 1, 0),
    "broker_connectivity_lost critical {{ $labels.__name__ }}": Cases(
        [given(connectivity_kite_authenticated=0)],
        [
            given(connectivity_kite_authenticated=1),
            given(connectivity_breeze_authenticated=0),
            given(positions_count=0),
        ],
    ),
    "broker_connectivity_lost critical connectivity_connected": limit(
        "connectivity_connected", 1, 0
    ),
    "authentication_failed": Cases(
        [errors("authentication", None, 1, 5 * MINUTE), errors("authentication", 3, 4, 5 * MINUTE)],
        [errors("authentication", 3, 3, 5 * MINUTE), errors("feed", None, 9, 5 * MINUTE)],
    ),
    "api_quota_low": limit("connectivity_api_quota_remaining", 10, 9),
    "sentiment_failures_high": Cases(
        [
            given(sentiment_provider_errors_1h=6),
            errors("sentiment", None, 6, HOUR),
            errors("sentiment", 3, 9, HOUR),
        ],
        [
            given(sentiment_provider_errors_1h=5),
            errors("sentiment", None, 5, HOUR),
            errors("sentiment", 3, 8, HOUR),
            errors("feed", None, 60, HOUR),
        ],
    ),
    "stale_teacher_model": model("teacher_model"),
    "stale_student_model": model("student_model"),
    "stale_artifact": Cases(
        [artifact("universe", "age_seconds", 24 * 3600 + 1)],
        [
            artifact("universe", "age_seconds", 24 * 3600),
            artifact("teacher_model", "age_seconds", 24 * 3600 + 1),
        ],
    ),
    "teacher_model_missing": missing("teacher_model", "student_model"),
    "student_model_missing": missing("student_model", "universe"),
    "artifact_missing": missing("universe", "teacher_model"),
    "artifact_unreadable": limit("tapewatch_artifact_unreadable", 0, 1),
    "sentiment_data_stale warning old": Cases(
        [
            OLD_SCORE,
            [*OLD_SCORE, *session("XNSE", 1)],
            [*OLD_SCORE, *session("XNSE", 0), *session("XNYS", 1)],
        ],
        [
            given(sentiment_last_update_timestamp_seconds=NOW / SECOND - 3600),
            [*OLD_SCORE, *session("XNSE", 0)],
        ],
    ),
    "sentiment_data_stale warning missing": Cases(
        [
            NO_SCORE,
            [*NO_SCORE, *session("XNSE", 1)],
            [*NO_SCORE, *session("XNSE", 0), *session("XNYS", 1)],
        ],
        [
            [*NO_SCORE, *given(sentiment_last_score=0.1)],
            [*NO_SCORE, *session("XNSE", 0)],
        ],
    ),
    "pnl_inconsistent": Cases(
        [pnl(2500.0, 1300.5, 1200), pnl(2501.0, 1300.5, 1200), pnl(2e9, 1e9, 1e9 + 5000)],
        [
            pnl(2500.5, 1300.5, 1200),
            pnl(at_tolerance(), 0, 0),
            # Of a billion a rounding is more than a cent, whatever the signs.
            pnl(0, 1e9, -1e9 - 1500),
            pnl(0, -1e9, 1e9 + 1500),
            pnl(-1e9, 0, -1e9 + 1500),
        ],
    ),
}


def name_of(rule: AlertingRule) -> str:
    """Return the alert's name, with its labels where several rules share it."""
    words = [rule.labels[k] for k in ("severity", "reason", "limit", "session") if k in rule.labels]
    return " ".join([rule.name, *words]) if rule.name in SHARED else rule.name


def alerting(**thresholds: float) -> list[AlertingRule]:
    groups = load_pack("engine", thresholds).groups
    return [rule for g in groups for rule in g.rules if isinstance(rule, AlertingRule)]


NAMES = [rule.name for rule in alerting()]
SHARED = {name for name in NAMES if NAMES.count(name) > 1}


def is_raised(condition: Expr, data: list[Series]) -> bool:
    """Return whether the condition holds for anything at this moment."""
    head = Head()
    for series in data:
        series.put(head)
    return bool(QueryEngine(head).instant(condition, NOW).vector)


def changed_parts(node: Expr) -> Iterator[tuple[str, Expr]]:
    """Yield the expression with one part less, or one limit looser."""
    yield from changed_here(node)
    for each in fields(node):
        value: Any = getattr(node, each.name)
        if isinstance(value, Expr):
            for what, inner in changed_parts(value):
                part: dict[str, Any] = {each.name: inner}
                yield what, replace(node, **part)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                for what, inner in changed_parts(item) if isinstance(item, Expr) else ():
                    part = {each.name: (*value[:index], inner, *value[index + 1 :])}
                    yield what, replace(node, **part)


def changed_here(node: Expr) -> Iterator[tuple[str, Expr]]:
    match node:
        case BinaryExpr(op="or"):
            yield f"without what is before: or {format_expr(node.rhs)}", node.rhs
            yield f"without: or {format_expr(node.rhs)}", node.lhs
        case BinaryExpr() if node.lhs.type is not ValueType.SCALAR:
            yield f"without: {node.op} {format_expr(node.rhs)}", node.lhs
        case BinaryExpr() if node.result is ValueType.SCALAR or node.op in ("+", "*"):
            yield f"without: {node.op} {format_expr(node.rhs)}", node.lhs
        case Call(func="abs"):
            yield f"without abs of {format_expr(node.args[0])}", node.args[0]
    if isinstance(node, BinaryExpr) and node.op in ("<", ">"):
        yield f"with the limit {format_expr(node.rhs)} met", replace(node, op=f"{node.op}=")
    if isinstance(node, VectorSelector) and node.offset_ns:
        yield f"without the offset of {format_expr(node)}", replace(node, offset_ns=0)


def without_matchers(condition: Expr) -> Iterator[tuple[str, Expr]]:
    """Yield the expression without one matcher, wherever it stands in it."""
    matchers = {
        matcher
        for selector in selectors(condition)
        for matcher in selector.matchers
        if not selector.name or matcher.name != "__name__"
    }
    for matcher in sorted(matchers, key=str):
        yield f"without {matcher}", _drop(condition, matcher)


def _drop(node: Any, matcher: Any) -> Any:
    if isinstance(node, VectorSelector):
        return replace(node, matchers=tuple(m for m in node.matchers if m != matcher))
    if isinstance(node, tuple):
        return tuple(_drop(item, matcher) for item in node)
    if not isinstance(node, Expr):
        return node
    init = [each.name for each in fields(node) if each.init]
    return replace(node, **{name: _drop(getattr(node, name), matcher) for name in init})


@pytest.mark.requirement("S5-94")
def test_every_rule_of_the_pack_has_its_cases_here() -> None:
    assert sorted(map(name_of, alerting())) == sorted(CASES)
    assert [name for name, cases in CASES.items() if not (cases.raised and cases.silent)] == []


@pytest.mark.requirement("S5-77", "S5-94", "S5-61")
@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_raised_by_each_of_its_causes_and_by_nothing_else(name: str) -> None:
    cases = CASES[name]
    (rule,) = [r for r in alerting(**cases.thresholds) if name_of(r) == name]
    assert [is_raised(rule.expr, data) for data in cases.raised] == [True] * len(cases.raised)
    assert [is_raised(rule.expr, data) for data in cases.silent] == [False] * len(cases.silent)


@pytest.mark.requirement("S5-94")
@pytest.mark.parametrize("name", CASES)
def test_no_part_of_a_rule_is_without_a_case_that_needs_it(name: str) -> None:
    cases = CASES[name]
    (rule,) = [r for r in alerting(**cases.thresholds) if name_of(r) == name]
    changed = [*changed_parts(rule.expr), *without_matchers(rule.expr)]
    assert changed, "a condition without any part is no condition"
    unneeded = [
        what
        for what, condition in changed
        if all(is_raised(condition, data) for data in cases.raised)
        and not any(is_raised(condition, data) for data in cases.silent)
    ]
    assert unneeded == []


@pytest.mark.requirement("S5-94")
@pytest.mark.parametrize("name", [name_of(rule) for rule in alerting() if rule.for_ns])
def test_a_rule_with_a_duration_is_raised_at_its_end_and_not_before(
    pack_world: Any, name: str
) -> None:
    world = pack_world()
    (rule,) = [r for r in alerting() if name_of(r) == name]
    values = {series.name: series.value for series in CASES[name].raised[0]}
    repeat = lambda s: world.tick(s, values)  # noqa: E731 - one expression
    severity = rule.severity.label

    world.wait(rule.for_ns / SECOND - 15, repeat=repeat)
    assert (rule.name, severity) not in world.firing()
    world.wait(rule.for_ns / SECOND + 30, repeat=repeat)
    assert (rule.name, severity) in world.firing()
