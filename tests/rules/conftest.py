"""A small world for rule tests: a head, the query engine, an evaluator, and a test clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from tapewatch.model.alert import Transition
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import RuleGroup
from tapewatch.series.head import Head
from tapewatch.testing import TestClock


class World:
    """Samples go in at seconds after the start; transitions come out in words."""

    def __init__(
        self,
        rules: str | Iterable[RuleGroup],
        *,
        unknown: bool = True,
        proof: bool = True,
        stopwatch: Callable[[], float] | None = None,
    ) -> None:
        self.clock = TestClock()
        self.start = self.clock.now_ns()
        self.head = Head()
        self.recorded: list[tuple[str, float, float]] = []
        groups = self.groups(rules, unknown=unknown) if isinstance(rules, str) else list(rules)
        self.evaluator = RuleEvaluator(
            groups,
            QueryEngine(self.head),
            started_ns=self.start,
            record=self.record,
            newest=self.head if proof else None,
            monotonic=stopwatch,
        )

    @staticmethod
    def groups(rules: str, *, unknown: bool = True) -> list[RuleGroup]:
        """Parse rules given as the lines below ``rules:`` of one group, or a whole file."""
        text = rules if "groups:" in rules else f"groups:\n- name: g\n  rules:\n{rules}"
        return load_rules(text, "test.yaml", unknown_on_vanish=unknown)

    def record(self, labels: Labels, time_ns: int, value: float) -> None:
        self.recorded.append((str(labels), self.seconds(time_ns), value))
        self.head.append(labels, time_ns, value)

    def at(self, seconds: float) -> int:
        return self.start + round(seconds * SECOND)

    def seconds(self, time_ns: int) -> float:
        return round((time_ns - self.start) / SECOND, 6)

    def arrive(
        self, samples: Mapping[str, Iterable[tuple[float, float]]], now: float | None = None
    ) -> list[Transition]:
        """Bring samples, by series written ``name`` or ``name{a="b"}``, in one batch."""
        changed: dict[str, list[int]] = {}
        for series, points in samples.items():
            labels = series_labels(series)
            for seconds, value in points:
                self.head.append(labels, self.at(seconds), value)
                changed.setdefault(labels.name, []).append(self.at(seconds))
        arrivals = {n: np.unique(np.array(t, dtype=np.int64)) for n, t in changed.items()}
        newest = max((int(t[-1]) for t in arrivals.values()), default=self.start)
        return self.evaluator.on_arrival(arrivals, newest if now is None else self.at(now))

    def stale(self, at: float, *series: str) -> list[Transition]:
        """End series, as the daemon does when an engine is gone."""
        labels = [series_labels(one) for one in series]
        self.head.mark_stale(labels, self.at(at))
        times = np.array([self.at(at)], dtype=np.int64)
        return self.evaluator.on_arrival({one.name: times for one in labels}, self.at(at))

    def interval(self, now: float) -> list[Transition]:
        return self.evaluator.on_interval(self.at(now))

    def words(self, transitions: Iterable[Transition]) -> list[tuple[Any, ...]]:
        """Return (seconds, alert, before, after) of each transition."""
        return [
            (
                self.seconds(t.event_ns),
                t.alert.rule,
                t.previous.value if t.previous else None,
                t.alert.state.value,
            )
            for t in transitions
        ]


def series_labels(text: str) -> Labels:
    name, _, rest = text.partition("{")
    pairs = {
        key.strip(): value.strip('"')
        for key, _, value in (p.partition("=") for p in rest.rstrip("}").split(",") if p)
    }
    return Labels({"__name__": name, **pairs})


@pytest.fixture
def world() -> type[World]:
    """Return the class, so that a test names its rules."""
    return World
