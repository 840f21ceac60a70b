"""Prove cheaply that newly arrived samples cannot change any alert of a rule.

Most arrivals change nothing: the value moves and stays on the same side of the threshold. The
proof needs only the smallest and largest of the new samples of each selector, found once for all
rules that share it. What cannot be proved is evaluated in full; so a wrong guess costs time and
never an alert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tapewatch.model.alert import AlertState
from tapewatch.model.clock import MINUTE
from tapewatch.model.labels import Labels
from tapewatch.promql.ast import (
    COMPARISONS,
    AggregateExpr,
    BinaryExpr,
    Expr,
    NumberLiteral,
    UnaryExpr,
    VectorSelector,
    unwrap,
)
from tapewatch.rules.alerting import Episode, RuleAlerts
from tapewatch.rules.queries import NewestSamples
from tapewatch.rules.state import deadline_ns
from tapewatch.series.querier import Digest, Matcher, Times

LOOKBACK_NS = 5 * MINUTE
MAX_SERIES = 256
"""Beyond it one evaluation over all series at once is cheaper than a look at each."""
CROWDED_NS = MINUTE
"""How long a selector with more series than that is not looked at."""

_NOTHING = (math.inf, -math.inf)
"""The bounds of no sample at all: the lowest is above the highest."""
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}

Bounds = tuple[float, float]


class Feed:
    """The newest samples of one selector, as bounds.

    ``refresh`` brings it up to date for each batch in which the selector's metric has samples.
    """

    def __init__(self, name: str, matchers: tuple[Matcher, ...]) -> None:
        self.name = name
        """The metric that the selector picks from."""
        self.matchers = matchers
        self.window: dict[Labels, Bounds] = {}
        """Series with samples in the last batch: smallest and largest of these."""
        self.latest: dict[Labels, tuple[int, float]] = {}
        """Every series' newest sample."""
        self.bounds: Bounds = _NOTHING
        """Over the last batch and every series' newest sample before it."""
        self.unsure = True
        """True when the last batch tells nothing, for example because it holds a NaN."""
        self.loaded = False
        """True once it knows what arrived before it was first asked."""
        self._crowded_until_ns = 0

    def is_crowded(self, at_ns: int) -> bool:
        """Return True while the selector is known to find too many series."""
        return at_ns < self._crowded_until_ns

    def take(self, digests: Sequence[Digest], start_ns: int, end_ns: int) -> None:
        """Take what arrived in [start, end]."""
        self.unsure = len(digests) + len(self.latest) > MAX_SERIES
        self.window = {}
        if self.unsure:
            self.forget()
            self._crowded_until_ns = end_ns + CROWDED_NS
            return
        low, high = _NOTHING
        latest, window = self.latest, self.window
        for labels, first_ns, last_ns, least, most, _ in digests:
            window[labels] = least, most
            known = latest.get(labels)
            if last_ns - (first_ns if known is None else known[0]) >= LOOKBACK_NS:
                self.unsure = True  # it may have looked stale in between
            if not least <= most:
                self.unsure = True
                continue
            low = min(low, least)
            high = max(high, most)
        too_old_ns = start_ns - LOOKBACK_NS
        forgotten = []
        for labels, (time_ns, value) in latest.items():
            if time_ns <= too_old_ns:
                forgotten.append(labels)
                continue
            low = min(low, value)
            high = max(high, value)
        for labels in forgotten:
            del latest[labels]
        for labels, _, last_ns, _, _, last in digests:
            known = latest.get(labels)
            # A late batch ends before samples that are known already.
            if known is None or last_ns >= known[0]:
                latest[labels] = last_ns, last
        self.bounds = low, high

    def forget(self) -> None:
        """Know nothing, because samples came that were not shown: load anew when next asked."""
        self.latest = {}
        self.loaded = False
        self.unsure = True


def refresh(feeds: Iterable[Feed], newest: NewestSamples, start_ns: int, end_ns: int) -> None:
    """Let the feeds take what arrived in [start, end]."""
    asking = [feed for feed in feeds if not feed.is_crowded(end_ns)]
    for feed in asking:
        if not feed.loaded:
            # What arrived before the first batch still holds for as long as a query looks back.
            for piece in newest.select(feed.matchers, start_ns - LOOKBACK_NS, start_ns - 1):
                feed.latest[piece.labels] = int(piece.times[-1]), float(piece.values[-1])
            feed.loaded = True
    found = newest.digest([feed.matchers for feed in asking], start_ns, end_ns)
    for feed, digests in zip(asking, found, strict=True):
        feed.take(digests, start_ns, end_ns)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``values op constant``: a filter that keeps what satisfies it."""

    values: _Bounded
    op: str
    constant: float

    def may_be_true(self, bounds: Bounds) -> bool:
        """Return False only if no value inside the bounds satisfies the comparison."""
        low, high = bounds
        if low > high:
            return False
        constant = self.constant
        match self.op:
            case ">":
                return high > constant
            case ">=":
                return high >= constant
            case "<":
                return low < constant
            case "<=":
                return low <= constant
            case "==":
                return low <= constant <= high
            case _:
                return not low == constant == high

    def must_be_true(self, bounds: Bounds) -> bool:
        """Return True only if every value inside the bounds satisfies the comparison."""
        low, high = bounds
        constant = self.constant
        match self.op:
            case ">":
                return low > constant
            case ">=":
                return low >= constant
            case "<":
                return high < constant
            case "<=":
                return high <= constant
            case "==":
                return low == constant == high
            case _:
                return not low <= constant <= high


@dataclass(frozen=True, slots=True)
class _Selected:
    feed: Feed

    def bounds(self) -> Bounds:
        return self.feed.bounds


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A vector and a constant, joined by an operator that keeps or reverses the order."""

    inner: _Bounded
    op: str
    constant: float
    constant_first: bool

    def bounds(self) -> Bounds:
        low, high = self.inner.bounds()
        if low > high:
            return _NOTHING
        one, other = self._apply(low), self._apply(high)
        return min(one, other), max(one, other)

    def _apply(self, value: float) -> float:
        constant = self.constant
        match self.op:
            case "+":
                return value + constant
            case "-":
                return constant - value if self.constant_first else value - constant
            case "*":
                return value * constant
            case _:
                return value / constant


_Bounded = _Selected | _Scaled


@dataclass(frozen=True, slots=True)
class _Both:
    """``and``: true only where both sides may be."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class _Either:
    """``or``."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class _Anything:
    """Something whose truth cannot be bounded."""


Condition = Comparison | _Selected | _Both | _Either | _Anything


class Prefilter:
    """The proof for one rule.

    Args:
        expr: The rule's expression.
        feeds: Feeds by selector, shared by all rules; missing ones are added.
    """

    def __init__(self, expr: Expr, feeds: dict[tuple[Matcher, ...], Feed]) -> None:
        self._used: dict[tuple[Matcher, ...], Feed] = {}
        self._feeds = feeds
        self._condition = self._read(expr)
        self.feeds = tuple(self._used.values())
        """What must be refreshed before ``proves_steady`` is asked."""
        self.is_useful = not _may_be_true_always(self._condition)
        """False when the expression is one that can never be bounded."""
        if self.is_useful:
            for matchers, feed in self._used.items():
                feeds.setdefault(matchers, feed)

    def proves_steady(self, alerts: RuleAlerts, times: Times) -> bool:
        """Return True when no alert of the rule can change at these instants.

        The values of firing and pending alerts are brought up to date on the way.
        """
        for feed in self.feeds:
            if feed.unsure:
                return False
        if not alerts.episodes:
            return not _may_be_true(self._condition)
        condition = self._condition
        if not isinstance(condition, Comparison) or not isinstance(condition.values, _Selected):
            return False
        return _stays(condition, condition.values.feed, alerts, times)

    def _read(self, expr: Expr) -> Condition:
        expr = unwrap(expr)
        if isinstance(expr, VectorSelector):
            return self._bounded(expr) or _Anything()  # type: ignore[return-value]
        if not isinstance(expr, BinaryExpr) or expr.return_bool:
            return _Anything()
        if expr.op in COMPARISONS:
            left, right = _constant(expr.lhs), _constant(expr.rhs)
            side = expr.lhs if right is not None else expr.rhs
            constant = right if right is not None else left
            values = self._bounded(side) if constant is not None else None
            if values is None or constant is None:
                return _Anything()
            return Comparison(
                values, expr.op if right is not None else _MIRRORED[expr.op], constant
            )
        if expr.op == "unless":
            # What is taken away may end an alert, so the left side proves only that none begins.
            return _Both(self._read(expr.lhs), _Anything())
        if expr.op == "and":
            return _Both(self._read(expr.lhs), self._read(expr.rhs))
        if expr.op == "or":
            return _Either(self._read(expr.lhs), self._read(expr.rhs))
        return _Anything()

    def _bounded(self, expr: Expr) -> _Bounded | None:
        expr = unwrap(expr)
        if isinstance(expr, VectorSelector):
            elsewhere = expr.offset_ns or expr.at_ns is not None or expr.at_edge is not None
            if elsewhere or not expr.exact_name:
                return None
            matchers = expr.matchers
            feed = (
                self._used.get(matchers)
                or self._feeds.get(matchers)
                or Feed(expr.exact_name, matchers)
            )
            self._used[matchers] = feed
            return _Selected(feed)
        if isinstance(expr, AggregateExpr) and expr.op in ("min", "max"):
            return self._bounded(expr.expr)
        if isinstance(expr, UnaryExpr):
            inner = self._bounded(expr.expr)
            if inner is None:
                return None
            return _Scaled(inner, "*", -1.0 if expr.op == "-" else 1.0, constant_first=False)
        if isinstance(expr, BinaryExpr) and expr.op in ("+", "-", "*", "/"):
            left, right = _constant(expr.lhs), _constant(expr.rhs)
            constant = right if right is not None else left
            inner = self._bounded(expr.lhs if right is not None else expr.rhs)
            if inner is None or constant is None or not math.isfinite(constant):
                return None
            if expr.op == "/" and (right is None or constant == 0):
                return None
            return _Scaled(inner, expr.op, constant, constant_first=right is None)
        return None


def _constant(expr: Expr) -> float | None:
    expr = unwrap(expr)
    return expr.value if isinstance(expr, NumberLiteral) else None


def _may_be_true(condition: Condition) -> bool:
    match condition:
        case Comparison():
            return condition.may_be_true(condition.values.bounds())
        case _Selected():
            low, high = condition.bounds()
            return low <= high
        case _Both(left, right):
            return _may_be_true(left) and _may_be_true(right)
        case _Either(left, right):
            return _may_be_true(left) or _may_be_true(right)
    return True


def _may_be_true_always(condition: Condition) -> bool:
    match condition:
        case _Both(left, right):
            return _may_be_true_always(left) and _may_be_true_always(right)
        case _Either(left, right):
            return _may_be_true_always(left) or _may_be_true_always(right)
    return isinstance(condition, _Anything | _Selected)


def _stays(condition: Comparison, feed: Feed, alerts: RuleAlerts, times: Times) -> bool:
    """Return True when every alert's series keeps satisfying, and every other keeps not to."""
    end = int(times[-1])
    by_row = {episode.row: episode for episode in alerts.episodes.values()}
    for labels, bounds in feed.window.items():
        if labels not in by_row and condition.may_be_true(bounds):
            return False
    for labels, (_, value) in feed.latest.items():
        if (
            labels not in by_row
            and labels not in feed.window
            and condition.may_be_true((value, value))
        ):
            return False
    if not all(_holds(condition, feed, e, alerts, end) for e in by_row.values()):
        return False
    _refresh_values(by_row, feed)
    return True


def _holds(
    condition: Comparison, feed: Feed, episode: Episode, alerts: RuleAlerts, end_ns: int
) -> bool:
    phase = episode.instance.phase
    if phase not in (AlertState.FIRING, AlertState.PENDING):
        return False
    deadline = deadline_ns(episode.instance, alerts.timing)
    if deadline is not None and end_ns >= deadline:
        return False
    newest = feed.latest.get(episode.row)
    if newest is None or newest[0] <= end_ns - LOOKBACK_NS:
        return False
    bounds = feed.window.get(episode.row, (newest[1], newest[1]))
    return condition.must_be_true(bounds)


def _refresh_values(by_row: Mapping[Labels, Episode], feed: Feed) -> None:
    for row, episode in by_row.items():
        time_ns, value = feed.latest[row]
        if time_ns >= episode.true_ns:
            episode.value, episode.true_ns = value, time_ns
