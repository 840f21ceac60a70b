"""Which series an alert is about: the index says what a look at each of them says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.labels import Labels
from tapewatch.rules.agreement import AgreementIndex


def agrees(series: Labels, row: Labels) -> bool:
    return all(row.get(n) == v for n, v in series.pairs if n != "__name__" and n in row)


label_sets = st.dictionaries(
    st.sampled_from(["__name__", "engine", "venue", "symbol"]),
    st.sampled_from(["a", "b"]),
    max_size=4,
).map(Labels)


@given(st.lists(label_sets, max_size=12), st.lists(label_sets, max_size=6))
def test_the_index_finds_what_a_look_at_each_finds(
    series: list[Labels], rows: list[Labels]
) -> None:
    index = AgreementIndex(series)
    for row in rows:
        expected = [i for i, labels in enumerate(series) if agrees(labels, row)]
        assert index.agreeing(row) == expected
