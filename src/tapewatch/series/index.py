"""Which series are there: label sets by number, found by matchers through postings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.series.matching import compile_matchers, text_test
from tapewatch.series.querier import Matcher, MatchType

_CACHED_SELECTIONS = 4096
_NOTHING_CACHED: dict[tuple[Matcher, ...], tuple[int, ...]] = {}


class SeriesIndex:
    """Numbers label sets and finds them again. Not safe for threads: its owner holds a lock."""

    def __init__(self) -> None:
        self._labels: dict[int, Labels] = {}
        self._numbers: dict[Labels, int] = {}
        self._postings: dict[str, dict[str, set[int]]] = {}
        self._next = 0
        self._cache: dict[str, dict[tuple[Matcher, ...], tuple[int, ...]]] = {}
        """Found selections, by the metric name that they ask for; '' when by none."""
        self._cached = 0

    def __len__(self) -> int:
        return len(self._labels)

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._numbers

    def number(self, labels: Labels) -> int | None:
        """Return the number of a label set, or None if it is not known."""
        return self._numbers.get(labels)

    def labels(self, number: int) -> Labels:
        """Return the label set of a number."""
        return self._labels[number]

    def add(self, labels: Labels, number: int | None = None) -> int:
        """Return the number of a label set, giving it the next free one if it is new.

        ``number`` is for an owner that has numbered the series already, in a file.
        """
        known = self._numbers.get(labels)
        if known is not None:
            return known
        if number is None:
            number = self._next
        self._next = max(self._next, number + 1)
        self._numbers[labels] = number
        self._labels[number] = labels
        for name, value in labels:
            self._postings.setdefault(name, {}).setdefault(value, set()).add(number)
        self._forget_selections(labels)
        return number

    def remove(self, number: int) -> None:
        """Forget a series; its number is not given out again."""
        labels = self._labels.pop(number)
        del self._numbers[labels]
        for name, value in labels:
            values = self._postings[name]
            values[value].discard(number)
            if not values[value]:
                del values[value]
                if not values:
                    del self._postings[name]
        self._forget_selections(labels)

    def match(self, matchers: Sequence[Matcher]) -> tuple[int, ...]:
        """Return the numbers of the series that all matchers accept, rising.

        Raises:
            QueryError: A regular expression is not valid RE2.
        """
        key = tuple(matchers)
        name = _exact_name(key)
        found = self._cache.get(name, _NOTHING_CACHED).get(key)
        if found is None:
            found = self._find(key)
            if self._cached >= _CACHED_SELECTIONS:
                self._cache.clear()
                self._cached = 0
            self._cache.setdefault(name, {})[key] = found
            self._cached += 1
        return found

    def label_names(self, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted label names of the matching series."""
        if not matchers:
            return sorted(self._postings)
        return sorted({name for number in self.match(matchers) for name, _ in self._labels[number]})

    def label_values(self, name: str, matchers: Sequence[Matcher] = ()) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        if not matchers:
            return sorted(self._postings.get(name, ()))
        values = {self._labels[number].get(name) for number in self.match(matchers)}
        return sorted(values - {""})

    def _forget_selections(self, labels: Labels) -> None:
        """Forget what may no longer hold now that a series came or went."""
        for name in {labels.name, ""}:
            self._cached -= len(self._cache.pop(name, _NOTHING_CACHED))

    def _find(self, matchers: tuple[Matcher, ...]) -> tuple[int, ...]:
        narrowing: list[set[int]] = []
        rest: list[Matcher] = []
        for matcher in matchers:
            numbers = self._posted(matcher)
            if numbers is None:
                rest.append(matcher)
            else:
                narrowing.append(numbers)
        candidates: Iterable[int]
        if narrowing:
            narrowing.sort(key=len)
            candidates = set.intersection(*narrowing)
        else:
            candidates = self._labels
        if rest:
            accepts = compile_matchers(rest)
            candidates = [number for number in candidates if accepts(self._labels[number])]
        return tuple(sorted(candidates))

    def _posted(self, matcher: Matcher) -> set[int] | None:
        """Return the matcher's series from the postings; None if it must be tested one by one."""
        if matcher.type is MatchType.EQUAL and matcher.value:
            return self._postings.get(matcher.name, {}).get(matcher.value, set())
        if matcher.type is not MatchType.REGEX:
            return None
        accepts = text_test(matcher)
        if accepts(""):
            # Series without the label match too, and those are in no posting.
            return None
        values = self._postings.get(matcher.name, {})
        return set().union(*(numbers for value, numbers in values.items() if accepts(value)))


def _exact_name(matchers: tuple[Matcher, ...]) -> str:
    """Return the metric name that every series of the selection has; '' when it may be any."""
    for matcher in matchers:
        if matcher.name == METRIC_NAME and matcher.type is MatchType.EQUAL:
            return matcher.value
    return ""
