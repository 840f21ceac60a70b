"""Reads one ring of a tape while it is being written, overwritten or after it was damaged.

The reader knows which slot number comes next. A slot that shows it, with a fitting CRC, is a
record; anything else is one of three things. If a valid record with a *later* number of the same
slot lies there, the writer has lapped us: the record numbers tell exactly how many were lost. If
valid records follow, it is a *hole*: a writer was preempted between claim and write, and comes
back, or never does (torn). If nothing follows, it is the end. A record that is overwritten while
it is being copied fails its CRC, so it is never taken for good.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from tapewatch.tape.gathering import Gathering
from tapewatch.tape.layout import (
    HEAD_BYTES,
    MAX_RECORD_SLOTS,
    MSGPACK,
    OVERHEAD,
    SLOT,
    VOID,
    RecordKind,
)
from tapewatch.tape.layouts import LayoutTable
from tapewatch.tape.source import TapeSource, record_at
from tapewatch.tape.types import Hole, RingPosition

PROBE_SLOTS = 16
WINDOW_SLOTS = 4096
FIRST_WINDOW_SLOTS = 64
HOLE_PATIENCE_NS = 10_000_000_000
"""How much younger the newest record must be before a hole is given up. A writer that was
preempted for longer, while others went on writing, is counted as torn."""
MAX_HOLES = 256
MAX_HOLE_SLOTS = 4096
"""More than all threads of an engine can have claimed: such a hole is damage."""
MAX_LAPS = 8
MAX_RECORDS = 1024
"""Decoded maps in one poll of a live tape: with more, the garbage collector takes half the time."""

_decode_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)

_SEQS = struct.Struct("<" + "Q248x" * PROBE_SLOTS)
_SLOT = np.dtype(
    {
        "names": ["seq", "mono", "number", "kind", "slots", "layout", "length"],
        "formats": ["<u8", "<u8", "<u8", "u1", "u1", "<u2", "<u4"],
        "offsets": [0, 8, 16, 24, 25, 26, 28],
        "itemsize": SLOT,
    }
)
_KINDS = {int(kind): kind for kind in RecordKind}
_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Block:
    """Consecutive slots full of whole records, and the record numbers in them."""

    start: int
    stop: int
    first_number: int
    end_number: int
    mono_ns: int


class RingReader:
    """One ring, read forward once, with holes gone back to."""

    def __init__(
        self,
        source: TapeSource,
        layouts: LayoutTable,
        *,
        offset: int,
        slots: int,
        position: RingPosition,
        is_frame_ring: bool,
    ) -> None:
        self._source = source
        self._layouts = layouts
        self._offset = offset
        self._slots = slots
        self._mask = slots - 1
        self._is_frame_ring = is_frame_ring
        self._next_seq = position.next_seq
        self._next_number = position.next_number
        self._newest_mono_ns = position.newest_mono_ns
        self._holes = list(position.holes)
        self._resuming = False

    @property
    def next_seq(self) -> int:
        """The slot number that comes next."""
        return self._next_seq

    @property
    def position(self) -> RingPosition:
        """How far everything has been read or given up."""
        return RingPosition(
            self._next_seq, self._next_number, self._newest_mono_ns, tuple(self._holes)
        )

    def is_quiet(self) -> bool:
        """Return True when one small read shows nothing new and no hole is open."""
        if self._holes:
            return False
        first, mask = self._next_seq, self._mask
        data = self._source.read(self._place(first), PROBE_SLOTS * SLOT)
        inside = self._slots - (first & mask)
        for expected, seq in enumerate(_SEQS.unpack(data)[:inside], first):
            # The inside of an old, long record may show any number, but rarely one of this slot.
            if seq >= expected and not (seq - expected) & mask:
                return False
        return True

    def read(self, out: Gathering, *, final: bool, limit: int, newest_seq: int) -> bool:
        """Gather what is new.

        Args:
            final: The writer is dead: look through the whole ring and leave no hole open.
            limit: About how many records to gather at most.
            newest_seq: A slot number known to have been claimed; 0 when unknown.

        Returns:
            True when the limit was reached and there may be more.
        """
        self._return_to_holes(out)
        more = self._read_forward(out, final=final, limit=limit, newest_seq=newest_seq)
        self._settle_holes(out, final=final and not more)
        return more

    def _read_forward(self, out: Gathering, *, final: bool, limit: int, newest_seq: int) -> bool:
        cursor = self._next_seq
        window = WINDOW_SLOTS if final else FIRST_WINDOW_SLOTS
        gathered = 0
        laps = 0
        unfinished: list[int] = []
        while True:
            # A lap may have begun anywhere; nothing lies further ahead than one ring.
            reach = self._next_seq + self._slots
            count = min(
                window, self._slots - (cursor & self._mask), limit - gathered, reach - cursor
            )
            if count <= 0:
                if final and gathered < limit:
                    self._pass_torn_tail(unfinished, out)
                return gathered >= limit
            before = out.count
            blocks, (lapped, newer), begun = self._scan(cursor, cursor + count, out)
            gathered += out.count - before
            unfinished += begun
            for block in blocks:
                self._advance(block, out, lapped=lapped)
            if lapped >= self._next_seq:
                laps += 1
                if laps > MAX_LAPS:
                    return True
                self._skip_to_oldest(newer, out, final=final)
                cursor = self._next_seq
                continue
            if not final and len(out.records) >= MAX_RECORDS:
                return True
            cursor = max(cursor + count, self._next_seq)
            window = WINDOW_SLOTS
            unseen = cursor - self._next_seq
            if not final and unseen >= PROBE_SLOTS and cursor > newest_seq:
                return False

    def _pass_torn_tail(self, unfinished: list[int], out: Gathering) -> None:
        """Count what a dead writer had begun behind the last whole record, once."""
        tail = [seq for seq in unfinished if seq >= self._next_seq]
        if tail:
            out.torn += len(tail)
            out.skipped_bytes += len(tail) * SLOT
            self._next_seq = tail[-1] + 1

    def _advance(self, block: _Block, out: Gathering, *, lapped: int) -> None:
        """Go on past whole records and account for what lies between the last ones and these."""
        missing = max(0, block.first_number - self._next_number)
        if self._resuming or self._next_seq <= lapped or block.start == self._next_seq:
            out.lost += missing
            self._resuming = False
        elif not missing:
            out.skipped_bytes += (block.start - self._next_seq) * SLOT
        else:
            self._holes.append(
                Hole(
                    self._next_seq,
                    block.start,
                    self._next_number,
                    block.first_number,
                    block.mono_ns,
                )
            )
        self._next_seq = block.stop
        self._next_number = block.end_number
        self._newest_mono_ns = max(self._newest_mono_ns, block.mono_ns)

    def _return_to_holes(self, out: Gathering) -> None:
        holes, self._holes = self._holes, []
        for hole in holes:
            seq, number = hole.start, hole.first_number
            blocks: list[_Block] = []
            for start, stop in self._windows(hole.start, hole.stop):
                blocks += self._scan(start, stop, out)[0]
            end = _Block(hole.stop, hole.stop, hole.end_number, hole.end_number, hole.mono_ns)
            for block in [*blocks, end]:
                if block.first_number > number and block.start > seq:
                    rest = Hole(seq, block.start, number, block.first_number, hole.mono_ns)
                    self._holes.append(rest)
                seq, number = block.stop, block.end_number

    def _windows(self, start: int, stop: int) -> Iterable[tuple[int, int]]:
        while start < stop:
            end = min(stop, start + self._slots - (start & self._mask), start + WINDOW_SLOTS)
            yield start, end
            start = end

    def _settle_holes(self, out: Gathering, *, final: bool) -> None:
        """Close the holes that have been overwritten, and those that nobody will fill."""
        kept = []
        for hole in self._holes:
            if hole.start + self._slots < self._next_seq:
                out.lost += hole.end_number - hole.first_number
            elif (
                final
                or hole.stop - hole.start > MAX_HOLE_SLOTS
                or self._newest_mono_ns - hole.mono_ns > HOLE_PATIENCE_NS
            ):
                _give_up(hole, out)
            else:
                kept.append(hole)
        while len(kept) > MAX_HOLES:
            _give_up(kept.pop(0), out)
        self._holes = kept

    def _skip_to_oldest(self, newer: int, out: Gathering, *, final: bool) -> None:
        """After a lap: go to the oldest slot that will not be overwritten under our hands."""
        head = self._find_head(newer)
        margin = 0 if final else self._slots // 8
        self._next_seq = max(head - self._slots + margin, self._next_seq + 1)
        self._resuming = True
        kept = []
        for hole in self._holes:
            if hole.start <= head - self._slots:
                out.lost += hole.end_number - hole.first_number
            else:
                kept.append(hole)
        self._holes = kept

    def _find_head(self, newer: int) -> int:
        """Return about one past the newest slot number, given a number that is in the ring."""
        low, high = 0, self._slots
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_written(newer + middle):
                low = middle
            else:
                high = middle
        return newer + low + 1

    def _is_written(self, seq: int) -> bool:
        """Return whether the first record head at or after this slot is of this lap."""
        count = min(MAX_RECORD_SLOTS + 1, self._slots - (seq & self._mask))
        data = self._source.read(self._place(seq), count * SLOT)
        seqs = np.frombuffer(data, dtype=_SLOT)["seq"].astype(np.int64)
        ahead = seqs - (seq + np.arange(count, dtype=np.int64))
        known = np.flatnonzero((ahead == 0) | (ahead == -self._slots))
        return bool(len(known)) and bool(ahead[known[0]] == 0)

    def _place(self, seq: int) -> int:
        return self._offset + (seq & self._mask) * SLOT

    def _scan(
        self, start: int, stop: int, out: Gathering
    ) -> tuple[list[_Block], tuple[int, int], list[int]]:
        """Gather the whole records that begin in these slots, which do not wrap.

        Returns:
            The blocks of slots that they fill; the last slot where the writer has lapped us and
            the later number found there (0, 0 = nowhere); and the slots that show the expected
            number without holding a whole record.
        """
        count = stop - start
        data = self._source.read(self._place(start), count * SLOT)
        view = memoryview(data)
        table = np.frombuffer(data, dtype=_SLOT)
        seqs = table["seq"]
        expected = np.arange(start, stop, dtype=np.uint64)
        due: _Bools = seqs == expected
        simple = self._whole_frames(table, due, data)
        blocks: list[_Block] = []
        taken = np.zeros(count, dtype=np.bool_)
        begun: list[int] = []
        index = 0
        for odd in [*np.flatnonzero(~simple).tolist(), count]:
            if odd < index:
                continue  # inside a longer record
            if odd > index:
                taken[index:odd] = True
                numbers = table["number"]
                blocks.append(
                    _Block(
                        start + index,
                        start + odd,
                        int(numbers[index]),
                        int(numbers[odd - 1]) + 1,
                        int(table["mono"][odd - 1]),
                    )
                )
            index = odd
            if odd < count and due[odd]:
                block = self._take_record(view[odd * SLOT :], start + odd, out)
                if block is not None:
                    blocks.append(block)
                    index = odd + (block.stop - block.start)
                    continue
                begun.append(start + odd)
            index = odd + 1
        self._take_frames(table, data, taken, out)
        lapped = np.flatnonzero(
            (seqs > expected) & (((seqs - expected) & np.uint64(self._mask)) == 0)
        )
        for late in reversed(lapped.tolist()):
            newer = int(seqs[late])
            if self._check(view[late * SLOT :], newer) is not None:
                return blocks, (start + late, newer), begun
        return blocks, (0, 0), begun

    def _whole_frames(self, table: npt.NDArray[np.void], due: _Bools, data: bytes) -> _Bools:
        """Return which slots hold a whole frame of one slot with a known layout."""
        lengths = table["length"].astype(np.int64)
        layouts = table["layout"]
        kinds = table["kind"]
        candidates: _Bools = (
            due
            & (table["slots"] == 1)
            & (layouts != MSGPACK)
            & (kinds != VOID)
            & (lengths <= SLOT - OVERHEAD)
            & (lengths % 8 == 0)
            & (table["number"] < table["seq"])
            & (table["mono"] < np.uint64(1 << 63))
        )
        for layout_id in np.unique(layouts[candidates]).tolist():
            layout = self._layouts.get(layout_id)
            mine = layouts == layout_id
            if layout is None:
                candidates &= ~mine
            else:
                fits = (kinds == int(layout.kind)) & (lengths == 8 * len(layout.paths))
                candidates &= ~mine | fits
        indexes = np.flatnonzero(candidates)
        if not len(indexes):
            return candidates
        starts = indexes * SLOT
        ends = starts + HEAD_BYTES + lengths[indexes]
        stored = np.frombuffer(data, dtype="<u4")[ends // 4]
        view = memoryview(data)
        actual = np.fromiter(
            (crc32(view[a:b]) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)),
            dtype=np.uint32,
            count=len(indexes),
        )
        candidates[indexes[actual != stored]] = False
        return candidates

    def _take_frames(
        self, table: npt.NDArray[np.void], data: bytes, taken: _Bools, out: Gathering
    ) -> None:
        indexes: _Ints = np.flatnonzero(taken)
        if not len(indexes):
            return
        doubles = np.frombuffer(data, dtype="<f8").reshape(len(table), SLOT // 8)
        ids = table["layout"][indexes]
        for layout_id in np.unique(ids).tolist():
            layout = self._layouts.get(layout_id)
            if layout is None:
                continue  # it was known a moment ago: never so
            rows = indexes[ids == layout_id]
            first = HEAD_BYTES // 8
            out.add_frames(
                layout,
                table["mono"][rows].astype(np.int64),
                doubles[rows, first : first + len(layout.paths)],
                table["number"][rows],
            )

    def _check(
        self, data: bytes | memoryview, seq: int
    ) -> tuple[tuple[int, int, int, int, int, int], bytes | memoryview] | None:
        """Return head and bytes of a record that may reach beyond ``data`` or round the ring."""
        head = record_at(data, seq)
        if head is None and len(data) >= OVERHEAD:
            slots = min(data[25], self._slots)
            if slots * SLOT > len(data):
                room = min(slots, self._slots - (seq & self._mask))
                data = self._source.read(self._place(seq), room * SLOT)
                if room < slots:
                    data += self._source.read(self._offset, (slots - room) * SLOT)
                head = record_at(data, seq)
        return None if head is None else (head, data)

    def _take_record(self, data: memoryview, seq: int, out: Gathering) -> _Block | None:
        """Gather one record that is not a plain frame, if it is whole."""
        checked = self._check(data, seq)
        if checked is None:
            return None
        (mono_ns, number, kind, slots, layout_id, length), whole = checked
        block = _Block(seq, seq + slots, number, number + 1, mono_ns)
        if kind == VOID:
            return block
        payload = bytes(whole[HEAD_BYTES : HEAD_BYTES + length])
        known = _KINDS.get(kind)
        if known is None:
            out.skipped_bytes += slots * SLOT
            return block
        if layout_id != MSGPACK:
            layout = self._layouts.get(layout_id)
            if layout is None or layout.kind != known or length != 8 * len(layout.paths):
                return None
            out.add_frames(
                layout,
                np.array([mono_ns], dtype=np.int64),
                np.frombuffer(payload, dtype="<f8").reshape(1, -1),
                np.array([number], dtype=np.uint64),
            )
            return block
        body = _body_of(payload)
        if body is None:
            out.torn += 1
            out.skipped_bytes += slots * SLOT
            return block
        out.add_record(known, mono_ns, number, body, frame_ring=self._is_frame_ring)
        return block


def _body_of(payload: bytes) -> dict[str, Any] | None:
    """Return the map in a msgpack payload, with text for keys; None if there is none."""
    try:
        return _decode_map(payload)
    except _UNREADABLE:
        pass
    try:
        other = msgspec.msgpack.decode(payload)
        return {str(key): value for key, value in other.items()}
    except (*_UNREADABLE, AttributeError):
        return None


def _give_up(hole: Hole, out: Gathering) -> None:
    out.torn += hole.end_number - hole.first_number
    out.skipped_bytes += (hole.stop - hole.start) * SLOT
