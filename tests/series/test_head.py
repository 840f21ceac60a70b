"""The head keeps what arrives, in order, for everybody who asks."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.querier import STALE, Matcher, MatchType, SeriesSlice, is_stale

NAN = math.nan
FOREVER = (-(1 << 62), 1 << 62)


def named(name: str) -> list[Matcher]:
    return [Matcher("__name__", MatchType.EQUAL, name)]


def rows(slices: Sequence[SeriesSlice]) -> dict[str, list[tuple[int, float]]]:
    return {
        str(s.labels): list(zip(s.times.tolist(), s.values.tolist(), strict=True)) for s in slices
    }


def times(*at: int) -> np.ndarray:
    return np.array(at, np.int64)


@pytest.fixture
def head() -> Head:
    return Head()


class TestAppending:
    def test_a_table_gives_each_column_its_series(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        assert table.append(times(1, 2), np.array([[1.0, 10.0], [2.0, 20.0]])) == 2
        assert rows(head.select([], *FOREVER)) == {
            "a": [(1, 1.0), (2, 2.0)],
            "b": [(1, 10.0), (2, 20.0)],
        }
        assert (head.series_count, head.sample_count) == (2, 4)

    def test_the_same_labels_mean_the_same_storage(self, head: Head) -> None:
        for at in (1, 2):
            head.table([Labels.of("a")]).append(times(at), np.array([[float(at)]]))
        assert rows(head.select([], *FOREVER)) == {"a": [(1, 1.0), (2, 2.0)]}
        assert head.series_count == 1

    def test_a_nan_cell_of_a_table_is_no_sample_and_a_stale_marker_is_one(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        table.append(times(1, 2, 3), np.array([[1.0, NAN], [NAN, 2.0], [STALE, NAN]]))
        found = {s.labels.name: s for s in head.select([], *FOREVER)}
        assert found["a"].times.tolist() == [1, 3]
        assert is_stale(found["a"].values).tolist() == [False, True]
        assert found["b"].times.tolist() == [2]
        assert head.sample_count == 3

    def test_a_single_nan_is_a_value(self, head: Head) -> None:
        head.append(Labels.of("ratio"), 1, NAN)
        (series,) = head.select([], *FOREVER)
        assert series.times.tolist() == [1]
        assert np.isnan(series.values).all()

    def test_a_series_in_two_layouts_is_one_series(self, head: Head) -> None:
        small = head.table([Labels.of("a")])
        large = head.table([Labels.of("a"), Labels.of("b")])
        small.append(times(1), np.array([[1.0]]))
        large.append(times(2), np.array([[2.0, 9.0]]))
        small.append(times(3), np.array([[3.0]]))
        head.append(Labels.of("a"), 4, 4.0)
        assert rows(head.select(named("a"), *FOREVER)) == {
            "a": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
        }
        assert head.last_value(Labels.of("a")) == (4, 4.0)
        assert head.series_count == 2

    def test_many_samples_of_one_series_may_come_in_any_order(self, head: Head) -> None:
        head.append_many(Labels.of("a"), times(3, 1, 2, 2), np.array([3.0, 1.0, 9.0, 2.0]))
        assert rows(head.select([], *FOREVER)) == {"a": [(1, 1.0), (2, 2.0), (3, 3.0)]}
        assert head.counts.overwritten_samples == 1

    def test_batches_far_longer_than_a_block_come_back_whole(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        at = np.arange(50_000, dtype=np.int64)
        table.append(at, np.stack([at * 1.0, at * 2.0], axis=1))
        a, b = head.select([], 100, 49_000)
        assert a.times is b.times
        assert a.times.tolist() == list(range(100, 49_001))
        assert (b.values == a.values * 2).all()

    def test_a_wrong_shape_is_refused_and_changes_nothing(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
            table.append(times(1), np.array([[1.0]]))
        assert head.sample_count == 0

    def test_a_label_set_given_twice_is_refused(self, head: Head) -> None:
        with pytest.raises(ValueError, match="given twice"):
            head.table([Labels.of("a"), Labels.of("a")])

    def test_an_empty_batch_is_nothing(self, head: Head) -> None:
        assert head.table([Labels.of("a")]).append(times(), np.empty((0, 1))) == 0


@pytest.mark.requirement("F51")
class TestOutOfOrder:
    def test_late_rows_are_merged_and_counted(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        table.append(times(10, 20, 30), np.array([[1.0], [2.0], [3.0]]))
        table.append(times(5, 15, 40), np.array([[0.5], [1.5], [4.0]]))
        assert [t for t, _ in rows(head.select([], *FOREVER))["a"]] == [5, 10, 15, 20, 30, 40]
        assert head.counts.late_rows == 2
        assert head.counts.overwritten_samples == 0

    def test_of_two_values_of_one_nanosecond_the_last_wins_and_is_counted(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        table.append(times(10), np.array([[1.0, 2.0]]))
        table.append(times(10), np.array([[7.0, NAN]]))
        assert rows(head.select([], *FOREVER)) == {"a": [(10, 7.0)], "b": [(10, 2.0)]}
        assert head.counts.overwritten_samples == 1

    def test_reading_a_tape_again_changes_and_counts_no_sample(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        at = np.arange(20_000, dtype=np.int64)
        values = np.stack([at * 1.0, np.where(at % 7 == 0, NAN, at)], axis=1)
        table.append(at, values)
        before = head.select([], *FOREVER)
        samples = head.sample_count
        for start in range(0, 20_000, 3_000):
            table.append(at[start : start + 3_000], values[start : start + 3_000])
        assert rows(head.select([], *FOREVER)) == rows(before)
        assert head.sample_count == samples
        assert head.counts.overwritten_samples == 0

    def test_what_a_reader_holds_does_not_change_under_it(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        table.append(times(10, 20), np.array([[1.0], [2.0]]))
        (held,) = head.select([], *FOREVER)
        table.append(times(10, 15), np.array([[9.0], [1.5]]))
        assert held.values.tolist() == [1.0, 2.0]
        with pytest.raises(ValueError, match="read-only"):
            held.values[0] = 5.0

    def test_a_block_that_late_rows_make_large_is_divided(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        every_other = np.arange(0, 80_000, 8, dtype=np.int64)
        table.append(every_other, np.ones((len(every_other), 1)))
        head.persisted(head.drain_for_chunks(1 << 62))
        for late in range(1, 8):
            table.append(every_other + late, np.full((len(every_other), 1), 2.0))
        (series,) = head.select([], *FOREVER)
        assert series.times.tolist() == list(range(80_000))
        assert (series.values == np.where(series.times % 8, 2.0, 1.0)).all()
        drained = head.drain_for_chunks(1 << 62)
        assert max(len(piece.times) for piece in drained) <= 2 * 8192
        assert sum(len(piece.times) for piece in drained) >= 70_000

    def test_late_rows_are_taken_after_everything_else_was_dropped_for_room(self) -> None:
        head = Head(max_samples=4)
        table = head.table([Labels.of("a")])
        table.append(times(10, 11, 12, 13, 14), np.ones((5, 1)))
        assert head.sample_count == 0
        table.append(times(1, 2), np.ones((2, 1)))
        table.append(times(20), np.ones((1, 1)))
        assert [t for t, _ in rows(head.select([], *FOREVER))["a"]] == [1, 2, 20]


class TestStaleness:
    def test_ended_series_have_no_last_value_until_a_new_sample(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        table.append(times(10), np.array([[1.0, 2.0]]))
        head.mark_stale([Labels.of("a"), Labels.of("unknown")], 20)
        assert head.last_value(Labels.of("a")) is None
        assert head.last_value(Labels.of("b")) == (10, 2.0)
        assert [(str(labels), at, v) for labels, at, v in head.latest()] == [("b", 10, 2.0)]
        table.append(times(30), np.array([[3.0, NAN]]))
        assert head.last_value(Labels.of("a")) == (30, 3.0)
        assert head.last_value(Labels.of("b")) == (10, 2.0)

    def test_a_sample_of_the_same_instant_survives_the_marker(self, head: Head) -> None:
        head.append(Labels.of("a"), 10, 1.0)
        head.mark_stale([Labels.of("a")], 10)
        (series,) = head.select([], *FOREVER)
        assert series.times.tolist() == [10, 11]
        assert series.values[0] == 1.0

    def test_a_series_ends_only_once(self, head: Head) -> None:
        head.append(Labels.of("a"), 10, 1.0)
        for at in (20, 30):
            head.mark_stale([Labels.of("a")], at)
        assert head.sample_count == 2

    def test_the_latest_values_can_be_asked_by_age(self, head: Head) -> None:
        head.append(Labels.of("old"), 10, 1.0)
        head.append(Labels.of("new"), 20, 2.0)
        assert [labels.name for labels, _, _ in head.latest(since_ns=15)] == ["new"]

    def test_instants_before_1970_are_instants_too(self, head: Head) -> None:
        head.append(Labels.of("a"), -5, 1.0)
        head.append(Labels.of("b"), 0, 2.0)
        assert head.last_value(Labels.of("a")) == (-5, 1.0)
        assert head.last_value(Labels.of("b")) == (0, 2.0)


@pytest.mark.requirement("T20", "F55")
class TestCaps:
    def test_a_source_beyond_its_cap_keeps_its_old_series_and_gets_no_new_ones(self) -> None:
        head = Head(max_series_per_source=2)
        old = head.table([Labels.of("a"), Labels.of("b")], source="tape:1")
        both = head.table([Labels.of("a"), Labels.of("c"), Labels.of("b")], source="tape:1")
        assert (old.refused, both.refused) == (0, 1)
        both.append(times(1, 2), np.array([[1.0, 5.0, 2.0], [3.0, 6.0, 4.0]]))
        assert rows(head.select([], *FOREVER)) == {
            "a": [(1, 1.0), (2, 3.0)],
            "b": [(1, 2.0), (2, 4.0)],
        }
        assert head.counts.refused_series == 1
        assert head.counts.refused_samples == 2
        assert head.series_of("tape:1") == 2

    def test_another_source_is_not_punished(self) -> None:
        head = Head(max_series_per_source=1)
        head.table([Labels.of("a")], source="bomb")
        assert head.table([Labels.of("b")], source="bomb").refused == 1
        assert head.table([Labels.of("c")], source="good").refused == 0

    def test_our_own_families_have_no_cap_of_their_own(self) -> None:
        head = Head(max_series_per_source=1)
        for name in "abc":
            head.append(Labels.of(name), 1, 1.0)
        assert head.series_count == 3

    def test_nothing_is_taken_beyond_the_cap_on_all_series(self) -> None:
        head = Head(max_series=2)
        for name in "abc":
            head.append(Labels.of(name), 1, 1.0)
        head.append_many(Labels.of("c"), times(2, 3), np.array([1.0, 2.0]))
        assert head.series_count == 2
        assert head.counts.refused_samples == 3
        assert head.table([Labels.of("d")], source="x").append(times(1), np.array([[1.0]])) == 1
        assert head.sample_count == 2

    def test_a_bomb_of_shapes_does_not_multiply_the_storage(self) -> None:
        head = Head()
        fixed = Labels.of("fixed")
        for number in range(200):
            table = head.table([fixed, Labels.of("n", i=str(number))], source="x")
            table.append(times(number + 1), np.array([[float(number), 1.0]]))
        ((_, series),) = [(s.labels, s) for s in head.select(named("fixed"), *FOREVER)]
        assert series.values.tolist() == [float(n) for n in range(200)]
        assert len(head._groups) < 16 + 2 * 200

    def test_memory_beyond_the_cap_goes_oldest_first_and_what_disk_lacks_is_counted(self) -> None:
        head = Head(max_samples=20_000)
        table = head.table([Labels.of("a")])
        at = np.arange(60_000, dtype=np.int64)
        for start in range(0, 60_000, 500):
            table.append(at[start : start + 500], np.ones((500, 1)))
            if start < 30_000:
                head.persisted(head.drain_for_chunks(1 << 62))
        assert head.sample_count <= 20_000
        (series,) = head.select([], *FOREVER)
        assert series.times[-1] == 59_999
        assert len(series.times) == head.sample_count
        assert head.counts.given_up_samples == 60_000 - 30_000 - head.sample_count
        assert head.dropped_until_ns == series.times[0] - 1


class TestLeavingForTheDisk:
    def test_rows_are_drained_until_they_are_persisted(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        table.append(times(1, 2, 3), np.ones((3, 2)))
        (first,) = head.drain_for_chunks(2)
        assert first.times.tolist() == [1, 2]
        assert first.values.shape == (2, 2)
        assert first.samples == 4
        (again,) = head.drain_for_chunks(2)
        assert again.times.tolist() == [1, 2]
        head.persisted([again])
        (rest,) = head.drain_for_chunks(9)
        assert rest.times.tolist() == [3]
        head.persisted([rest])
        assert head.drain_for_chunks(9) == []

    def test_a_row_changed_after_it_was_persisted_is_drained_again(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        table.append(times(1, 2, 3), np.ones((3, 1)))
        head.persisted(head.drain_for_chunks(9))
        table.append(times(2), np.array([[5.0]]))
        (again,) = head.drain_for_chunks(9)
        assert again.times.tolist() == [2, 3]

    def test_a_row_changed_while_it_is_written_is_drained_again(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        table.append(times(1, 2, 3), np.ones((3, 1)))
        drained = head.drain_for_chunks(9)
        table.append(times(2), np.array([[5.0]]))
        head.persisted(drained)
        (again,) = head.drain_for_chunks(9)
        assert again.values.tolist() == [[1.0, 5.0, 1.0]]

    def test_only_what_the_disk_has_is_dropped(self, head: Head) -> None:
        table = head.table([Labels.of("a")])
        table.append(times(1, 2), np.ones((2, 1)))
        assert head.truncate(100) == 0
        assert head.truncate(100, keep_unpersisted=False) == 2
        assert head.sample_count == 0

    def test_the_edge_itself_stays(self, head: Head) -> None:
        head.append(Labels.of("a"), 10, 1.0)
        assert head.truncate(10, keep_unpersisted=False) == 0
        assert head.truncate(11, keep_unpersisted=False) == 1

    def test_a_forgotten_series_comes_back_with_its_next_sample(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")], source="x")
        table.append(times(1), np.ones((1, 2)))
        head.append(Labels.of("c"), 1, 1.0)
        head.truncate(5, keep_unpersisted=False)
        assert (head.series_count, head.series_of("x")) == (0, 0)
        assert head.label_names() == []
        table.append(times(6), np.ones((1, 2)))
        head.append(Labels.of("c"), 6, 1.0)
        assert rows(head.select([], *FOREVER)) == {name: [(6, 1.0)] for name in "abc"}


class TestReading:
    def test_both_ends_of_the_interval_are_closed(self, head: Head) -> None:
        head.append_many(Labels.of("a"), times(1, 2, 3, 4), np.array([1.0, 2.0, 3.0, 4.0]))
        assert rows(head.select([], 2, 3)) == {"a": [(2, 2.0), (3, 3.0)]}
        assert head.select([], 5, 9) == []
        assert head.series([], 4, 9) == [Labels.of("a")]
        assert head.series([], 5, 9) == []

    def test_an_instant_selector_gets_one_sample_before_its_first_instant(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        at = np.arange(1, 101, dtype=np.int64)
        values = np.stack([at * 1.0, np.where(at > 30, NAN, at)], axis=1)
        table.append(at, values)
        found = rows(head.columns([], 10, 53, first_ns=50).slices())
        assert found == {"a": [(50, 50.0), (51, 51.0), (52, 52.0), (53, 53.0)], "b": [(30, 30.0)]}
        assert rows(head.columns([], 40, 50, first_ns=50).slices()) == {"a": [(50, 50.0)]}

    def test_labels_can_be_listed(self, head: Head) -> None:
        head.append(Labels.of("a", x="1"), 1, 1.0)
        head.append(Labels.of("b", y="2"), 1, 1.0)
        assert head.label_names() == ["__name__", "x", "y"]
        assert head.label_values("__name__") == ["a", "b"]
        assert head.label_names(named("a")) == ["__name__", "x"]

    def test_a_reader_beside_a_writer_sees_whole_rows_in_order(self, head: Head) -> None:
        table = head.table([Labels.of("a"), Labels.of("b")])
        stop = threading.Event()
        failures: list[str] = []

        def read() -> None:
            seen = 0
            while not stop.is_set():
                found = {s.labels.name: s for s in head.select([], *FOREVER)}
                if not found:
                    continue
                a, b = found["a"], found["b"]
                if len(a.times) < seen and head.dropped_until_ns is None:
                    failures.append("rows went away")
                seen = len(a.times)
                if not (a.times[1:] > a.times[:-1]).all():
                    failures.append("times do not rise")
                if len(b.times) != len(a.times) or not (b.values == a.values * 2).all():
                    failures.append("a row was torn")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for start in range(0, 40_000, 40):
                at = np.arange(start, start + 40, dtype=np.int64)
                if start % 400 == 0 and start:
                    at = np.append(at, start - 7)  # late, and there already
                table.append(at, np.stack([at * 1.0, at * 2.0], axis=1))
        finally:
            stop.set()
            reader.join()
        assert failures == []
