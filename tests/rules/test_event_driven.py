"""Event-driven evaluation is Prometheus's state machine at the union of two sets of instants.

The slow and obvious implementation asks the query engine at one instant after the other and steps
the state machine by hand; whatever arrives in whatever batches, the evaluator must say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine
from tapewatch.promql.ast import metric_names
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import AlertingRule
from tapewatch.rules.state import INACTIVE, Instance, Observation, Timing, deadline_ns, step
from tapewatch.series.head import Head
from tapewatch.series.querier import STALE

START = 1_767_604_500 * SECOND
INTERVAL_S = 15

EXPRESSIONS = [
    "x > 1",
    "2 <= x",
    "x == 0",
    "x != 1",
    "-x < -1",
    "x / 2 > 0.6",
    "x > 1 or y > 1",
    "x > 1 and on (engine) y > 0",
    "x > 1 unless on (engine) y == 1",
    "max by (engine) (x) > 1",
    "max(x) > 1",
    "x + on (engine) y > 2",
    "absent(x)",
    "count_over_time(x[50s]) > 2",
    "changes(x[2m]) > 1",
    "time() - timestamp(x) > 100",
    "x offset 20s > 1",
    '{__name__=~"x|q.*"} > 1',
]


@dataclass
class Naive:
    """One rule, one instant at a time, Prometheus's way."""

    rule: AlertingRule
    engine: QueryEngine
    instances: dict[Labels, Instance] = field(default_factory=dict)
    changes: list[tuple[Any, ...]] = field(default_factory=list)

    def evaluate(self, at_ns: int) -> None:
        result = self.engine.instant(self.rule.expr, at_ns)
        true = {sample.labels.without_name() for sample in result.vector}
        timing = Timing(self.rule.for_ns, self.rule.keep_firing_for_ns)
        for labels in sorted({*true, *self.instances}):
            before = self.instances.get(labels, INACTIVE)
            seen = Observation.TRUE if labels in true else Observation.FALSE
            after, reason = step(before, seen, at_ns, timing)
            self.instances[labels] = after
            if reason is not None:
                phase = after.phase.value if after.phase else "resolved"
                self.changes.append((at_ns - START, labels, phase, reason))

    def next_deadline(self) -> int | None:
        timing = Timing(self.rule.for_ns, self.rule.keep_firing_for_ns)
        due = (deadline_ns(i, timing) for i in self.instances.values())
        return min((d for d in due if d is not None), default=None)


values = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan"), STALE])
sample = st.tuples(
    st.sampled_from(["x", "y", "z"]), st.sampled_from("ab"), st.integers(1, 14), values
)
batches = st.lists(
    st.tuples(st.integers(14, 14), st.lists(sample, max_size=6)), min_size=3, max_size=40
)


@pytest.mark.requirement("S5-61")
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from([0, 0, 10, 40]),
    st.sampled_from([0, 0, 30]),
    batches,
    st.booleans(),
)
def test_the_evaluator_says_what_the_obvious_implementation_says(
    expression: str,
    for_s: int,
    keep_s: int,
    arrivals: list[tuple[int, list[tuple[str, str, int, float]]]],
    proof: bool,
) -> None:
    text = (
        f"groups:\n- name: g\n  interval: {INTERVAL_S}s\n  rules:\n  - alert: A\n"
        f"    expr: '{expression}'\n    for: {for_s}s\n    keep_firing_for: {keep_s}s\n"
    )
    groups = load_rules(text, "t.yaml")
    rule = groups[0].rules[0]
    assert isinstance(rule, AlertingRule)
    head = Head()
    engine = QueryEngine(head)
    evaluator = RuleEvaluator(groups, engine, started_ns=START, newest=head if proof else None)
    naive = Naive(rule, engine)
    names = metric_names(rule.expr) or {"x"}
    found = []
    now = START
    for length, samples in arrivals:
        begin, now = now, now + length * SECOND
        changed: dict[str, list[int]] = {}
        for name, who, offset, value in sorted(samples, key=lambda s: s[2]):
            at = begin + offset * SECOND
            head.append(Labels.of(name, engine=who), at, value)
            changed.setdefault(name, []).append(at)
        out = evaluator.on_arrival(
            {n: np.unique(np.array(t, dtype=np.int64)) for n, t in changed.items()}, now
        )
        while evaluator.next_deadline_ns() <= now:
            out += evaluator.on_interval(now)
        found += [
            (t.event_ns - START, t.alert.labels.without("alertname"), t.alert.state.value,
             t.alert.reason)
            for t in out
        ]  # fmt: skip

        last = begin
        arrived = sorted({t for n in names for t in changed.get(n, ())})
        edges = range(begin - begin % (INTERVAL_S * SECOND), now + 1, INTERVAL_S * SECOND)
        # On the way to the last arrival: intervals, and the deadline known before the batch.
        known = naive.next_deadline()
        moments = [*edges, *([] if known is None else [known])]
        inside = [m for m in moments if begin < m and arrived and m < arrived[-1]]
        for at in sorted({*arrived, *inside}):
            naive.evaluate(at)
            last = at
        while True:
            deadline = naive.next_deadline()
            # An end that lay inside the batch is seen at the batch's last instant.
            coming = {e for e in edges if e > last}
            coming |= set() if deadline is None else {max(deadline, last)}
            coming = {at for at in coming if at <= now}
            if not coming:
                break
            for at in sorted(coming):
                naive.evaluate(at)
                last = at
    assert sorted(found, key=_key) == sorted(naive.changes, key=_key)
    still = {e.labels.without("alertname"): e.state.value for e in evaluator.active()}
    assert still == {k: i.phase.value for k, i in naive.instances.items() if i.phase}


def _key(change: tuple[Any, ...]) -> tuple[Any, ...]:
    return change[0], change[1].pairs, change[2]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["x > 1", "x > 1 or y > 1", "x > 1 and on (engine) y > 0"]),
    batches,
    st.integers(1, 13),
)
def test_the_alerts_of_one_engine_do_not_depend_on_how_late_the_others_arrive(
    expression: str, arrivals: list[tuple[int, list[tuple[str, str, int, float]]]], lag: int
) -> None:
    """Engine b's tape is read later than a's: each engine's alerts are those it has alone."""

    def run(engines: str, late: str) -> list[tuple[Any, ...]]:
        head = Head()
        groups = load_rules(
            f"groups:\n- name: g\n  interval: 1h\n  rules:\n  - alert: A\n    expr: {expression}\n",
            "t.yaml",
        )
        evaluator = RuleEvaluator(groups, QueryEngine(head), started_ns=START, newest=head)
        feed: list[tuple[int, int, str, str, float]] = []
        begin = START
        for length, samples in arrivals:
            for name, who, offset, value in samples:
                # Engines never tick in the same nanosecond.
                at = begin + offset * SECOND + (1 if who == "b" else 0)
                if who in engines:
                    feed.append((at + (lag * SECOND if who in late else 0), at, name, who, value))
            begin += length * SECOND
        found: list[tuple[Any, ...]] = []
        while feed:
            feed.sort()
            upto = feed[0][0] + 2 * SECOND
            batch, feed = [f for f in feed if f[0] <= upto], [f for f in feed if f[0] > upto]
            changed: dict[str, set[int]] = {}
            for _, at, name, who, value in sorted(batch, key=lambda f: f[1]):
                head.append(Labels.of(name, engine=who), at, value)
                changed.setdefault(name, set()).add(at)
            out = evaluator.on_arrival(
                {n: np.array(sorted(t), dtype=np.int64) for n, t in changed.items()}, upto
            )
            found += [
                (t.alert.labels.get("engine"), t.alert.active_at_ns, t.alert.state.value)
                for t in out
            ]
        return found

    together = run("ab", "b")
    for engine in "ab":
        alone = run(engine, "b")
        assert [t for t in together if t[0] == engine] == alone
