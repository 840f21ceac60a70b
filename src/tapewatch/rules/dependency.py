"""Which rules read which metrics, so that an arrival wakes the rules that it can change."""

from __future__ import annotations

from collections.abc import Sequence

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.ast import selectors
from tapewatch.rules.model import Rule
from tapewatch.series.matching import LabelsTest, compile_matchers

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
MAX_NAMES = 100_000
"""Names whose readers are remembered."""


class DependencyIndex:
    """Maps a metric name to the positions of the rules that read it.

    Args:
        rules: In evaluation order. A selector without an exact name is asked whether it could
            match each name that arrives; one that tests no name at all reads everything.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._readers: dict[str, set[int]] = {}
        self._open: list[tuple[LabelsTest, int]] = []
        self._known: dict[str, tuple[int, ...]] = {}
        for position, rule in enumerate(rules):
            for selector in selectors(rule.expr):
                if selector.exact_name:
                    self._readers.setdefault(selector.exact_name, set()).add(position)
                else:
                    tests = [m for m in selector.matchers if m.name == METRIC_NAME]
                    self._open.append((compile_matchers(tests), position))

    def readers(self, name: str) -> tuple[int, ...]:
        """Return the positions of the rules that read a metric, rising."""
        known = self._known.get(name)
        if known is None:
            found = set(self._readers.get(name, ()))
            if self._open:
                series = Labels.of(name)
                found.update(position for test, position in self._open if test(series))
            if len(self._known) >= MAX_NAMES:
                self._known.clear()
            known = self._known[name] = tuple(sorted(found))
        return known
