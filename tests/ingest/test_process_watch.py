"""Death is known at once, for real processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapewatch.ingest.process_watch import ProcessWatch, process_start_ticks

TAPE = Path("engine.tape")


@pytest.fixture
def watch() -> Iterator[ProcessWatch]:
    watched = ProcessWatch()
    yield watched
    watched.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.requirement("P6", "F5")
def test_a_killed_process_ends_the_wait_within_milliseconds(
    watch: ProcessWatch, child: subprocess.Popen[bytes]
) -> None:
    ticks = process_start_ticks(child.pid)
    assert ticks is not None
    assert watch.watch(TAPE, child.pid, ticks)
    assert watch.wait(0) == []

    child.kill()
    began = time.monotonic()
    assert watch.wait(10_000) == [TAPE]
    assert time.monotonic() - began < 5
    assert watch.wait(0) == [], "a death is told once"


def test_a_reused_pid_is_not_taken_for_the_engine(
    watch: ProcessWatch, child: subprocess.Popen[bytes]
) -> None:
    ticks = process_start_ticks(child.pid)
    assert ticks is not None
    assert not watch.watch(Path("/nonexistent/engine.tape"), child.pid, ticks + 1)


def test_where_the_pid_cannot_be_seen_the_held_lock_is_the_life(
    watch: ProcessWatch, tmp_path: Path
) -> None:
    tape = tmp_path / "engine.tape"
    tape.touch()
    holder = os.open(tape, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)

    assert watch.watch(tape, 4_194_000, 1)
    assert watch.wait(0) == []
    os.close(holder)
    assert watch.wait(0) == [tape]


def test_a_wake_up_ends_the_wait_and_tells_of_no_death(watch: ProcessWatch) -> None:
    watch.wake()
    assert watch.wait(10_000) == []


def test_closing_gives_every_descriptor_back(child: subprocess.Popen[bytes]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ticks = process_start_ticks(child.pid)
    assert ticks is not None
    watched = ProcessWatch()
    watched.watch(TAPE, child.pid, ticks)
    watched.close()

    assert len(os.listdir("/proc/self/fd")) == before
