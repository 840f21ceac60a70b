"""Threads, signal handlers, finalizers and coroutines: every record that returned is there once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
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


def alone(code: str, data_dir: Path) -> dict[str, int]:
    """Run an engine's program in a process of its own and return what it says last.

    Interruptions at any instruction also hit what watches a test (the lock of the coverage
    tracer), so these programs run without it.
    """
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**environ, "TAPEWATCH_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (out.returncode, out.stderr) == (0, "")
    said: dict[str, int] = json.loads(out.stdout)
    return said


def only_tape(data_dir: Path) -> Path:
    (path,) = (data_dir / "tapes").glob("*.tape")
    return path


@pytest.mark.requirement("F14")
def test_a_signal_handler_that_records_inside_record_tick_tears_nothing(
    tmp_path: Path, read_tape: Callable[[Path], Any]
) -> None:
    said = alone(
        """
        import json, signal
        from tapewatch import Recorder
        recorder = Recorder("signals")
        handled = count = 0
        def handler(number, frame):
            global handled
            handled += 1
            recorder.record_tick({"from_handler": handled})
            recorder.record_error("in handler")
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while handled < 300:
            recorder.record_tick({"count": count, "x": 1.0})
            recorder.record_tick({"nested": {"count": count}})
            count += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps({"handled": handled, "count": count}))
        """,
        tmp_path,
    )
    written = read_tape(only_tape(tmp_path))
    found = [t["from_handler"] for t in written.ticks if "from_handler" in t]
    assert len(written.events) == said["handled"]
    assert written.torn == 0
    assert len(written.ticks) + written.lost == said["handled"] + 2 * said["count"]
    if not written.lost:
        assert sorted(found) == list(range(1, said["handled"] + 1))
        counts = [t["count"] for t in written.ticks if "count" in t]
        assert counts == list(range(said["count"]))


@pytest.mark.requirement("F14")
def test_an_interruption_passes_through_and_leaves_no_reader_waiting(
    tmp_path: Path, read_tape: Callable[[Path], Any]
) -> None:
    said = alone(
        """
        import json, signal
        from tapewatch import Recorder
        recorder = Recorder("interrupted")
        returned = interrupted = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        while interrupted < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
                while True:
                    recorder.record_tick({"a": 1.0, "b": 2.0})
                    returned += 1
            except KeyboardInterrupt:
                interrupted += 1
        print(json.dumps({"returned": returned, "interrupted": interrupted}))
        """,
        tmp_path,
    )
    written = read_tape(only_tape(tmp_path))
    found = len(written.ticks) + written.lost
    # An interruption may strike after the record was written and before the call returned.
    assert said["returned"] <= found + written.torn
    assert found <= said["returned"] + said["interrupted"]
    assert written.torn <= said["interrupted"]


@pytest.mark.requirement("F14")
def test_finalizers_may_record(tmp_path: Path, read_tape: Callable[[Path], Any]) -> None:
    alone(
        """
        import gc
        from tapewatch import Recorder
        recorder = Recorder("finalizers")
        class Mourner:
            def __init__(self, name):
                self.name, self.me = name, self
            def __del__(self):
                recorder.record_tick({"last_words": self.name})
        gc.set_threshold(5)
        for i in range(2000):
            Mourner(i)
            recorder.record_tick({"nested": {"i": i}})
        gc.collect()
        print("{}")
        """,
        tmp_path,
    )
    written = read_tape(only_tape(tmp_path))
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
