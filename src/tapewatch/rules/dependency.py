"""Which rules read which metrics, so that an arrival wakes the rules that it can change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapewatch.promql.ast import metric_names
from tapewatch.rules.model import Rule

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"


class DependencyIndex:
    """Maps a metric name to the positions of the rules that read it.

    Args:
        rules: In evaluation order. A rule whose expression does not tell its metric names (a
            selector without an exact name) counts as reading everything.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._readers: dict[str, list[int]] = {}
        self._of_everything: list[int] = []
        for position, rule in enumerate(rules):
            names = metric_names(rule.expr)
            if names is None:
                self._of_everything.append(position)
            else:
                for name in names:
                    self._readers.setdefault(name, []).append(position)

    def readers(self, name: str) -> Iterable[int]:
        """Return the positions of the rules that read a metric, in no particular order."""
        found = self._readers.get(name)
        if not self._of_everything:
            return found or ()
        return [*(found or ()), *self._of_everything]
