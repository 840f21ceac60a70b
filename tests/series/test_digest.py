"""A digest says of a window what a look at its samples says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.querier import STALE, Digest, Matcher, MatchType

NAMES = ("a", "b", "c")
cells = st.one_of(st.floats(allow_nan=False), st.sampled_from([math.nan, STALE]))
appends = st.lists(
    st.tuples(
        st.sampled_from([NAMES, NAMES[:2], NAMES[1:], NAMES[:1]]),
        st.lists(st.integers(0, 40), min_size=1, max_size=30),
        st.lists(cells, min_size=3, max_size=3),
    ),
    max_size=8,
)


def named(name: str) -> list[Matcher]:
    return [Matcher("__name__", MatchType.EQUAL, name)]


def same(one: Digest, other: Digest) -> bool:
    return one[:3] == other[:3] and bool(
        np.array_equal(np.array(one[3:]), np.array(other[3:]), equal_nan=True)
    )


@given(appends, st.integers(0, 40), st.integers(0, 40))
def test_it_is_that_of_the_selected_samples(
    arrived: list[tuple[tuple[str, ...], list[int], list[float]]], start: int, end: int
) -> None:
    head = Head()
    for names, times, row in arrived:
        table = head.table([Labels.of(name) for name in names])
        table.append(np.array(times, np.int64), np.array([row[: len(names)]] * len(times)))
    selections = [named(name) for name in NAMES] + [[]]
    found = head.digest(selections, start, end)
    for matchers, digests in zip(selections, found, strict=True):
        expected = [Digest.of(samples) for samples in head.select(matchers, start, end)]
        expected.sort(key=lambda one: one.labels)
        digests.sort(key=lambda one: one.labels)
        assert len(digests) == len(expected)
        assert all(map(same, digests, expected))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_columns_of_one_table_are_told_apart(rows: int) -> None:
    head = Head()
    at = np.arange(rows, dtype=np.int64)
    head.table([Labels.of("a"), Labels.of("b")]).append(at, np.stack([at * 1.0, at * -2.0], axis=1))
    last = rows - 1
    assert head.digest([named("b"), named("a"), named("none")], 0, last) == [
        [Digest(Labels.of("b"), 0, last, -2.0 * last, 0.0, -2.0 * last)],
        [Digest(Labels.of("a"), 0, last, 0.0, last, last)],
        [],
    ]
