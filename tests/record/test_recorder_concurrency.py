"""Threads, signal handlers, finalizers and coroutines: every record that returned is there once."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tapewatch.record import Recorder
from tapewatch.tape import TapeReader

Read = Callable[[Recorder], Any]


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Make threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.requirement("F14")
def test_records_of_eight_threads_all_arrive_once(
    tmp_path: Path, read_recorder: Read, eager_switching: None
) -> None:
    recorder = Recorder("threads", data_dir=tmp_path)
    each = 3000

    def work(thread: int) -> None:
        for i in range(each):
            if thread % 4 == 0:
                recorder.record_tick({"thread": thread, "nested": {"i": i}, "pad": "x" * (i % 900)})
            elif thread % 4 == 1:
                recorder.record_tick({"thread": thread, "i": i})
            elif thread % 4 == 2:
                recorder.record_tick({"i": i, "thread": thread, "more": 1.0})
            else:
                recorder.record_error("e", thread=thread, i=i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = read_recorder(recorder)
    seen = Counter(
        (tick["thread"], tick.get("i", tick.get("nested", {}).get("i"))) for tick in written.ticks
    )
    seen += Counter((e.body["context"]["thread"], e.body["context"]["i"]) for e in written.events)
    assert seen == Counter((n, i) for n in range(8) for i in range(each))
    assert (written.lost, written.torn, written.skipped_bytes) == (0, 0, 0)


@pytest.mark.requirement("F14")
def test_a_reader_that_follows_eight_threads_misses_and_doubles_nothing(
    tmp_path: Path, eager_switching: None
) -> None:
    recorder = Recorder("threads", data_dir=tmp_path)
    assert recorder.path is not None
    reader = TapeReader(Path(recorder.path))
    each = 3000

    def work(thread: int) -> None:
        for i in range(each):
            recorder.record_tick({"key": thread * each + i})
            if i % 50 == 0:
                recorder.record_tick({"wide": {"key": thread * each + i, "pad": "x" * 700}})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    seen: Counter[float] = Counter()
    wide = torn = 0
    final = False
    while True:
        ended = not any(thread.is_alive() for thread in threads)
        batch = reader.poll(final=final)
        for run in batch.frames:
            seen.update(run.values[:, 0].tolist())
        wide += len(batch.records)
        torn += batch.torn + batch.lost_frames
        if final:
            break
        final = ended
    assert seen == Counter(float(key) for key in range(8 * each))
    assert wide == 8 * each // 50
    assert torn == 0
    recorder.close()


@pytest.mark.requirement("F14")
def test_a_signal_handler_that_records_inside_record_tick_tears_nothing(
    tmp_path: Path, read_recorder: Read
) -> None:
    recorder = Recorder("signals", data_dir=tmp_path)
    handled = 0

    def handler(_signal: int, _frame: FrameType | None) -> None:
        nonlocal handled
        handled += 1  # first: the handler itself may be interrupted by the next signal
        recorder.record_tick({"from_handler": handled})
        recorder.record_error("in handler")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    count = 0
    try:
        while handled < 300:
            recorder.record_tick({"count": count, "x": 1.0})
            recorder.record_tick({"nested": {"count": count}})
            count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    written = read_recorder(recorder)
    calls = sorted(t["from_handler"] for t in written.ticks if "from_handler" in t)
    assert calls == list(range(1, handled + 1))
    if written.lost == 0:
        assert [t["count"] for t in written.ticks if "count" in t] == list(range(count))
        assert len(written.ticks) == handled + 2 * count
    assert len(written.events) == handled
    assert written.torn == 0


class Interruption(BaseException):
    """Stands for KeyboardInterrupt."""


@pytest.mark.requirement("F14")
def test_an_interruption_passes_through_and_leaves_no_reader_waiting(
    tmp_path: Path, read_recorder: Read
) -> None:
    recorder = Recorder("interrupted", data_dir=tmp_path)

    def handler(_signal: int, _frame: FrameType | None) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, handler)
    returned = interrupted = 0
    try:
        while interrupted < 200:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                while True:
                    recorder.record_tick({"a": 1.0, "b": 2.0})
                    returned += 1
            except Interruption:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    written = read_recorder(recorder)
    found = len(written.ticks) + written.lost
    assert returned <= found + written.torn
    assert found <= returned + interrupted
    assert written.torn <= interrupted


class Mourner:
    """Records when it is finalized."""

    def __init__(self, recorder: Recorder, name: int) -> None:
        self.recorder, self.name, self.me = recorder, name, self

    def __del__(self) -> None:
        self.recorder.record_tick({"last_words": self.name})


@pytest.mark.requirement("F14")
def test_finalizers_may_record(tmp_path: Path, read_recorder: Read) -> None:
    recorder = Recorder("finalizers", data_dir=tmp_path)
    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for i in range(2000):
            Mourner(recorder, i)
            recorder.record_tick({"nested": {"i": i}})
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    written = read_recorder(recorder)
    assert sorted(t["last_words"] for t in written.ticks if "last_words" in t) == list(range(2000))
    assert len(written.ticks) == 4000
    assert written.torn == 0


def test_tasks_of_an_event_loop_may_record(recorder: Recorder, read_recorder: Read) -> None:
    async def task(n: int) -> None:
        for i in range(20):
            recorder.record_tick({"key": n * 20 + i})
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(task(n) for n in range(10)))

    asyncio.run(main())
    assert sorted(t["key"] for t in read_recorder(recorder).ticks) == list(range(200))


def test_recording_at_the_recursion_limit_never_raises(
    recorder: Recorder, read_recorder: Read
) -> None:
    def dive() -> None:
        recorder.record_tick({"a": 1.0})
        recorder.record_tick({"nested": {"a": 1.0}})
        recorder.record_error("deep")
        dive()

    with pytest.raises(RecursionError):
        dive()
    recorder.record_tick({"a": 2.0})
    assert read_recorder(recorder).ticks[-1] == {"a": 2.0}
