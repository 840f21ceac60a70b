"""The sample store gives back every sample, and lets go of exactly what has had its time."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest

from tapewatch.model.clock import HOUR, SECOND
from tapewatch.model.errors import QueryLimitError
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.querier import STALE, Matcher, MatchType
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.samples_schema import MAX_COLUMNS

FOREVER = (-(1 << 62), 1 << 62)
NAN = math.nan


class Bench:
    """A head and a store, and what the daemon does with them."""

    def __init__(self, path: Path, **settings: int) -> None:
        self.path = path
        self.settings = settings
        self.store = SampleStore.open(path, now_ns=0, **settings)
        self.head = Head(max_series_per_source=10_000)

    def write(self, at: list[int], names: str = "a", value: float = 1.0) -> None:
        table = self.head.table([Labels.of(name) for name in names])
        table.append(np.array(at, np.int64), np.full((len(at), len(names)), value))
        self.flush()

    def flush(self) -> None:
        drained = self.head.drain_for_chunks(1 << 62)
        self.store.write(drained)
        self.head.persisted(drained)

    def times(self, name: str = "a") -> list[int]:
        found = self.store.select([Matcher("__name__", MatchType.EQUAL, name)], *FOREVER)
        return found[0].times.tolist() if found else []

    def again(self) -> None:
        self.store.close()
        self.store = SampleStore.open(self.path, now_ns=0, **self.settings)
        assert self.store.recovered is None


def bits(bench: Bench) -> dict[str, tuple[list[int], list[int]]]:
    """Return all samples, values as bits."""
    return {
        s.labels.name: (s.times.tolist(), np.ascontiguousarray(s.values).view(np.uint64).tolist())
        for s in bench.store.select([], *FOREVER)
    }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "samples.db")


class TestReading:
    def test_samples_and_watermarks_are_found_again(self, bench: Bench) -> None:
        bench.write([1, 2, 3], "ab")
        bench.store.write([], {"tape:1": {"ring": 7}, "tape:2": {"ring": 8}})
        bench.store.write([], {"tape:2": None})
        bench.again()
        assert bench.times("a") == bench.times("b") == [1, 2, 3]
        assert bench.store.watermarks() == {"tape:1": {"ring": 7}}
        assert bench.store.newest_at_open_ns == 3
        assert bench.store.bounds() == (1, 3)
        assert bench.store.integrity() == "ok"

    def test_columns_of_one_table_share_their_times(self, bench: Bench) -> None:
        bench.write([1, 2, 3], "ab")
        bench.write([4, 5], "ab")
        a, b = bench.store.select([], *FOREVER)
        assert a.times is b.times
        assert a.times.tolist() == [1, 2, 3, 4, 5]

    def test_both_ends_of_the_interval_are_closed(self, bench: Bench) -> None:
        bench.write([1, 2, 3, 4])
        assert bench.store.select([], 2, 3)[0].times.tolist() == [2, 3]
        assert bench.store.select([], 5, 9) == []
        assert bench.store.series([], 4, 9) == [Labels.of("a")]
        assert bench.store.series([], 5, 9) == []

    def test_what_was_written_last_is_the_answer(self, bench: Bench) -> None:
        bench.write([1, 2, 3], value=1.0)
        bench.write([2], value=5.0)
        (series,) = bench.store.select([], *FOREVER)
        assert series.values.tolist() == [1.0, 5.0, 1.0]
        assert bench.store.newest([], 0, 2)[0].values.tolist() == [5.0]

    def test_the_newest_sample_is_found_through_late_and_absent_ones(self, bench: Bench) -> None:
        table = bench.head.table([Labels.of("a"), Labels.of("b")])
        table.append(np.array([1, 2], np.int64), np.array([[1.0, 1.0], [2.0, 2.0]]))
        bench.flush()
        table.append(np.array([50], np.int64), np.array([[50.0, NAN]]))
        bench.flush()
        table.append(np.array([20], np.int64), np.array([[NAN, 20.0]]))
        bench.flush()
        found = {s.labels.name: s.times.tolist() for s in bench.store.newest([], 0, 99)}
        assert found == {"a": [50], "b": [20]}
        known = frozenset([Labels.of("a")])
        assert [s.labels.name for s in bench.store.newest([], 0, 99, known=known)] == ["b"]
        assert bench.store.newest([], 60, 99) == []

    def test_a_table_wider_than_a_chunk_comes_back_whole(self, bench: Bench) -> None:
        labels = [Labels.of("wide", i=str(i)) for i in range(MAX_COLUMNS + 5)]
        table = bench.head.table(labels)
        table.append(np.array([1], np.int64), np.arange(MAX_COLUMNS + 5.0).reshape(1, -1))
        bench.flush()
        found = {s.labels: s.values.tolist() for s in bench.store.select([], *FOREVER)}
        assert found == {each: [float(i)] for i, each in enumerate(labels)}
        bench.again()
        last = [Matcher("i", MatchType.EQUAL, str(MAX_COLUMNS + 4))]
        assert bench.store.select(last, *FOREVER)[0].values.tolist() == [MAX_COLUMNS + 4.0]

    def test_labels_of_any_text_are_found_again(self, bench: Bench) -> None:
        odd = Labels.of("a", text='NUL \0, quote ", emoji 🙂, lone \ud800, ﷽')
        bench.head.append(odd, 1, 1.0)
        bench.flush()
        bench.again()
        assert bench.store.series([], *FOREVER) == [odd]
        assert bench.store.label_values("text") == [odd.get("text")]
        assert bench.store.label_names() == ["__name__", "text"]

    def test_a_selection_too_large_to_unpack_is_refused(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path / "samples.db", max_selected=10)
        bench.write(list(range(6)), "ab")
        assert len(bench.times("a")) == 6
        with pytest.raises(QueryLimitError, match="12 stored samples; at most 10"):
            bench.store.select([], *FOREVER)

    def test_a_reader_beside_the_writer_sees_one_moment(self, bench: Bench) -> None:
        stop = threading.Event()
        failures: list[object] = []

        def read() -> None:
            while not stop.is_set():
                found = {s.labels.name: s.times.tolist() for s in bench.store.select([], *FOREVER)}
                if found and found["a"] != found["b"]:
                    failures.append(found)
                if found and found["a"] != list(range(found["a"][0], found["a"][-1] + 1)):
                    failures.append(found)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for n in range(60):
                bench.write([2 * n, 2 * n + 1], "ab")
                if n % 7 == 6:
                    bench.store.prune(2 * n - 6)
        finally:
            stop.set()
            reader.join()
        assert failures == []


@pytest.mark.requirement("S5-39", "S2-98")
class TestRetention:
    def test_a_chunk_goes_when_all_of_it_is_too_old_and_not_before(self, bench: Bench) -> None:
        bench.write([1, 2])
        bench.write([3, 4])
        bench.write([5, 6])
        assert bench.store.prune(4) == 1
        assert bench.times() == [3, 4, 5, 6]
        assert bench.store.prune(4) == 0
        assert bench.store.prune(5) == 1
        assert bench.times() == [5, 6]

    def test_series_without_samples_are_forgotten(self, bench: Bench) -> None:
        bench.write([1], "ab")
        bench.write([9], "bc")
        bench.store.prune(5)
        assert bench.store.label_values("__name__") == ["b", "c"]
        bench.again()
        assert bench.store.label_values("__name__") == ["b", "c"]
        bench.write([10], "ab")
        assert bench.times("b") == [9, 10]
        bench.again()
        assert bench.times("a") == [10]

    def test_space_goes_back_to_the_disk(self, bench: Bench) -> None:
        noise = np.random.default_rng(1)
        at = np.arange(200_000, dtype=np.int64)
        bench.head.table([Labels.of("a")]).append(at, noise.random((200_000, 1)))
        bench.flush()
        bench.again()
        before = bench.path.stat().st_size
        assert bench.store.prune(1 << 60) > 20
        bench.again()
        assert bench.path.stat().st_size < before / 4


class TestCompaction:
    def test_an_hour_of_small_chunks_becomes_one_and_reads_the_same(self, bench: Bench) -> None:
        luck = np.random.default_rng(3)
        for n in range(2 * 360):
            at = np.array([n * 10 * SECOND + k for k in range(1, 4)], np.int64)
            values = np.round(luck.normal(0, 1, (3, 2)), 2)
            values[luck.random((3, 2)) < 0.2] = NAN
            values[luck.random((3, 2)) < 0.1] = STALE
            values[:, 1] = NAN if n % 3 else values[:, 1]
            bench.head.table([Labels.of("a"), Labels.of("b")]).append(at, values)
            bench.head.append(Labels.of("c"), int(at[0]), NAN if n % 2 else 1.0)
            if n % 50 == 49:  # late, and another word on an instant that was written before
                bench.head.append(Labels.of("c"), int(at[0]) - 20 * SECOND, 7.0)
            bench.flush()
        before, sizes = bits(bench), bench.store.sizes()
        assert bench.store.compact(HOUR) > 600
        assert bench.store.compact(HOUR) == 0
        assert bits(bench) == before
        after = bench.store.sizes()
        assert after["chunks"] < sizes["chunks"] / 1.8
        assert after["samples"] == sizes["samples"]
        bench.store.compact(1 << 62)
        assert bits(bench) == before
        bench.again()
        assert bits(bench) == before
        assert bench.store.integrity() == "ok"

    def test_a_run_does_not_reach_over_the_hour_so_retention_stays_exact(
        self, bench: Bench
    ) -> None:
        for at in (HOUR - 2, HOUR - 1, HOUR, HOUR + 1):
            bench.write([at])
        assert bench.store.compact(2 * HOUR) == 2
        assert bench.store.prune(HOUR) == 1
        assert bench.times() == [HOUR, HOUR + 1]

    def test_pruning_tidies_the_hours_that_are_over(self, bench: Bench) -> None:
        for at in (1, 2, 3, HOUR + 1, HOUR + 2):
            bench.write([at])
        assert bench.store.prune(0) == 0
        assert bench.store.sizes()["chunks"] == 3
        assert bench.times() == [1, 2, 3, HOUR + 1, HOUR + 2]

    def test_an_hour_that_is_not_over_is_left(self, bench: Bench) -> None:
        bench.write([1])
        bench.write([2])
        assert bench.store.compact(HOUR - 1) == 0


@pytest.mark.requirement("F46")
def test_a_backup_made_under_load_is_whole(bench: Bench, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            bench.write([n], "ab")
            bench.store.write([], {"tape": {"n": n}})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        bench.store.backup(tmp_path / "copy.db")
    finally:
        stop.set()
        writer.join()
    copy = SampleStore.open(tmp_path / "copy.db", now_ns=0)
    assert copy.recovered is None
    reached = copy.watermarks().get("tape", {"n": 0})["n"]
    for series in copy.select([], *FOREVER):
        assert len(series.times) in (reached, reached + 1)
    assert copy.integrity() == "ok"
    copy.close()
