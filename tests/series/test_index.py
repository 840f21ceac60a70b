"""Series are found by every kind of matcher, exactly as testing each label set would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.series.index import SeriesIndex
from tapewatch.series.matching import compile_matchers
from tapewatch.series.querier import Matcher, MatchType

_VALUES = st.sampled_from(["", "a", "b", "ab"])
_LABELS = st.builds(
    lambda name, x, y: Labels({"__name__": name, "x": x, "y": y}),
    st.sampled_from(["pnl", "equity"]),
    _VALUES,
    _VALUES,
)
_MATCHERS = st.lists(
    st.builds(
        Matcher,
        st.sampled_from(["__name__", "x", "y", "z"]),
        st.sampled_from(list(MatchType)),
        st.sampled_from(["", "a", "b", "a.*", ".*", ".+", "a|b", "pnl"]),
    ),
    max_size=3,
)


@given(st.lists(_LABELS, max_size=12), st.sets(st.integers(0, 11)), _MATCHERS)
def test_postings_find_what_testing_every_label_set_finds(
    added: list[Labels], removed: set[int], matchers: list[Matcher]
) -> None:
    index = SeriesIndex()
    for labels in added:
        index.add(labels)
    for number in removed:
        if number < len(index):
            known = [n for n in index.match(()) if n == number]
            for each in known:
                index.remove(each)
    everything = [index.labels(n) for n in index.match(())]
    accepts = compile_matchers(matchers)
    found = [index.labels(n) for n in index.match(matchers)]
    assert found == [labels for labels in everything if accepts(labels)]
    assert index.label_names(matchers) == sorted({name for each in found for name, _ in each})
    values = {each.get("x") for each in found} - {""}
    assert index.label_values("x", matchers) == sorted(values)


def test_a_cached_selection_sees_series_that_come_and_go() -> None:
    index = SeriesIndex()
    wanted = [Matcher("x", MatchType.EQUAL, "a")]
    assert index.match(wanted) == ()
    number = index.add(Labels.of("pnl", x="a"))
    assert index.match(wanted) == (number,)
    index.remove(number)
    assert index.match(wanted) == ()


def test_a_number_is_not_given_out_again() -> None:
    index = SeriesIndex()
    first = index.add(Labels.of("a"))
    index.remove(first)
    assert index.add(Labels.of("b")) != first


def test_a_bad_pattern_is_the_askers_fault() -> None:
    index = SeriesIndex()
    index.add(Labels.of("a", x="1"))
    with pytest.raises(QueryError):
        index.match([Matcher("x", MatchType.REGEX, "(")])


@given(st.lists(st.tuples(_LABELS, st.booleans(), _MATCHERS), max_size=16))
def test_what_was_found_before_is_not_told_again_once_a_series_came_or_went(
    steps: list[tuple[Labels, bool, list[Matcher]]],
) -> None:
    index = SeriesIndex()
    asked = [matchers for _, _, matchers in steps]
    for labels, comes, _ in steps:
        number = index.number(labels)
        if comes:
            index.add(labels)
        elif number is not None:
            index.remove(number)
        for matchers in asked:
            accepts = compile_matchers(matchers)
            expected = [n for n in index.match(()) if accepts(index.labels(n))]
            assert list(index.match(matchers)) == expected
