"""Which series an alert is about: those whose labels agree with the alert's own.

Two label sets agree when no label that both have differs. The metric name does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from tapewatch.model.labels import METRIC_NAME, Labels

Names = tuple[str, ...]


class AgreementIndex:
    """Finds the agreeing sets among many without looking at each.

    Sets with the same label names are kept together. For those, what has to be equal is the same
    for every question with the same names; so the answers are looked up by these values.
    """

    def __init__(self, series: Iterable[Labels]) -> None:
        self._by_names: dict[Names, list[tuple[int, Labels]]] = {}
        for position, labels in enumerate(series):
            names = tuple(name for name, _ in labels.pairs if name != METRIC_NAME)
            self._by_names.setdefault(names, []).append((position, labels))
        self._by_values: dict[tuple[Names, Names], dict[Names, list[int]]] = {}

    def agreeing(self, row: Labels) -> list[int]:
        """Return the positions, rising, of the sets that agree with this one."""
        found: list[int] = []
        for names, members in self._by_names.items():
            shared = tuple(name for name in names if name in row)
            table = self._by_values.get((names, shared))
            if table is None:
                table = self._by_values[names, shared] = {}
                for position, labels in members:
                    values = tuple(labels.get(name) for name in shared)
                    table.setdefault(values, []).append(position)
            found += table.get(tuple(row.get(name) for name in shared), ())
        found.sort()
        return found
