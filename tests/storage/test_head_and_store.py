"""Whatever is appended, late, twice, flushed or dropped from memory: the answers are the truth."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tapewatch.model.clock import MILLISECOND
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.series.merged import MergedQuerier
from tapewatch.series.millisecond import MillisecondView
from tapewatch.series.querier import STALE, STALE_BITS, Matcher, MatchType
from tapewatch.storage.samples import SampleStore

LONG = 1 << 60
_CELLS = st.sampled_from([0.0, -0.0, 1.5, 2.25, math.inf, math.nan, STALE, 1 / 3])


def bits(value: float) -> int:
    return int(np.array([value]).view(np.uint64)[0])


class HeadAndStore(RuleBasedStateMachine):
    """The model is a dictionary: series to instant to the bits of the value."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "samples.db"
        self.store = SampleStore.open(self.path, now_ns=0, min_free_bytes=0)
        self.truth: dict[Labels, dict[int, int]] = {}
        self.open_head()

    def open_head(self) -> None:
        self.head = Head()
        self.both = MergedQuerier(self.head, self.store)
        # Each table has instants of its own, so that no two of them claim one.
        self.tables = [
            (0, self.head.table([Labels.of("a"), Labels.of("b")], source="x")),
            (1, self.head.table([Labels.of("a"), Labels.of("b"), Labels.of("c")], source="x")),
        ]

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    @rule(
        which=st.integers(0, 1),
        at=st.lists(st.integers(0, 40), min_size=1, max_size=6),
        cells=st.lists(_CELLS, min_size=18, max_size=18),
    )
    def append(self, which: int, at: list[int], cells: list[float]) -> None:
        offset, table = self.tables[which]
        times = np.array([3 * t + offset for t in at], np.int64)
        width = len(table.labels)
        values = np.array(cells[: len(at) * width]).reshape(len(at), width)
        table.append(times, values)
        for time_ns, row in zip(times.tolist(), values, strict=True):
            for labels, cell in zip(table.labels, row, strict=True):
                if not math.isnan(cell) or bits(cell) == STALE_BITS:
                    self.truth.setdefault(labels, {})[time_ns] = bits(cell)

    @rule(at=st.integers(0, 40), value=_CELLS)
    def append_one(self, at: int, value: float) -> None:
        self.head.append(Labels.of("a"), 3 * at + 2, value)
        self.truth.setdefault(Labels.of("a"), {})[3 * at + 2] = bits(value)

    @rule(up_to=st.integers(0, 130))
    def flush(self, up_to: int) -> None:
        drained = self.head.drain_for_chunks(up_to)
        self.store.write(drained, {"x": {"up_to": up_to}})
        self.head.persisted(drained)

    @rule(before=st.integers(0, 130))
    def truncate(self, before: int) -> None:
        self.head.truncate(before)

    @rule()
    def written_but_not_noted(self) -> None:
        self.store.write(self.head.drain_for_chunks(LONG))

    @rule()
    def restart_after_a_flush(self) -> None:
        self.flush(LONG)
        self.store.close()
        self.store = SampleStore.open(self.path, now_ns=0, min_free_bytes=0)
        assert self.store.recovered is None
        self.open_head()

    @rule(window=st.tuples(st.integers(0, 130), st.integers(0, 130)))
    def a_window_is_right(self, window: tuple[int, int]) -> None:
        start, end = min(window), max(window)
        found = self.read(self.both.select([], start, end))
        assert found == {
            labels: kept
            for labels, samples in self.truth.items()
            if (kept := {t: v for t, v in samples.items() if start <= t <= end})
        }

    @rule(window=st.tuples(*[st.integers(0, 130)] * 3))
    def an_instant_sees_the_newest_sample(self, window: tuple[int, int, int]) -> None:
        start, first, end = sorted(window)
        found = self.read(self.both.columns([], start, end, first_ns=first).slices())
        for labels, samples in self.truth.items():
            inside = {t: v for t, v in samples.items() if first < t <= end}
            before = max((t for t in samples if start <= t <= first), default=None)
            got = found.get(labels, {})
            assert {t: v for t, v in got.items() if t > first} == inside
            newest = max((t for t in got if t <= first), default=None)
            assert newest == before
            if newest is not None:
                assert got[newest] == samples[newest]

    @invariant()
    def everything_is_there(self) -> None:
        assert self.read(self.both.select([], -LONG, LONG)) == self.truth
        assert {labels.name for labels in self.truth} <= set(self.both.label_values("__name__"))

    @staticmethod
    def read(slices: list) -> dict[Labels, dict[int, int]]:
        found = {}
        for piece in slices:
            assert (piece.times[1:] > piece.times[:-1]).all()
            assert piece.labels not in found
            cells = np.ascontiguousarray(piece.values).view(np.uint64).tolist()
            found[piece.labels] = dict(zip(piece.times.tolist(), cells, strict=True))
        return found


TestHeadAndStore = HeadAndStore.TestCase
TestHeadAndStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    return SampleStore.open(tmp_path / "samples.db", now_ns=0)


def test_the_store_is_left_alone_while_memory_has_everything(store: SampleStore) -> None:
    head = Head()
    head.append(Labels.of("a"), 10, 1.0)
    both = MergedQuerier(head, store)
    store.close()
    assert len(both.select([], 0, 20)) == 1
    assert both.store_failures == 0


def test_labels_and_series_come_from_memory_and_disk(store: SampleStore) -> None:
    head = Head()
    head.append(Labels.of("a", x="1"), 10, 1.0)
    drained = head.drain_for_chunks(LONG)
    store.write(drained)
    head.persisted(drained)
    head.truncate(20)
    head.append(Labels.of("b", y="2"), 30, 1.0)
    both = MergedQuerier(head, store)
    assert both.label_names() == ["__name__", "x", "y"]
    assert both.label_values("__name__") == ["a", "b"]
    assert both.series([], 0, 40) == [Labels.of("a", x="1"), Labels.of("b", y="2")]
    assert both.series([], 11, 40) == [Labels.of("b", y="2")]
    found = both.columns([], 0, 40, first_ns=9).slices()
    assert {s.labels.name: s.times.tolist() for s in found} == {"a": [10], "b": [30]}


@pytest.mark.requirement("F44")
def test_memory_answers_alone_when_the_store_cannot(store: SampleStore) -> None:
    head = Head()
    head.append(Labels.of("a"), 10, 1.0)
    head.append(Labels.of("a"), 20, 1.0)
    drained = head.drain_for_chunks(LONG)
    store.write(drained)
    head.persisted(drained)
    head.truncate(30)
    head.append(Labels.of("a"), 40, 2.0)
    both = MergedQuerier(head, store)
    assert both.select([], 0, 50)[0].times.tolist() == [10, 20, 40]
    store.close()
    assert both.select([], 0, 50)[0].times.tolist() == [40]
    assert both.columns([], 0, 50, first_ns=30).slices()[0].times.tolist() == [40]
    assert both.series([], 0, 50) == [Labels.of("a")]
    assert both.store_failure is not None
    assert both.store_failures == 3


class TestMilliseconds:
    def test_the_last_value_of_a_millisecond_is_shown_and_the_others_counted(self) -> None:
        head = Head()
        table = head.table([Labels.of("a"), Labels.of("b")])
        table.append(
            np.array([1_000_000, 1_000_001, 1_999_999, 2_000_000], np.int64),
            np.array([[1.0, 10.0], [2.0, math.nan], [3.0, math.nan], [4.0, 40.0]]),
        )
        view = MillisecondView(head)
        found = {s.labels.name: s for s in view.select([], MILLISECOND, 2 * MILLISECOND)}
        assert found["a"].times.tolist() == [MILLISECOND, 2 * MILLISECOND]
        assert found["a"].values.tolist() == [3.0, 4.0]
        assert found["b"].values.tolist() == [10.0, 40.0]
        assert view.hidden_samples == 2

    def test_a_sample_is_found_by_its_millisecond(self) -> None:
        head = Head()
        head.append(Labels.of("a"), 5 * MILLISECOND + 999_999, 1.0)
        view = MillisecondView(head)
        assert view.select([], 5 * MILLISECOND, 5 * MILLISECOND)[0].times.tolist() == [5_000_000]
        assert view.select([], 5 * MILLISECOND + 1, 6 * MILLISECOND) == []
        assert view.series([], 5 * MILLISECOND, 5 * MILLISECOND) == [Labels.of("a")]
        assert view.label_names([Matcher("__name__", MatchType.EQUAL, "a")]) == ["__name__"]
        assert view.label_values("__name__") == ["a"]

    def test_nothing_is_hidden_where_every_sample_has_its_millisecond(self) -> None:
        head = Head()
        head.append_many(Labels.of("a"), np.array([0, MILLISECOND], np.int64), np.ones(2))
        view = MillisecondView(head)
        assert view.select([], 0, 9 * MILLISECOND)[0].times.tolist() == [0, MILLISECOND]
        assert view.hidden_samples == 0
