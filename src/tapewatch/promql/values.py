"""What expressions evaluate to at all instants at once: a row per series, a column per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.series.querier import LabelList, Times, Values

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Groups = dict[Labels, list[int]]
"""Rows of each group, under the group's labels. Never changed once made."""
T = TypeVar("T")

_MAX_DERIVED = 32
"""Derivations kept with one list of labels."""


def alive_rows(present: Bools) -> Bools:
    """Return which rows have anything at any step, shape (m,)."""
    result: Bools = np.logical_or.reduce(present, axis=1)
    return result


def widened(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an array repeated to a shape without copying; the array itself if it has it."""
    return array if array.shape == shape else np.broadcast_to(array, shape)


def pick(labels: list[Labels], rows: Bools) -> list[Labels]:
    """Return the labels of the rows that are marked."""
    return [one for one, chosen in zip(labels, rows.tolist(), strict=True) if chosen]


def derived(labels: list[Labels], key: object, derive: Callable[[], T]) -> T:
    """Return what is derived from labels as a whole; only once where the list is a lasting one."""
    if not isinstance(labels, LabelList):
        return derive()
    known = labels.derived
    if key not in known:
        if len(known) >= _MAX_DERIVED:
            known.clear()
        known[key] = derive()
    found: T = known[key]
    return found


@dataclass(slots=True)
class Vector:
    """An instant vector at every step.

    The metric name may be dropped lazily: ``drops_name`` says that ``labels`` still carry names
    that do not count any more. Only `LabelSpace.labels_of` looks at rows' final labels.
    """

    labels: list[Labels]
    values: Floats
    """Shape (m, n)."""
    present: Bools
    """Shape (m, n)."""
    one_name: bool = False
    """All rows have the same metric name, so dropping it cannot make two rows equal."""
    drops_name: bool = False
    ordered: bool = False
    """The order of the rows is part of the answer (sort, topk)."""

    @property
    def rows(self) -> int:
        return len(self.labels)


@dataclass(slots=True)
class Windows:
    """A range vector at every step: each window is a slice [lo, hi) of flat arrays."""

    labels: list[Labels]
    times: Times
    """Nanoseconds of all rows' samples, row after row; stale markers are already gone."""
    values: Values
    lo: Ints
    """Shape (m, n), indices into ``times`` and ``values``."""
    hi: Ints
    starts: Times
    """Open left edge of the window at each step, shape (n,)."""
    ends: Times
    """Closed right edge of the window at each step, shape (n,)."""
    range_ns: int
    one_name: bool = False

    @property
    def rows(self) -> int:
        return len(self.labels)

    def counts(self) -> Ints:
        """Return the number of samples in each window, shape (m, n)."""
        return self.hi - self.lo


Value = Vector | Windows | Floats | str
"""A scalar is its floats at every step, shape (n,)."""


@dataclass(slots=True)
class LabelSpace:
    """Derives label sets and remembers them: a derivation costs far more than a look-up."""

    limit: int = 200_000
    """Derivations that are remembered at most; beyond that all are forgotten."""
    derived: int = 0
    nameless: dict[Labels, Labels] = field(default_factory=dict)
    grouped: dict[tuple[object, ...], dict[Labels, Labels]] = field(default_factory=dict)

    def _make_room(self) -> None:
        self.derived += 1
        if self.derived > self.limit:
            self.nameless.clear()
            self.grouped.clear()
            self.derived = 1

    def without_name(self, labels: Labels) -> Labels:
        """Return the labels without the metric name."""
        found = self.nameless.get(labels)
        if found is None:
            self._make_room()
            found = self.nameless[labels] = labels.without_name()
        return found

    def labels_of(self, vector: Vector) -> list[Labels]:
        """Return the final labels of each row."""
        if not vector.drops_name:
            return vector.labels
        labels = vector.labels
        return derived(
            labels, "nameless", lambda: LabelList(self.without_name(one) for one in labels)
        )

    def settle(self, vector: Vector) -> Vector:
        """Return the vector with its final labels in place."""
        if not vector.drops_name:
            return vector
        return Vector(
            self.labels_of(vector),
            vector.values,
            vector.present,
            one_name=True,
            ordered=vector.ordered,
        )

    def group_keys(self, vector: Vector, names: tuple[str, ...], *, without: bool) -> list[Labels]:
        """Return for each row the labels that an aggregation or a match groups it by.

        ``without`` keeps all labels but ``names`` and the metric name; else only ``names`` stay.
        """
        kept = names
        if vector.drops_name:
            kept = tuple(name for name in names if name != METRIC_NAME)
        labels = vector.labels
        return derived(
            labels, ("keys", without, kept), lambda: self._keys(labels, kept, without=without)
        )

    def groups(self, vector: Vector, names: tuple[str, ...], *, without: bool) -> Groups:
        """Return the rows of each group, as ``group_keys`` groups them."""
        keys = self.group_keys(vector, names, without=without)

        def gather() -> Groups:
            groups: Groups = {}
            for row, key in enumerate(keys):
                groups.setdefault(key, []).append(row)
            return groups

        return derived(vector.labels, ("groups", without, names, vector.drops_name), gather)

    def _keys(self, rows: list[Labels], kept: tuple[str, ...], *, without: bool) -> list[Labels]:
        cache = self.grouped.setdefault((without, kept), {})
        keys = []
        same: dict[Labels, Labels] = {}
        for labels in rows:
            key = cache.get(labels)
            if key is None:
                self._make_room()
                key = labels.without(*kept, METRIC_NAME) if without else labels.only(*kept)
                # One object per key: grouping then finds keys by identity, not by comparing.
                cache[labels] = key = same.setdefault(key, key)
            keys.append(key)
        return keys
