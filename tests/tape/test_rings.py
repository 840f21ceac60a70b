"""The two rings: overwriting counts exactly, refusing loses nothing that was accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapewatch.tape import ControlWriter, RecordKind, TapePosition, TapeReader
from tapewatch.tape.layout import HEAD, MSGPACK, slots_for
from tapewatch.tape.ring_reader import HOLE_PATIENCE_NS

NewTape = Callable[..., Any]
TicksIn = Callable[[Any], list[int]]


def test_a_run_joins_frames_of_one_layout(new_tape: NewTape) -> None:
    tape = new_tape(256)
    for i in range(50):
        tape.tick(i)
        tape.long_tick(1000 + i, size=10)
    batch = TapeReader(tape.path).poll()
    (run,) = batch.frames
    assert run.layout.paths == ("i",)
    assert run.layout.kind is RecordKind.TICK
    assert run.values[:, 0].tolist() == list(range(50))
    assert run.numbers.tolist() == list(range(0, 100, 2))
    assert (run.mono_ns.dtype, run.values.dtype, run.numbers.dtype) == (
        np.int64,
        np.float64,
        np.uint64,
    )
    assert [r.number for r in batch.records] == list(range(1, 100, 2))
    assert batch.ticks == 100


def test_a_poll_returns_only_what_is_new(new_tape: NewTape, ticks_in: TicksIn) -> None:
    tape = new_tape(64)
    reader = TapeReader(tape.path)
    assert reader.poll().is_empty
    for i in range(300):
        tape.tick(i)
        assert ticks_in(reader.poll()) == [i]
        assert reader.poll().is_empty


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    sizes=st.lists(st.sampled_from([0, 0, 0, 300, 900, 2500]), min_size=1, max_size=300),
)
def test_read_and_lost_together_are_all_that_was_written(
    new_tape: NewTape, ticks_in: TicksIn, data: st.DataObject, sizes: list[int]
) -> None:
    tape = new_tape(64)
    reader = TapeReader(tape.path)
    seen: list[int] = []
    lost = 0
    for i, size in enumerate(sizes):
        if size:
            tape.long_tick(i, size)
        else:
            tape.tick(i)
        if data.draw(st.integers(0, 9)) == 0:
            batch = reader.poll(max_frames=data.draw(st.sampled_from([1, 3, 1000])))
            seen += ticks_in(batch)
            lost += batch.lost_frames
            assert (batch.torn, batch.skipped_bytes) == (0, 0)
            if data.draw(st.booleans()):
                position = TapePosition.from_json(reader.position().to_json())
                reader.close()
                reader = TapeReader(tape.path, position)
    batch = reader.poll(final=True)
    seen += ticks_in(batch)
    lost += batch.lost_frames
    assert seen == sorted(set(seen))
    assert len(seen) + lost == len(sizes)
    assert not seen or seen[-1] == len(sizes) - 1
    assert (batch.torn, batch.skipped_bytes) == (0, 0)
    reader.close()


@pytest.mark.parametrize("slots", [64, 256, 1024])
@pytest.mark.parametrize("written", [63, 64, 65, 1000, 5000])
def test_a_late_reader_counts_what_was_overwritten(
    new_tape: NewTape, ticks_in: TicksIn, slots: int, written: int
) -> None:
    tape = new_tape(slots)
    for i in range(written):
        tape.tick(i)
    batch = TapeReader(tape.path).poll()
    seen = ticks_in(batch)
    assert seen == list(range(written - len(seen), written))
    assert batch.lost_frames == written - len(seen)
    assert len(seen) >= min(written, slots * 3 // 4)
    final = TapeReader(tape.path).poll(final=True)
    assert len(ticks_in(final)) == min(written, slots)
    assert final.lost_frames == written - min(written, slots)


def test_a_record_that_is_overwritten_while_it_is_copied_is_never_taken_for_good(
    new_tape: NewTape, ticks_in: TicksIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = new_tape(64)
    for i in range(60):
        tape.tick(i)
    reader = TapeReader(tape.path)
    read = reader._source.read
    busy = False

    def read_while_writing(offset: int, length: int) -> bytes:
        nonlocal busy
        half = length // 2
        first = read(offset, half)
        if length >= 16 * 256 and not busy:
            busy = True
            for i in range(100):
                tape.tick(1000 + i)
        return first + read(offset + half, length - half)

    monkeypatch.setattr(reader._source, "read", read_while_writing)
    batch = reader.poll()
    monkeypatch.undo()
    last = reader.poll(final=True)
    seen = ticks_in(batch) + ticks_in(last)
    assert seen == sorted(set(seen))
    assert set(seen) <= set(range(60)) | set(range(1000, 1100))
    assert len(seen) + batch.lost_frames + last.lost_frames + last.torn == 160


@pytest.mark.requirement("P5")
def test_events_are_refused_when_nobody_releases_room(new_tape: NewTape) -> None:
    tape = new_tape(64)
    accepted = sum(tape.event(i) for i in range(200))
    assert 40 <= accepted < 64
    reader = TapeReader(tape.path)
    batch = reader.poll()
    assert [r.body["i"] for r in batch.records] == list(range(accepted))
    assert batch.lost_events == 0
    assert reader.counters().dropped_events == 200 - accepted


def test_released_room_is_used_again_and_no_event_is_lost(new_tape: NewTape) -> None:
    tape = new_tape(64)
    reader = TapeReader(tape.path)
    control = ControlWriter(tape.path)
    seen: list[int] = []
    for i in range(1000):
        assert tape.event(i, size=i % 600)
        if i % 5 == 0:
            batch = reader.poll()
            seen += [r.body["i"] for r in batch.records]
            control.release(reader.position().released_event_seq, 0, tape.now)
    seen += [r.body["i"] for r in reader.poll().records]
    assert seen == list(range(1000))
    assert reader.counters().dropped_events == 0
    control.close()


def test_an_event_that_is_too_long_is_refused_and_counted(new_tape: NewTape) -> None:
    tape = new_tape(1024)
    assert not tape.event(1, size=20_000)
    assert tape.event(2)
    counters = TapeReader(tape.path).counters()
    assert (counters.oversized_records, counters.dropped_events) == (1, 1)


@pytest.mark.parametrize("slots", [1, 3])
def test_a_hole_is_gone_back_to_and_filled(
    new_tape: NewTape, ticks_in: TicksIn, slots: int
) -> None:
    tape = new_tape(64)
    ring = tape.writer.frames
    tape.tick(0)
    seq, *_rest, number = ring._claim_of(slots)()
    tape.tick(2)
    reader = TapeReader(tape.path)
    batch = reader.poll()
    assert (ticks_in(batch), batch.torn) == ([0, 2], 0)
    position = TapePosition.from_json(reader.position().to_json())
    assert position.released_frame_seq == seq - 1
    reader = TapeReader(tape.path, position)
    tape.tick(3)
    assert ticks_in(reader.poll()) == [3]
    payload = _body(1, 10 if slots == 1 else 600)
    assert slots_for(len(payload)) == slots
    _finish(ring, seq, number, payload, tape.now)
    batch = reader.poll()
    assert (ticks_in(batch), batch.torn) == ([1], 0)
    assert reader.poll().is_empty
    assert reader.position().released_frame_seq == 4 + slots - 1


def test_a_hole_that_nobody_fills_is_torn_after_a_while(
    new_tape: NewTape, ticks_in: TicksIn
) -> None:
    tape = new_tape(64)
    tape.tick(0)
    tape.writer.frames.claim()
    tape.tick(2)
    reader = TapeReader(tape.path)
    assert reader.poll().torn == 0
    tape.now += HOLE_PATIENCE_NS
    tape.tick(3)
    batch = reader.poll()
    assert (ticks_in(batch), batch.torn, batch.skipped_bytes) == ([3], 1, 256)
    assert reader.poll().is_empty


def test_a_hole_of_a_dead_writer_is_torn_at_once(new_tape: NewTape, ticks_in: TicksIn) -> None:
    tape = new_tape(64)
    tape.tick(0)
    tape.writer.frames.claim()
    tape.tick(2)
    batch = TapeReader(tape.path).poll(final=True)
    assert (ticks_in(batch), batch.torn) == ([0, 2], 1)


def test_a_torn_tail_is_counted_once(new_tape: NewTape, ticks_in: TicksIn) -> None:
    tape = new_tape(64)
    tape.tick(0)
    tape.tick(1)
    start = tape.writer.frames.offset + 2 * 256
    tape.writer.map[start + 32 : start + 44] = b"x" * 12
    reader = TapeReader(tape.path)
    assert ticks_in(reader.poll()) == [0]
    assert reader.poll().is_empty
    batch = reader.poll(final=True)
    assert (ticks_in(batch), batch.torn, batch.skipped_bytes) == ([], 1, 256)
    assert reader.poll(final=True).is_empty
    again = TapeReader(tape.path, reader.position())
    assert again.poll(final=True).is_empty


def test_a_wide_hole_before_the_last_record_is_seen_through(
    new_tape: NewTape, ticks_in: TicksIn
) -> None:
    tape = new_tape(1024)
    for _ in range(40):
        tape.writer.frames.claim()
    tape.tick(40)
    reader = TapeReader(tape.path)
    first = ticks_in(reader.poll())
    tape.now += 2_000_000_000
    tape.tick(41)
    tape.tick(42)
    assert first + ticks_in(reader.poll()) == [40, 41, 42]


def test_void_slots_are_passed_over_in_silence(new_tape: NewTape, ticks_in: TicksIn) -> None:
    tape = new_tape(64)
    ring = tape.writer.frames
    tape.tick(0)
    seq, _a, _b, number = ring._claim_of(3)()
    ring.void(seq, number, 3, tape.now)
    tape.tick(2)
    batch = TapeReader(tape.path).poll(final=True)
    assert (ticks_in(batch), batch.torn, batch.lost_frames, batch.skipped_bytes) == (
        [0, 2],
        0,
        0,
        0,
    )


def test_a_bounded_poll_says_that_there_is_more(new_tape: NewTape, ticks_in: TicksIn) -> None:
    tape = new_tape(1024)
    for i in range(100):
        tape.tick(i)
    reader = TapeReader(tape.path)
    seen = []
    for _ in range(10):
        batch = reader.poll(max_frames=10)
        assert batch.ticks == 10
        assert batch.more
        seen += ticks_in(batch)
    assert seen == list(range(100))
    assert reader.poll(max_frames=10).is_empty


def test_no_value_of_an_engine_is_a_stale_marker(new_tape: NewTape) -> None:
    import struct

    tape = new_tape(64)
    (stale,) = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))
    tape.tick(stale)
    (run,) = TapeReader(tape.path).poll().frames
    assert np.isnan(run.values[0, 0])
    assert run.values.view(np.uint64)[0, 0] == np.array([np.nan]).view(np.uint64)[0]


def test_anchors_tie_the_two_clocks_together(new_tape: NewTape) -> None:
    tape = new_tape(64)
    reader = TapeReader(tape.path)
    for i in range(5):
        tape.now += 1_000_000_000
        tape.tick(i)
        counters = reader.counters()
        assert counters.anchor_mono_ns == tape.now
        assert counters.anchor_wall_ns - counters.anchor_mono_ns == 1_700_000_000_000_000_000
        assert counters.newest_frame_seq == i + 1


def _body(i: int, size: int) -> bytes:
    import msgspec

    return msgspec.msgpack.encode({"i": i, "pad": "x" * size})


def _finish(ring: Any, seq: int, number: int, payload: bytes, now: int) -> None:
    """Do the second half of what a preempted writer does."""
    from zlib import crc32

    head = HEAD.pack(
        seq, now, number, RecordKind.TICK, slots_for(len(payload)), MSGPACK, len(payload)
    )
    record = head + payload
    record += crc32(record).to_bytes(4, "little")
    start = ring.offset + (seq & ring.mask) * 256
    ring.map[start : start + len(record)] = record
