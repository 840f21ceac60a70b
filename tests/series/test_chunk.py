"""What a chunk gives back is bit for bit what went in."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapewatch.series.chunk import (
    ChunkError,
    decode_times,
    decode_values,
    encode_times,
    encode_values,
    has_absent,
)
from tapewatch.series.querier import STALE, STALE_BITS, Times, Values

_ANY_BITS = hnp.arrays(
    np.uint64, st.integers(1, 200), elements=st.integers(0, 2**64 - 1), fill=st.nothing()
).map(lambda bits: bits.view(np.float64))
_DECIMAL_LIKE = st.integers(0, 6).flatmap(
    lambda places: hnp.arrays(
        np.float64,
        st.integers(1, 400),
        elements=st.integers(-(10**9), 10**9).map(lambda n: n / 10**places),
    )
)
_SPECIAL = hnp.arrays(
    np.float64,
    st.integers(1, 300),
    elements=st.sampled_from(
        [0.0, -0.0, 1.0, 0.1, 0.1 + 0.2, math.inf, -math.inf, math.nan, STALE, 5e-324, 1.7e308]
    ),
)
_RISING = hnp.arrays(
    np.int64, st.integers(1, 300), elements=st.integers(-(2**62), 2**62), unique=True
).map(np.sort)


def bits(values: Values) -> list[int]:
    result: list[int] = np.ascontiguousarray(values).view(np.uint64).tolist()
    return result


@given(st.one_of(_ANY_BITS, _DECIMAL_LIKE, _SPECIAL))
def test_any_bits_come_back(values: Values) -> None:
    assert bits(decode_values(encode_values(values))) == bits(values)


@given(st.one_of(_ANY_BITS, _SPECIAL))
def test_absent_cells_come_back_as_nan_and_all_others_bit_for_bit(values: Values) -> None:
    data = encode_values(values, keeps_nan=False)
    back = decode_values(data)
    absent = np.isnan(values) & (values.view(np.uint64) != np.uint64(STALE_BITS))
    assert has_absent(data) == absent.any()
    assert np.isnan(back[absent]).all()
    assert bits(back[~absent]) == bits(values[~absent])


@given(_RISING)
@example(np.array([-(2**63), 2**63 - 1], np.int64))
def test_times_come_back(times: Times) -> None:
    assert decode_times(encode_times(times)).tolist() == times.tolist()


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=1, max_size=300))
def test_a_balance_that_was_added_up_comes_back(steps: list[float]) -> None:
    balance = 100_000 + np.cumsum(np.array(steps))
    assert bits(decode_values(encode_values(balance))) == bits(balance)


def test_a_column_that_is_read_across_a_table_is_encoded_too() -> None:
    rows = np.arange(60.0).reshape(20, 3)
    assert decode_values(encode_values(rows[:, 1])).tolist() == rows[:, 1].tolist()


_NOISE = np.random.default_rng(7)
_STEPS = np.round(_NOISE.normal(0, 0.05, 4096), 2)
_SIZES = {
    "a constant": (np.full(4096, 1e9 / 7), 0.01),
    "a tick counter": (np.arange(4096.0), 0.05),
    "a price of two decimals": (np.round(100 + np.cumsum(_STEPS), 2), 1.0),
    "a balance with the dust of its sums": (100_000 + np.cumsum(_STEPS * 60), 2.0),
    "percent with four decimals": (np.round(_NOISE.normal(0, 1, 4096), 4), 2.3),
    "a price with a few stale markers": (
        np.where(np.arange(4096) % 512 == 511, STALE, np.round(100 + np.cumsum(_STEPS), 2)),
        1.2,
    ),
    "noise of all bits": (_NOISE.random(4096), 7.2),
}


@pytest.mark.parametrize("name", _SIZES)
def test_a_column_costs_no_more_than_its_kind_should(name: str) -> None:
    values, most = _SIZES[name]
    data = encode_values(values)
    assert bits(decode_values(data)) == bits(values)
    assert len(data) / len(values) <= most


def test_times_in_whole_milliseconds_cost_less_than_a_bit() -> None:
    times = 1_700_000_000_000_000_000 + np.arange(4096) * 15_000_000_000
    assert len(encode_times(times)) / len(times) < 0.1


@given(st.binary(max_size=200))
@example(b"\x01" + b"\xff" * 40)
def test_garbage_is_refused_and_never_worse(data: bytes) -> None:
    for decode in (decode_times, decode_values):
        with contextlib.suppress(ChunkError):
            decode(data)


@given(st.one_of(_DECIMAL_LIKE, _SPECIAL), st.data())
def test_a_damaged_chunk_is_refused_or_read_and_never_worse(
    values: Values, data: st.DataObject
) -> None:
    whole = bytearray(encode_values(values, keeps_nan=data.draw(st.booleans())))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(whole), bytes(whole[:place])):
        with contextlib.suppress(ChunkError):
            assert len(decode_values(broken)) <= 1 << 20


def test_an_empty_column_is_refused() -> None:
    with pytest.raises(ValueError, match="rows, not 0"):
        encode_values(np.empty(0))
    with pytest.raises(ValueError, match="rows, not 0"):
        encode_times(np.empty(0, np.int64))
