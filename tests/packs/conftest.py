"""A world in which a built-in pack's rules are fed by hand, on a test clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from tapewatch.config.packs import load_pack
from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.series.head import Head
from tapewatch.testing import TestClock


class PackWorld:
    """Values of one engine arrive; alerts come out."""

    def __init__(self, pack: str = "engine", **thresholds: float) -> None:
        self.clock = TestClock()
        self.start = self.clock.now_ns()
        self.head = Head()
        self.pack = load_pack(pack, thresholds)
        self.evaluator = RuleEvaluator(
            self.pack.groups, QueryEngine(self.head), started_ns=self.start, newest=self.head
        )

    def at(self, seconds: float) -> int:
        return self.start + round(seconds * SECOND)

    def tick(
        self, seconds: float, values: Mapping[str, float], engine: str = "momentum", **labels: str
    ) -> list[Transition]:
        """Bring values of metrics at one instant; evaluate what reads them."""
        for name, value in values.items():
            series = Labels({"__name__": name, "engine": engine, **labels})
            self.head.append(series, self.at(seconds), value)
        instant = np.array([self.at(seconds)], dtype=np.int64)
        return self.evaluator.on_arrival(dict.fromkeys(values, instant), self.at(seconds))

    def wait(self, until: float, *, step: float = 15, repeat: Any = None) -> list[Transition]:
        """Let time pass in steps; ``repeat`` is called with the seconds of each."""
        out: list[Transition] = []
        now = (self.clock.now_ns() - self.start) / SECOND
        while now + step <= until:
            now = (self.clock.advance(step) - self.start) / SECOND
            if repeat is not None:
                out += repeat(now)
            while self.evaluator.next_deadline_ns() <= self.at(now):
                out += self.evaluator.on_interval(self.at(now))
        return out

    def firing(self) -> list[tuple[str, str]]:
        """Return (alert, severity) of everything that fires, sorted."""
        return sorted(
            (a.rule, a.severity.label) for a in self.active() if a.state is AlertState.FIRING
        )

    def active(self) -> list[Alert]:
        return self.evaluator.active()


def words(transitions: Iterable[Transition]) -> list[tuple[str, str]]:
    return [(t.alert.rule, t.alert.state.value) for t in transitions]


@pytest.fixture
def pack_world() -> type[PackWorld]:
    """Return the class, so that a test names its pack and thresholds."""
    return PackWorld
