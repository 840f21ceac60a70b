"""What the tests of the tape share: a tape without a recorder, on a clock of its own."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tapewatch.tape import RecordKind, TapeWriter
from tapewatch.tape.layout import MSGPACK
from tapewatch.tape.writer import Counters

IDENTITY = {
    "engine": "engine",
    "instance": "",
    "pid": 4242,
    "pid_start_ticks": 17,
    "parent_pid": 0,
    "boot_id": "b",
    "cadence_ns": 0,
}


class Tape:
    """One tape being written: frames of one field, long records, events."""

    def __init__(self, directory: Path, slots: int) -> None:
        self.now = 1_000_000_000
        self.writer = TapeWriter(
            str(directory),
            {**IDENTITY, "tape_id": os.urandom(16).hex()},
            Counters(),
            frame_bytes=slots * 256,
            event_bytes=slots * 256,
            monotonic_ns=lambda: self.now,
            time_ns=lambda: 1_700_000_000_000_000_000 + self.now,
        )
        self.path = Path(self.writer.path)
        layout = self.writer.register_layout(
            int(RecordKind.TICK), msgspec.msgpack.encode({"paths": ["i"]}), self.now
        )
        assert layout is not None
        self.layout = layout

    def tick(self, i: float) -> None:
        """Write a frame of one slot."""
        self.now += 1000
        self.writer.frame(int(RecordKind.TICK), self.layout, struct.pack("<d", i), self.now)

    def long_tick(self, i: int, size: int = 700) -> None:
        """Write a msgpack tick of several slots."""
        self.now += 1000
        body = msgspec.msgpack.encode({"i": i, "pad": "x" * size})
        self.writer.frame(int(RecordKind.TICK), MSGPACK, body, self.now)

    def event(self, i: int, size: int = 0) -> bool:
        """Write an event."""
        self.now += 1000
        body = msgspec.msgpack.encode({"i": i, "pad": "x" * size})
        return self.writer.event(int(RecordKind.ERROR), body, self.now)


def numbers_in(batch: Any) -> list[int]:
    """Return the ``i`` of every tick of a batch, rising."""
    found = [int(i) for run in batch.frames for i in run.values[:, 0]]
    found += [r.body["i"] for r in batch.records if r.kind is RecordKind.TICK]
    return sorted(found)


@pytest.fixture
def new_tape(tmp_path: Path) -> Iterator[Callable[[int], Tape]]:
    """Make tapes with so many slots in each ring."""
    made: list[Tape] = []

    def make(slots: int = 64) -> Tape:
        made.append(Tape(tmp_path, slots))
        return made[-1]

    yield make
    for tape in made:
        tape.writer.abandon()


@pytest.fixture
def ticks_in() -> Callable[[Any], list[int]]:
    """Return the ``i`` of every tick of a batch, rising."""
    return numbers_in
