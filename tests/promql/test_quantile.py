"""Quantiles of samples and of buckets, against the obvious way and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.promql.quantile import (
    bucket_fraction,
    bucket_quantile,
    bucket_quantiles,
    quantile,
)

LEVELS = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, -1.0, 2.0, math.nan]))
COUNTS = st.one_of(st.integers(0, 6).map(float), st.floats(0, 1e6), st.just(math.inf))


@pytest.mark.parametrize(
    ("level", "values", "expected"),
    [
        (0.5, [3.0, 1.0, 2.0], 2.0),
        (0.75, [0.0, 1.0, 4.0], 2.5),
        (-0.1, [1.0], -math.inf),
        (1.1, [1.0], math.inf),
        (0.0, [2.0, math.nan], math.nan),  # NaN sorts as the smallest
        (1.0, [2.0, math.nan], 2.0),
        (0.5, [], math.nan),
        (math.nan, [1.0], math.nan),
    ],
)
def test_quantiles_of_samples(level: float, values: list[float], expected: float) -> None:
    assert quantile(level, np.array(values)) == pytest.approx(expected, nan_ok=True)


@given(st.floats(0, 1), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_quantiles_equal_those_of_numpy(level: float, values: list[float]) -> None:
    found = quantile(level, np.array(values))
    assert found == pytest.approx(float(np.quantile(values, level)), rel=1e-9, abs=1e-6)


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=5, unique=True),
    st.lists(st.tuples(LEVELS, st.lists(COUNTS, min_size=6, max_size=6)), min_size=1, max_size=6),
)
def test_many_histograms_at_once_equal_each_alone(
    inner: list[float], columns: list[tuple[float, list[float]]]
) -> None:
    bounds = [*sorted(inner), math.inf]
    size = len(bounds)
    with np.errstate(all="ignore"):
        found, mended = bucket_quantiles(
            np.array([level for level, _ in columns]),
            np.array(bounds),
            np.array([counts[:size] for _, counts in columns]).T,
        )
    for k, (level, counts) in enumerate(columns):
        value, was_mended = bucket_quantile(level, list(zip(bounds, counts, strict=False)))
        assert found[k] == pytest.approx(value, nan_ok=True)
        assert mended[k] == was_mended


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (0.0, 1.0, 0.4),
        (0.0, 0.5, 0.2),  # linear inside a bucket
        (1.0, math.inf, 0.6),
        (-math.inf, math.inf, 1.0),
        (2.0, 1.0, 0.0),
        (math.nan, 1.0, math.nan),
    ],
)
def test_fractions_of_a_histogram(lower: float, upper: float, expected: float) -> None:
    buckets = [(1.0, 4.0), (2.0, 7.0), (math.inf, 10.0)]
    assert bucket_fraction(lower, upper, buckets) == pytest.approx(expected, nan_ok=True)


def test_a_histogram_without_its_last_bucket_or_observations_is_nan() -> None:
    assert math.isnan(bucket_quantile(0.5, [(1.0, 4.0), (2.0, 7.0)])[0])
    assert math.isnan(bucket_quantile(0.5, [(1.0, 0.0), (math.inf, 0.0)])[0])
    assert math.isnan(bucket_quantile(0.5, [(math.inf, 3.0)])[0])
    assert math.isnan(bucket_fraction(0, 1, [(1.0, 4.0)]))
