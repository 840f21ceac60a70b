"""Damaged tapes: everything whole is read, the rest is counted, and nothing is raised."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tapewatch.model.errors import TapeError
from tapewatch.tape import TapePosition, TapeReader
from tapewatch.tape.layout import HEADER_COPY, HEADER_HEAD, LAYOUT_OFFSET, LAYOUT_SLOTS, MAGIC

NewTape = Callable[..., Any]
TicksIn = Callable[[Any], list[int]]
FRAMES = LAYOUT_OFFSET + LAYOUT_SLOTS * 256
SLOTS = 64
EVENTS = FRAMES + SLOTS * 256
ONCE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(new_tape: NewTape) -> Any:
    """A tape with ten short and ten long ticks and ten events."""
    tape = new_tape(SLOTS)
    for i in range(10):
        tape.tick(2 * i)
        tape.long_tick(2 * i + 1)
        tape.event(i)
    return tape


def slots_of(i: int) -> tuple[int, int]:
    """Return first byte and end of the tick ``i`` of `written`; a pair takes one and three."""
    first = FRAMES + 256 * (1 + 4 * (i // 2) + (i % 2))
    return first, first + (768 if i % 2 else 256)


@pytest.mark.requirement("F41")
def test_a_tape_cut_at_any_length_gives_what_lies_before_the_cut(
    new_tape: NewTape, ticks_in: TicksIn, tmp_path: Path
) -> None:
    tape = written(new_tape)
    copy = tmp_path / "cut.tape"
    shutil.copy(tape.path, copy)
    size = copy.stat().st_size
    used = {*range(EVENTS, EVENTS + 11 * 256, 3), *range(FRAMES, FRAMES + 42 * 256, 3)}
    lengths = used | set(range(0, LAYOUT_OFFSET + 800, 37)) | set(range(0, size, 4999))
    ends = {i: slots_of(i) for i in range(20)}
    for length in sorted(lengths, reverse=True):
        os.truncate(copy, length)
        try:
            reader = TapeReader(copy)
        except TapeError:
            assert length < HEADER_COPY
            continue
        batch = reader.poll(final=True)
        reader.counters()
        reader.close()
        if length >= FRAMES:
            # A record ends before its slots do: what was cut off behind it does not matter.
            seen = ticks_in(batch)
            whole = [i for i, (_first, end) in ends.items() if end <= length]
            assert seen[: len(whole)] == whole
            assert all(ends[i][0] < length for i in seen)
        assert batch.skipped_bytes >= size - length
        assert batch.lost_frames == 0


@pytest.mark.requirement("F41")
@ONCE
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 44 * 256 - 1), st.integers(1, 255)), min_size=1, max_size=8
    )
)
def test_flipped_bytes_cost_only_the_records_that_they_hit(
    new_tape: NewTape, ticks_in: TicksIn, tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    tape = written(new_tape)
    data = bytearray(tape.path.read_bytes())
    for offset, bits in flips:
        data[FRAMES + offset] ^= bits
    copy = tmp_path / "flipped.tape"
    copy.unlink(missing_ok=True)
    copy.write_bytes(data)
    copy.chmod(0o600)
    batch = TapeReader(copy).poll(final=True)
    seen = ticks_in(batch)
    original = tape.path.read_bytes()
    unhurt = [i for i in range(20) if data[slice(*slots_of(i))] == original[slice(*slots_of(i))]]
    assert set(unhurt) <= set(seen)
    assert seen == sorted(set(seen))
    missing = 20 - len(seen)
    # Nothing tells of records at the very end but their own first bytes.
    assert batch.torn + batch.lost_frames <= missing
    if 19 in seen:
        assert batch.torn == missing
    assert len(batch.records) - sum(i % 2 for i in seen) == 10


@pytest.mark.requirement("F41")
@ONCE
@given(
    seed=st.integers(0, 2**32),
    where=st.sampled_from([0, 4096, 8192, LAYOUT_OFFSET, FRAMES, EVENTS]),
)
def test_garbage_from_any_part_on_raises_nothing(
    new_tape: NewTape, tmp_path: Path, seed: int, where: int
) -> None:
    tape = written(new_tape)
    data = tape.path.read_bytes()
    copy = tmp_path / "garbage.tape"
    copy.write_bytes(data[:where] + random.Random(seed).randbytes(len(data) - where))
    copy.chmod(0o600)
    try:
        reader = TapeReader(copy)
    except TapeError:
        assert where == 0
        return
    for final in (False, True, True):
        reader.poll(final=final)
    TapePosition.from_json(reader.position().to_json())
    assert reader.counters().state in ("running", "stopped", "failed")
    if where > FRAMES:
        assert reader.position().frames.next_number == 20


@pytest.mark.requirement("F41", "T25")
@ONCE
@given(page=st.binary(max_size=9000))
@example(page=b"")
@example(page=MAGIC)
@example(page=MAGIC + b"\xff" * 100)
def test_random_files_are_refused(tmp_path: Path, page: bytes) -> None:
    path = tmp_path / "random.tape"
    path.write_bytes(page)
    with pytest.raises(TapeError):
        TapeReader(path)


FIELDS = [
    "tape_id", "engine", "instance", "pid", "pid_start_ticks", "boot_id", "start_wall_ns",
    "start_mono_ns", "cadence_ns", "slot_bytes", "layout_offset", "layout_slots", "frame_offset",
    "frame_slots", "event_offset", "event_slots",
]  # fmt: skip
lies = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.text(max_size=5), st.none(), st.floats(),
    st.sampled_from([0, 1, 2, 63, 64, 128, 1 << 24, 1 << 25, 12288, FRAMES, EVENTS]),
)  # fmt: skip


@pytest.mark.requirement("F41", "T25")
@ONCE
@given(fields=st.dictionaries(st.sampled_from(FIELDS), lies, min_size=1, max_size=4))
def test_a_header_that_lies_is_refused_or_harmless(
    new_tape: NewTape, tmp_path: Path, fields: dict[str, Any]
) -> None:
    tape = written(new_tape)
    data = tape.path.read_bytes()
    _magic, _version, length = HEADER_HEAD.unpack_from(data)
    header = msgspec.msgpack.decode(data[HEADER_HEAD.size : HEADER_HEAD.size + length])
    copy = tmp_path / "lying.tape"
    copy.write_bytes(sealed(msgspec.msgpack.encode({**header, **fields})) * 2 + data[8192:])
    copy.chmod(0o600)
    try:
        reader = TapeReader(copy)
    except TapeError as error:
        assert str(copy) in str(error)
        return
    for final in (False, True):
        reader.poll(final=final)


@pytest.mark.requirement("F41", "T25")
@ONCE
@given(
    slot=st.integers(1, 12),
    field=st.sampled_from(
        [("<Q", 0), ("<Q", 8), ("<Q", 16), ("B", 24), ("B", 25), ("<H", 26), ("<I", 28)]
    ),
    lie=st.integers(0, 2**64 - 1),
    sealed_again=st.booleans(),
)
def test_a_record_that_lies_about_itself_raises_nothing(
    new_tape: NewTape,
    tmp_path: Path,
    slot: int,
    field: tuple[str, int],
    lie: int,
    sealed_again: bool,
) -> None:
    tape = written(new_tape)
    data = bytearray(tape.path.read_bytes())
    start = FRAMES + slot * 256
    form, offset = field
    struct.pack_into(form, data, start + offset, lie % (1 << (8 * struct.calcsize(form))))
    (length,) = struct.unpack_from("<I", data, start + 28)
    end = start + 32 + length
    if sealed_again and end + 4 < len(data):
        struct.pack_into("<I", data, end, crc32(data[start:end]))
    copy = tmp_path / "lying.tape"
    copy.write_bytes(data)
    copy.chmod(0o600)
    reader = TapeReader(copy)
    for final in (False, True):
        reader.poll(final=final)
    TapePosition.from_json(reader.position().to_json())


@pytest.mark.requirement("T25")
def test_an_unknown_version_is_refused_by_name(new_tape: NewTape, tmp_path: Path) -> None:
    page = bytearray(written(new_tape).path.read_bytes())
    page[8] = page[4096 + 8] = 2
    copy = tmp_path / "new.tape"
    copy.write_bytes(page)
    with pytest.raises(TapeError, match="found format version 2, expected 1"):
        TapeReader(copy)


def test_a_damaged_header_is_replaced_by_its_copy(
    new_tape: NewTape, ticks_in: TicksIn, tmp_path: Path
) -> None:
    tape = written(new_tape)
    data = bytearray(tape.path.read_bytes())
    data[0:4096] = b"x" * 4096
    copy = tmp_path / "half.tape"
    copy.write_bytes(data)
    copy.chmod(0o600)
    assert ticks_in(TapeReader(copy).poll(final=True)) == list(range(20))


def sealed(body: bytes) -> bytes:
    """Return a header page around a msgpack body."""
    page = HEADER_HEAD.pack(MAGIC, 1, len(body)) + body
    return (page + crc32(page).to_bytes(4, "little")).ljust(4096, b"\0")
