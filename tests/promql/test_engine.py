"""The engine: values, label rules, staleness, limits, and one pass against many."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.model.clock import HOUR, MINUTE, SECOND
from tapewatch.model.errors import QueryError, QueryExecutionError, QueryLimitError
from tapewatch.model.labels import EMPTY, Labels
from tapewatch.promql import (
    QueryEngine,
    QueryLimits,
    QueryTimeoutError,
    ValueType,
    VectorSample,
    parse,
)
from tapewatch.series.head import Head
from tapewatch.series.querier import STALE, is_stale
from tapewatch.testing import MemoryQuerier

T0 = 1_700_000_000 * SECOND


def engine_over(
    *series: tuple[Labels, list[tuple[float, float]]], **options: object
) -> QueryEngine:
    """Return an engine over samples given as (seconds after T0, value)."""
    querier = MemoryQuerier()
    for labels, samples in series:
        querier.add(labels, [(T0 + round(t * SECOND), v) for t, v in samples])
    return QueryEngine(querier, **options)  # type: ignore[arg-type]


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


UP = Labels.of("up", job="a")


# Results


def test_an_instant_query_gives_one_sample_per_series() -> None:
    engine = engine_over((UP, [(0, 1.0), (10, 3.0)]))
    result = engine.instant("up > 2", at(12))
    assert result.type is ValueType.VECTOR
    assert result.vector == (VectorSample(UP, at(12), 3.0),)


def test_results_of_every_type() -> None:
    engine = engine_over((UP, [(0, 1.0), (10, 3.0)]))
    assert engine.instant("1 + 2 * 3", at(0)).scalar == 7.0
    assert engine.instant("time()", at(1.5)).scalar == T0 / SECOND + 1.5
    assert engine.instant("'a' ", at(0)).string == "a"
    matrix = engine.instant("up[1m]", at(10)).matrix
    assert [s.times.tolist() for s in matrix] == [[at(0), at(10)]]
    sub = engine.instant("up[20s:5s]", at(10)).matrix
    assert sub[0].values.tolist() == [1.0, 1.0, 3.0]


def test_a_range_query_is_sorted_and_leaves_gaps() -> None:
    engine = engine_over(
        (Labels.of("m", x="b"), [(0, 1.0)]),
        (Labels.of("m", x="a"), [(0, 1.0), (600, 2.0)]),
    )
    result = engine.range("m", at(0), at(660), MINUTE)
    assert [s.labels.get("x") for s in result.matrix] == ["a", "b"]
    first, second = result.matrix
    assert ((first.times - T0) // MINUTE).tolist() == [0, 1, 2, 3, 4, 10, 11]
    assert len(second.times) == 5
    scalar = engine.range("2 * 2", at(0), at(2), SECOND)
    assert scalar.matrix[0].labels == EMPTY
    assert scalar.matrix[0].values.tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("query", "message"),
    [("up[5m]", "range vector"), ("'x'", "string")],
)
def test_only_scalars_and_vectors_have_ranges(query: str, message: str) -> None:
    engine = engine_over()
    with pytest.raises(QueryError, match=f'invalid expression type "{message}"'):
        engine.range(query, at(0), at(1), SECOND)
    with pytest.raises(QueryError, match=f'invalid expression type "{message}"'):
        engine.at(query, np.array([at(0)]))


@pytest.mark.parametrize(("start", "end", "step"), [(1, 0, 1), (0, 1, 0), (0, 1, -1)])
def test_ranges_that_go_nowhere_are_refused(start: float, end: float, step: int) -> None:
    with pytest.raises(QueryError):
        engine_over().range("1", at(start), at(end), step)


def test_at_no_instants_is_nothing() -> None:
    matrix = engine_over((UP, [(0, 1.0)])).at("up", np.array([], dtype=np.int64))
    assert matrix.labels == ()


# Staleness and time


def test_a_stale_marker_ends_a_series_until_its_next_sample() -> None:
    engine = engine_over((UP, [(0, 1.0), (10, STALE), (20, 2.0), (30, math.nan)]))
    times = np.array([at(s) for s in (0, 9, 10, 19, 20, 30)])
    matrix = engine.at("up", times)
    assert matrix.present[0].tolist() == [True, True, False, False, True, True]
    assert math.isnan(matrix.values[0, 5])
    counted = engine.instant("count_over_time(up[1m])", at(30)).vector
    assert counted[0].value == 3.0  # the marker is no sample, an ordinary NaN is one


def test_the_left_edge_of_lookback_and_windows_is_open() -> None:
    engine = engine_over((UP, [(0, 1.0)]))
    assert engine.instant("up", at(300) - 1).vector
    assert not engine.instant("up", at(300)).vector
    assert engine.instant("count_over_time(up[10s])", at(10) - 1).vector
    assert not engine.instant("count_over_time(up[10s])", at(10)).vector
    short = engine_over((UP, [(0, 1.0)]), lookback_ns=10 * SECOND)
    assert not short.instant("up", at(10)).vector


def test_start_and_end_are_the_edges_of_a_range_and_each_instant_elsewhere() -> None:
    engine = engine_over((UP, [(float(s), float(s)) for s in range(0, 100, 10)]))
    ranged = engine.range("up @ end() - up @ start()", at(0), at(90), 10 * SECOND)
    assert set(ranged.matrix[0].values.tolist()) == {90.0}
    times = np.array([at(15), at(35)])
    assert engine.at("up @ end()", times).values.tolist() == [[10.0, 30.0]]
    assert engine.at("max_over_time(up[20s:1s] @ start())", times).values.tolist() == [[10.0, 30.0]]


def test_samples_finer_than_a_millisecond_are_told_apart() -> None:
    engine = engine_over((UP, [(0, 1.0), (0.000_001, 2.0), (0.000_002, 3.0)]))
    times = np.array([T0, T0 + 1000, T0 + 1999, T0 + 2000])
    assert engine.at("up", times).values.tolist() == [[1.0, 2.0, 2.0, 3.0]]


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    "query",
    [
        "up offset 290y",
        "up offset -290y",
        "count_over_time(up[290y])",
        "up @ 9e15",
        "up @ -9e15",
        "max_over_time((max_over_time(up[290y:1y]))[290y:1y])",
        "max_over_time(up[200y:100y] offset -250y)",
    ],
)
def test_instants_at_the_end_of_time_are_no_error(query: str) -> None:
    engine = engine_over((UP, [(0, 1.0)]))
    engine.instant(query, at(0))
    engine.range(query, at(0), at(60), MINUTE)


# Names and label sets


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("m > 0", True),
        ("m and m", True),
        ("+m", True),
        ("topk(1, m)", True),
        ("last_over_time(m[5m])", True),
        ("label_replace(m, 'a', 'b', '', '')", True),
        ("sort(m)", True),
        ("m > bool 0", False),
        ("m + 1", False),
        ("-m", False),
        ("abs(m)", False),
        ("rate(m[5m])", False),
        ("m / m", False),
        ("sum without () (m)", False),
    ],
)
def test_the_metric_name_stays_or_goes(query: str, named: bool) -> None:
    engine = engine_over((Labels.of("m", i="1"), [(0, 1.0), (10, 2.0)]))
    (sample,) = engine.instant(query, at(10)).vector
    assert bool(sample.labels.name) is named
    assert sample.labels.get("i") == "1"


def test_equal_label_sets_are_an_error_where_they_meet() -> None:
    engine = engine_over(
        (Labels.of("m1", i="1"), [(0, 1.0)]),
        (Labels.of("m2", i="1"), [(0, 2.0)]),
        (Labels.of("m3", i="1"), [(1000, 3.0)]),
    )
    with pytest.raises(QueryExecutionError, match="same labelset"):
        engine.instant("-{__name__=~'m1|m2'}", at(0))
    # They never meet: fine at single instants, and for functions of vectors over a range ...
    times = np.array([at(0), at(1000)])
    assert engine.at("-{__name__=~'m1|m3'}", times).values.tolist() == [[-1.0, -3.0]]
    merged = engine.range("abs({__name__=~'m1|m3'})", at(0), at(1000), 1000 * SECOND)
    assert merged.matrix[0].values.tolist() == [1.0, 3.0]
    # ... but functions of range vectors are judged over the whole range, as Prometheus does.
    with pytest.raises(QueryExecutionError, match="same labelset"):
        engine.range("max_over_time({__name__=~'m1|m3'}[1m])", at(0), at(1000), 1000 * SECOND)


def test_what_is_fixed_in_time_is_evaluated_even_for_an_empty_subquery() -> None:
    engine = engine_over((UP, [(0, 1.0)]), (UP.with_(i="1"), [(0, 1.0)]))
    fixed = f"up @ {T0 // SECOND}"
    with pytest.raises(QueryExecutionError, match="many-to-many"):
        engine.instant(f"count_over_time(({fixed} + ignoring (i) {fixed})[1ms:1h])", at(1))
    assert not engine.instant("count_over_time((up + ignoring (i) up)[1ms:1h])", at(1)).vector


# Notes


def test_warnings_and_infos_carry_their_place() -> None:
    engine = engine_over(
        (Labels.of("m", i="1"), [(0, 1.0), (10, 2.0)]),
        (Labels.of("b_bucket", le="x"), [(0, 1.0)]),
    )
    result = engine.instant("1 + rate(m[1m])", at(10))
    assert result.infos == (
        "PromQL info: metric might not be a counter, name does not end in "
        '_total/_sum/_count/_bucket: "m" (1:10)',
    )
    result = engine.instant("\nquantile(7, m)", at(10))
    assert result.warnings == (
        "PromQL warning: quantile value should be between 0 and 1, got 7 (2:10)",
    )
    result = engine.instant("histogram_quantile(0.5, b_bucket)", at(10))
    assert result.warnings == (
        'PromQL warning: bucket label "le" is missing or has a malformed value of "x" '
        'for metric name "b_bucket" (1:25)',
    )


def test_what_is_not_computed_says_so() -> None:
    engine = engine_over((UP, [(0, 1.0)]))
    with pytest.raises(QueryError, match="not supported yet: histogram_count"):
        engine.instant("1 + histogram_count(up)", at(0))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("topk(NaN, up)", "Parameter value is NaN"),
        ("topk(1e30, up)", "overflows int64"),
        ("count_values('', up)", 'invalid label name ""'),
        ("label_replace(up, '', 'x', 'job', '.*')", "invalid destination label name"),
        ("label_replace(up, 'x', 'x', 'job', '(')", "invalid regular expression"),
        ("label_join(up, 'x', '', '')", "invalid source label name"),
        ("double_exponential_smoothing(up[1m], 1, 0.5)", "invalid smoothing factor"),
        ("double_exponential_smoothing(up[1m], 0.5, 0)", "invalid trend factor"),
        ("limit_ratio(NaN, up)", "Ratio value is NaN"),
    ],
)
def test_data_that_allow_no_answer_are_execution_errors(query: str, message: str) -> None:
    engine = engine_over((UP, [(0, 1.0), (1, 2.0)]))
    with pytest.raises(QueryExecutionError, match=message) as caught:
        engine.instant(query, at(1))
    assert caught.value.line == 1


# Limits


@pytest.mark.requirement("T17")
def test_a_query_ends_when_its_time_is_up() -> None:
    clock = itertools.count(0.0, 0.5)
    engine = engine_over((UP, [(0, 1.0)]), monotonic=lambda: next(clock))
    with pytest.raises(QueryTimeoutError, match="timed out"):
        engine.instant("abs(abs(abs(abs(abs(abs(up))))))", at(0))


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    "query",
    [
        "count_over_time(up[1y:1ms])",
        "max_over_time((sum_over_time(up[1d:1ms]))[1y:1ms])",
        "up",
        "up + up",
        "rate(up[1h])",
    ],
)
def test_a_query_may_hold_only_so_many_samples(query: str) -> None:
    series = [(UP.with_(i=str(i)), [(float(t), 1.0) for t in range(60)]) for i in range(20)]
    engine = engine_over(*series, limits=QueryLimits(max_samples=1000))
    with pytest.raises(QueryLimitError, match="too many samples"):
        engine.range(query, at(0), at(600), SECOND)


@pytest.mark.requirement("T17")
def test_a_range_has_at_most_so_many_points_but_instants_are_free() -> None:
    engine = engine_over((UP, [(0, 1.0)]))
    with pytest.raises(QueryLimitError, match="11000 points"):
        engine.range("up", at(0), at(11_000), SECOND)
    assert len(engine.range("1", at(0), at(10_999), SECOND).matrix[0].times) == 11_000
    many = np.arange(20_000, dtype=np.int64) * SECOND + T0
    assert engine.at("up", many).present.sum() == 300


@pytest.mark.requirement("T17")
def test_long_chains_evaluate_without_recursion() -> None:
    engine = engine_over((UP, [(0, 1.0)]))
    assert engine.instant("1" + "+1" * 4000, at(0)).scalar == 4001.0
    assert engine.instant("up" + "+up" * 1500, at(0)).vector[0].value == 1501.0
    assert len(engine.instant("up" + " or up" * 1000, at(0)).vector) == 1
    assert engine.instant("abs(" * 31 + "up" + ")" * 31, at(0)).vector[0].value == 1.0


# One pass over many instants equals each instant alone

QUERIES = [
    "m",
    "m > 0",
    "m offset 20s",
    "m @ 1700000050",
    "n unless m > 1",
    "m or n",
    "sum(m)",
    "avg by (i) (m)",
    "stddev(m)",
    "quantile(0.5, m)",
    "count_values('v', m)",
    "topk(1, m)",
    "rate(m[40s])",
    "delta(m[1m])",
    "irate(m[1m])",
    "changes(m[2m])",
    "resets(m[2m])",
    "deriv(m[1m])",
    "predict_linear(m[1m], 60)",
    "sum_over_time(m[1m])",
    "avg_over_time(m[50s])",
    "stdvar_over_time(m[1m])",
    "min_over_time(m[1m])",
    "max_over_time(m[1m])",
    "quantile_over_time(0.3, m[1m])",
    "mad_over_time(m[1m])",
    "double_exponential_smoothing(m[2m], 0.3, 0.6)",
    "last_over_time(m[30s])",
    "ts_of_max_over_time(m[1m])",
    "absent(m > 3)",
    "absent_over_time(m[20s])",
    "max_over_time(sum(m)[1m:7s])",
    "m * on (i) n",
    "m * on (i) group_left n",
    "m > bool n",
    "scalar(m{i='0'})",
    "vector(time())",
    "timestamp(m)",
    "label_replace(m, 'j', 'x$1', 'i', '(.*)')",
    "clamp(m, scalar(n{i='0'}), 4)",
    "minute(m)",
]
VALUES = st.one_of(
    st.integers(-3, 5).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([math.nan, math.inf, -math.inf, STALE, 1e300, -0.0]),
)
SAMPLES = st.lists(st.tuples(st.integers(0, 180), VALUES), max_size=25).map(
    lambda pairs: sorted({float(t): v for t, v in pairs}.items())
)


@st.composite
def engines(draw: st.DrawFn) -> QueryEngine:
    return engine_over(
        *((Labels.of(name, i=i), draw(SAMPLES)) for name in ("m", "n") for i in ("0", "1", "2")),
        lookback_ns=MINUTE,
    )


def answer(engine: QueryEngine, query: str, when: int) -> dict[Labels, float] | None:
    try:
        result = engine.instant(query, when)
    except QueryExecutionError:
        return None
    if result.scalar is not None:
        return {EMPTY: result.scalar}
    return {sample.labels: sample.value for sample in result.vector}


@settings(max_examples=150, deadline=None)
@given(engines(), st.sampled_from(QUERIES), st.sets(st.integers(0, 240), min_size=1, max_size=12))
def test_evaluating_many_instants_at_once_equals_each_alone(
    engine: QueryEngine, query: str, seconds: set[int]
) -> None:
    times = np.array([at(s) for s in sorted(seconds)], dtype=np.int64)
    alone = [answer(engine, query, int(t)) for t in times]
    if None in alone:
        with pytest.raises(QueryExecutionError):
            engine.at(query, times)
        return
    matrix = engine.at(query, times)
    assert matrix.present.any(axis=1).all()
    for column, expected in enumerate(alone):
        assert expected is not None
        found = {
            labels: float(matrix.values[row, column])
            for row, labels in enumerate(matrix.labels)
            if matrix.present[row, column]
        }
        assert found.keys() == expected.keys()
        for labels, value in found.items():
            assert value == pytest.approx(expected[labels], rel=1e-9, abs=1e-9, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(engines(), st.sampled_from(["sum(m)", "avg by (i) (m)", "avg(m)", "sum(m - n)"]))
def test_long_ranges_are_added_up_like_single_instants(engine: QueryEngine, query: str) -> None:
    times = np.array([at(s) for s in range(0, 200, 2)], dtype=np.int64)
    matrix = engine.at(query, times)
    for column, when in enumerate(times.tolist()):
        expected = answer(engine, query, when)
        found = {
            labels: float(matrix.values[row, column])
            for row, labels in enumerate(matrix.labels)
            if matrix.present[row, column]
        }
        assert expected is not None
        assert found.keys() == expected.keys()
        for labels, value in found.items():
            assert value == pytest.approx(expected[labels], rel=1e-12, nan_ok=True)


def test_a_mean_survives_sums_that_overflow() -> None:
    rows = [
        (Labels.of("m", i=str(i)), [(float(s), 1.5e308 if i else 0.5) for s in range(0, 200, 10)])
        for i in range(3)
    ]
    engine = engine_over(*rows)
    times = np.array([at(s) for s in range(100)], dtype=np.int64)
    for chosen in (times, times[:1]):
        assert np.isinf(engine.at("sum(m)", chosen).values).all()
        assert engine.at("avg(m)", chosen).values == pytest.approx(1e308)
    assert engine.at("avg_over_time(m{i='1'}[1m])", times).values == pytest.approx(1.5e308)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(SAMPLES, min_size=1, max_size=4),
    st.sampled_from(["m", "m offset 10s", "sum(m)", "timestamp(m)", "rate(m[1m])"]),
    st.sets(st.integers(0, 240), min_size=1, max_size=8),
)
def test_the_head_answers_as_series_in_a_list_do(
    rows: list[list[tuple[float, float]]], query: str, seconds: set[int]
) -> None:
    head, listed = Head(), MemoryQuerier()
    for i, samples in enumerate(rows):
        labels = Labels.of("m", i=str(i))
        listed.add(labels, [(at(t), v) for t, v in samples])
        for t, v in samples:
            head.append(labels, at(t), v)
    times = np.array([at(s) for s in sorted(seconds)], dtype=np.int64)
    for chosen in (times, times[-1:]):
        found, wanted = (
            QueryEngine(querier, lookback_ns=MINUTE).at(query, chosen) for querier in (head, listed)
        )
        assert dict(zip(found.labels, found.present.tolist(), strict=True)) == dict(
            zip(wanted.labels, wanted.present.tolist(), strict=True)
        )
        order = [wanted.labels.index(labels) for labels in found.labels]
        np.testing.assert_allclose(
            np.where(found.present, found.values, 0.0),
            np.where(wanted.present, wanted.values, 0.0)[order],
        )


@settings(max_examples=100, deadline=None)
@given(SAMPLES, st.integers(0, 240))
def test_selection_equals_the_obvious_one(samples: list[tuple[float, float]], second: int) -> None:
    engine = engine_over((UP, samples), lookback_ns=MINUTE)
    window = [v for t, v in samples if second - 60 < t <= second]
    stale = [bool(is_stale(np.array([v]))[0]) for v in window]
    vector = engine.instant("up", at(second)).vector
    assert bool(vector) is (bool(window) and not stale[-1])
    if vector:
        assert vector[0].value == pytest.approx(window[-1], nan_ok=True)
    counted = engine.instant("count_over_time(up[1m])", at(second)).vector
    assert (counted[0].value if counted else 0) == stale.count(False)


def test_random_texts_that_parse_either_answer_or_are_refused() -> None:
    engine = engine_over(
        (Labels.of("m", i="0"), [(0, 1.0), (30, STALE), (40, math.nan)]),
        (Labels.of("n", i="0"), [(0, math.inf), (50, -1.0)]),
    )
    for first, second in itertools.product(QUERIES, repeat=2):
        for query in (f"({first}) + on (i) ({second})", f"({first}) or ({second})"):
            try:
                engine.range(query, at(0), at(90), 30 * SECOND)
            except QueryError:
                continue


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_with_far_times_are_searched_one_by_one(rows: int) -> None:
    far = [(Labels.of("m", i=str(i)), [(-1.6e9 + i, 1.0), (6e9 + i, 2.0)]) for i in range(rows)]
    engine = engine_over(*far)
    times = np.array([at(-1.6e9 + 5), at(0), at(6e9 + 5)], dtype=np.int64)
    matrix = engine.at("m", times)
    assert matrix.present.tolist() == [[True, False, True]] * rows
    whole = engine.at("count_over_time(m[250y])", times)
    assert whole.values[0].tolist() == [1.0, 1.0, 2.0]


def test_an_engine_is_not_confused_by_expressions_that_are_gone() -> None:
    engine = engine_over((UP, [(float(s), float(s)) for s in range(0, 60, 10)]))
    times = np.array([at(10), at(50)])
    for second in range(0, 60, 10):
        node = parse(f"up @ {T0 // SECOND + second}")
        assert engine.at(node, times).values.tolist() == [[float(second)] * 2]


def test_counter_resets_add_what_was_there_before() -> None:
    engine = engine_over((Labels.of("c_total"), [(0, 5.0), (15, 10.0), (30, 2.0), (45, 6.0)]))
    (sample,) = engine.instant("increase(c_total[1m])", at(50)).vector
    # 5 to 10, a restart at 0, up to 2 and 6: 11 in 45 s; 10 s are missing to the left edge, so
    # the whole gap counts, and 5 s to the right edge.
    assert sample.value == pytest.approx(11 * (45 + 10 + 5) / 45)


def test_an_hour_of_ticks_in_one_pass() -> None:
    engine = engine_over((UP, [(float(s), float(s % 7)) for s in range(3600)]))
    times = np.arange(3600, dtype=np.int64) * SECOND + T0
    matrix = engine.at("avg_over_time(up[1m]) > 2.9", times)
    assert matrix.present.shape[0] == 1
    assert len(matrix.times) == HOUR // SECOND
