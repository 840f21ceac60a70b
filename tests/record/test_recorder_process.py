"""Fork, exit, sudden death: what the tape says of the process afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapewatch.record import Recorder, process
from tapewatch.tape import TapeReader

ReadTape = Callable[[str | Path], Any]


def run(code: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run an engine's program to its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "TAPEWATCH_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tapes(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "tapes").glob("*.tape"))


def test_the_header_names_the_process(tmp_path: Path) -> None:
    recorder = Recorder("eng..ine", data_dir=tmp_path, cadence_s=0.25)
    assert recorder.path is not None
    reader = TapeReader(Path(recorder.path))
    header = reader.header
    assert header.engine == "eng..ine"
    assert Path(recorder.path).parent == tmp_path / "tapes"
    assert Path(recorder.path).name == f"eng..ine-{os.getpid()}-{header.tape_id[:8]}.tape"
    assert header.pid == os.getpid()
    assert header.pid_start_ticks == process.start_ticks() > 0
    assert header.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert header.cadence_ns == 250_000_000
    assert (header.instance, header.parent_pid) == ("", 0)
    assert reader.counters().state == "running"
    assert reader.writer_holds_lock()
    recorder.close("the day is over")
    counters = reader.counters()
    assert (counters.state, counters.stop_reason) == ("stopped", "the day is over")
    assert not reader.writer_holds_lock()
    reader.close()


@pytest.mark.requirement("T25")
def test_files_are_private(tmp_path: Path) -> None:
    recorder = Recorder("engine", data_dir=tmp_path / "new" / "data")
    directory = tmp_path / "new" / "data" / "tapes"
    assert directory.stat().st_mode & 0o777 == 0o700
    files = list(directory.iterdir())
    assert sorted(f.suffix for f in files) == [".control", ".tape"]
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    recorder.close()


def test_two_recorders_of_one_name_have_two_tapes(tmp_path: Path, read_tape: ReadTape) -> None:
    first, second = (Recorder("engine", data_dir=tmp_path) for _ in range(2))
    first.record_tick({"a": 1.0})
    second.record_tick({"a": 2.0})
    paths = first.path, second.path
    first.close()
    second.close()
    assert [read_tape(path).ticks for path in paths if path] == [[{"a": 1.0}], [{"a": 2.0}]]


def test_a_closed_recorder_counts_and_stays_silent(recorder: Recorder) -> None:
    recorder.record_tick({"a": 1.0})
    recorder.close()
    recorder.close()
    recorder.record_tick({"a": 2.0})
    recorder.record_metric("a", 1.0)
    recorder.record_error("late")
    assert recorder.counters["dropped_frames"] == 2
    assert recorder.counters["dropped_events"] == 1
    assert not recorder.recording


@pytest.mark.requirement("F14")
def test_a_forked_child_gets_a_tape_of_its_own_and_never_touches_its_parents(
    tmp_path: Path, read_tape: ReadTape
) -> None:
    out = run(
        """
        import os
        from tapewatch import Recorder
        recorder = Recorder("engine")
        for i in range(100):
            recorder.record_tick({"who": 0, "i": i})
        child = os.fork()
        for i in range(100, 200):
            recorder.record_tick({"who": 1 if child == 0 else 0, "i": i})
            recorder.record_error("x", child=child == 0)
        if child:
            os.waitpid(child, 0)
        """,
        tmp_path,
    )
    assert (out.returncode, out.stderr) == (0, "")
    parent, child = sorted(tapes(tmp_path), key=lambda p: TapeReader(p).header.parent_pid)
    header = TapeReader(child).header
    assert header.parent_pid == TapeReader(parent).header.pid
    assert header.instance == str(header.pid)
    written = read_tape(parent)
    assert [t["i"] for t in written.ticks] == list(range(200))
    assert {t["who"] for t in written.ticks} == {0.0}
    assert {e.body["context"]["child"] for e in written.events} == {False}
    written = read_tape(child)
    assert [t["i"] for t in written.ticks] == list(range(100, 200))
    assert len(written.events) == 100
    assert written.counters.stop_reason == "exit"


@pytest.mark.requirement("F14")
def test_a_child_of_multiprocessing_says_goodbye(tmp_path: Path, read_tape: ReadTape) -> None:
    out = run(
        """
        import multiprocessing
        from tapewatch import Recorder
        recorder = Recorder("engine")
        recorder.record_tick({"i": 1.0})
        def work():
            recorder.record_tick({"i": 2.0})
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join()
        assert worker.exitcode == 0
        """,
        tmp_path,
    )
    assert (out.returncode, out.stderr) == (0, "")
    _parent, child = sorted(tapes(tmp_path), key=lambda p: TapeReader(p).header.parent_pid)
    written = read_tape(child)
    assert written.ticks == [{"i": 2.0}]
    assert written.counters.state == "stopped"


def test_a_child_that_records_nothing_makes_no_tape(tmp_path: Path) -> None:
    recorder = Recorder("engine", data_dir=tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert len(tapes(tmp_path)) == 1
    recorder.close()


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("", "stopped", "exit"),
        ("recorder.close('done')", "stopped", "done"),
        ("sys.exit(3)", "stopped", "exit"),
        ("raise ValueError('x')", "failed", "unhandled ValueError"),
        ("os._exit(0)", "running", ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", "running", ""),
        ("del recorder; gc.collect()", "stopped", "the recorder was dropped"),
    ],
)
def test_the_tape_tells_how_the_engine_ended(
    tmp_path: Path, read_tape: ReadTape, ending: str, state: str, reason: str
) -> None:
    run(
        f"""
        import gc, os, signal, sys
        from tapewatch import Recorder
        recorder = Recorder("engine")
        recorder.record_tick({{"a": 1.0}})
        {ending}
        """,
        tmp_path,
    )
    (path,) = tapes(tmp_path)
    written = read_tape(path)
    assert written.ticks == [{"a": 1.0}]
    assert (written.counters.state, written.counters.stop_reason) == (state, reason)
    assert not TapeReader(path).writer_holds_lock()


ENGINE = """
import os, struct, sys
from tapewatch import Recorder
recorder = Recorder("engine")
pipe = int(sys.argv[1])
page = __import__("mmap").mmap(pipe, 4096)
tick = recorder.record_tick
number = struct.Struct("<q").pack  # pack_into would show zeros for a moment
i = 0
print("ready", flush=True)
while True:
    i += 1
    tick({"i": i, "x": 1.5})
    page[0:8] = number(i)
    if i % 7 == 0:
        tick({"nested": {"i": i, "pad": "x" * (i % 1500)}})
        page[8:16] = number(i)
    if i % 11 == 0 and i < 50_000:
        recorder.record_error("e", i=i)
        page[16:24] = number(i)
"""


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.requirement("F5", "P5")
def test_every_record_that_returned_survives_a_sigkill(
    tmp_path: Path, read_tape: ReadTape, kill_rounds: int
) -> None:
    import mmap
    import random
    import struct
    import time

    draw = random.Random(5)
    torn = 0
    for turn in range(kill_rounds):
        data_dir = tmp_path / str(turn)
        fd = os.memfd_create("returned")
        os.ftruncate(fd, 4096)
        page = mmap.mmap(fd, 4096)
        engine = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(fd)],
            env={**os.environ, "TAPEWATCH_DATA_DIR": str(data_dir)},
            pass_fds=[fd],
            stdout=subprocess.PIPE,
        )
        assert engine.stdout is not None
        engine.stdout.readline()
        # The moment of death must be any moment, so this waits by the clock.
        time.sleep(draw.uniform(0.001, 0.12))
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
        engine.stdout.close()
        flat, nested, errors = struct.unpack_from("<3q", page)
        page.close()
        os.close(fd)
        (path,) = tapes(data_dir)
        written = read_tape(path)
        assert written.lost == 0
        assert written.counters.state == "running"
        torn += written.torn
        assert written.torn <= 1
        found = [int(t["i"]) for t in written.ticks if "i" in t]
        assert found in (list(range(1, flat + 1)), list(range(1, flat + 2)))
        deep = [t["nested"]["i"] for t in written.ticks if "nested" in t]
        assert deep in (list(range(7, nested + 1, 7)), list(range(7, nested + 8, 7)))
        seen = [e.body["context"]["i"] for e in written.events]
        assert seen in (list(range(11, errors + 1, 11)), list(range(11, errors + 12, 11)))
        path.unlink()


RACER = """
import sys
from tapewatch import Recorder
recorder = Recorder("racer", frame_bytes=1 << 18, event_bytes=1 << 14)
print(recorder.path, flush=True)
for i in range(int(sys.argv[1])):
    if i % 16:
        recorder.record_tick({"i": i, "twice": 2 * i})
    else:
        recorder.record_tick({"deep": {"i": i, "pad": "x" * (i % 3000)}})
"""


@pytest.mark.requirement("P5")
def test_a_reader_that_is_lapped_again_and_again_counts_every_lost_record(tmp_path: Path) -> None:
    total = 300_000
    engine = subprocess.Popen(
        [sys.executable, "-c", RACER, str(total)],
        env={**os.environ, "TAPEWATCH_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    reader = TapeReader(Path(engine.stdout.readline().strip()))
    seen: list[int] = []
    lost = torn = 0
    final = False
    while True:
        dead = engine.poll() is not None
        batch = reader.poll(final=final)
        found = []
        for run in batch.frames:
            assert (run.values[:, 1] == 2 * run.values[:, 0]).all()
            found += run.values[:, 0].astype(int).tolist()
        found += [record.body["deep"]["i"] for record in batch.records]
        seen += found
        lost += batch.lost_frames
        torn += batch.torn
        if final:
            break
        final = dead
    engine.stdout.close()
    # A slot may be copied before it is written and its neighbour after: it comes with a later poll.
    assert len(set(seen)) == len(seen)
    assert max(seen) == total - 1
    assert torn == 0
    assert len(seen) + lost == total
    assert lost > 0


def test_importing_the_recorder_loads_nothing_heavy(tmp_path: Path) -> None:
    out = run(
        """
        import json, sys
        before = set(sys.modules)
        import tapewatch
        light = sorted(m for m in set(sys.modules) - before if not m.startswith("tapewatch"))
        import tapewatch.record
        print(json.dumps([light, sorted(set(sys.modules) - before)]))
        """,
        tmp_path,
    )
    light, loaded = json.loads(out.stdout)
    assert set(light) <= {"__future__"}
    heavy = {"numpy", "msgspec", "logging", "asyncio", "dataclasses", "inspect", "re", "typing"}
    assert not heavy & set(loaded)
    assert not [m for m in loaded if m.startswith(("tapewatch.model", "tapewatch.config"))]
    assert not (tmp_path / "tapes").exists()
