"""Whatever stands in an event becomes text that can be written and read back."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.storage.codec import MAX_DEPTH, from_text, to_text

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8)
KEYS = st.text() | st.binary(max_size=8) | st.integers() | st.none() | st.tuples(st.integers())


def nested(levels: int) -> Any:
    made: Any = 1
    for level in range(levels):
        made = [made] if level % 2 else {"deeper": made}
    return made


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_like_json_is_exact(value: Any) -> None:
    assert from_text(to_text(value)) == value


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_nothing_is_refused(value: Any) -> None:
    from_text(to_text(value))


@pytest.mark.requirement("S5-91")
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({b"\x0f": 1}, {"0f": 1}),
        ({(1, 2): [1]}, {"(1, 2)": [1]}),
        ({datetime(2025, 1, 2, tzinfo=UTC): b"\xff"}, {"2025-01-02 00:00:00+00:00": "ff"}),
        ({"inf": math.inf}, {"inf": math.inf}),
    ],
)
def test_what_json_does_not_know_becomes_its_text(value: Any, kept: Any) -> None:
    assert from_text(to_text(value)) == kept


def test_what_is_too_deep_to_be_written_is_cut_off() -> None:
    kept = from_text(to_text(nested(100_000)))
    depth = 0
    while kept is not None:
        kept = kept[0] if isinstance(kept, list) else kept["deeper"]
        depth += 1
    assert depth == MAX_DEPTH
