"""A ring of slots that any thread, signal handler or finalizer may write to without a lock.

A claim is one call into C, ``next(zip(seqs, ..., seqs, numbers))``, that draws all slot numbers of
a record and its record number at once. CPython runs no other Python code inside such a call, so
claims never overlap, the slots of a record are consecutive, record numbers rise with slot numbers,
and there is nothing to deadlock on. Between claim and write a thread may lose the processor; the
reader sees a hole and comes back to it. A writer that fails in between fills its slots with a void
record, so that the reader is not kept waiting.
"""

from __future__ import annotations

from itertools import count
from struct import Struct
from zlib import crc32

from tapewatch.tape.layout import (
    CRC,
    HEAD,
    HEAD_BYTES,
    MAX_RECORD_SLOTS,
    MSGPACK,
    OVERHEAD,
    SLOT,
    SLOT_SHIFT,
    VOID,
)

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap


_head = HEAD.pack
_crc_bytes = CRC.pack
_ROUND_UP = OVERHEAD + SLOT - 1
_MAX_COPIES = 2048
COPIES: dict[int, Callable[..., None]] = {}
"""Copies head, payload and checksum to the map in one call: one for each payload length."""


def _copy_of(size: int) -> Callable[..., None]:
    copy = Struct(f"<{HEAD_BYTES}s{size}sI").pack_into
    if len(COPIES) < _MAX_COPIES:
        COPIES[size] = copy
    return copy


class OversizedRecordError(ValueError):
    """A record is longer than the ring accepts."""


class Ring:
    """The writer's side of one array of slots. A write is seen by readers once its CRC fits."""

    __slots__ = (
        "claim",
        "claims",
        "end",
        "map",
        "mask",
        "max_payload",
        "newest",
        "numbers",
        "offset",
        "seqs",
        "slots",
    )

    def __init__(self, memory: mmap, offset: int, slots: int) -> None:
        self.map = memory
        self.offset = offset
        self.slots = slots
        self.mask = slots - 1
        self.end = offset + slots * SLOT
        self.seqs = count(1)
        self.numbers = count()
        self.claims: dict[int, Callable[[], tuple[int, ...]]] = {}
        """Claims by number of slots, as far as they have been needed."""
        self.claim = self._claim_of(1)
        """Claim one slot: returns (``seq``, record number)."""
        self.newest = 0
        """Newest slot number that `append` used; direct users of `claim` do not move it."""
        self.max_payload = min(MAX_RECORD_SLOTS, slots // 4) * SLOT - OVERHEAD

    def append(self, kind: int, layout: int, payload: bytes, mono_ns: int) -> int:
        """Write one record of any length and return the number of its last slot.

        Raises:
            OversizedRecordError: The payload is longer than ``max_payload``.
            ValueError: The map is closed.
        """
        size = len(payload)
        if size > self.max_payload:
            raise OversizedRecordError(f"a record of {size} bytes, at most {self.max_payload}")
        slots = (_ROUND_UP + size) >> SLOT_SHIFT
        claim = self.claims.get(slots) or self._claim_of(slots)
        seq = number = 0
        try:
            claimed = claim()
            seq = claimed[0]
            number = claimed[-1]
            head = _head(seq, mono_ns, number, kind, slots, layout, size)
            checksum = crc32(payload, crc32(head))
            start = self.offset + ((seq & self.mask) << SLOT_SHIFT)
            if start + OVERHEAD + size <= self.end:
                copy = COPIES.get(size) or _copy_of(size)
                copy(self.map, start, head, payload, checksum)
            else:
                self._put_around(start, head + payload + _crc_bytes(checksum))
        except BaseException:
            if seq:
                self.void(seq, number, slots, mono_ns)
            raise
        last = seq + slots - 1
        if last > self.newest:  # noqa: PLR1730 - a call of max() is slower
            self.newest = last
        return last

    def _claim_of(self, slots: int) -> Callable[[], tuple[int, ...]]:
        """Return the claim of this many slots. Claims of all sizes draw on the same counters."""
        claim: Callable[[], tuple[int, ...]] = zip(
            *[self.seqs] * slots, self.numbers, strict=False
        ).__next__
        return self.claims.setdefault(slots, claim)

    def _put_around(self, start: int, record: bytes) -> None:
        """Copy a record that goes round the end of the ring."""
        room = self.end - start
        self.map[start : self.end] = record[:room]
        self.map[self.offset : self.offset + len(record) - room] = record[room:]

    def void(self, seq: int, number: int, slots: int, mono_ns: int) -> None:
        """Mark claimed slots as empty, as far as the map still allows."""
        record = _head(seq, mono_ns, number, VOID, slots, MSGPACK, 0)
        record += _crc_bytes(crc32(record))
        start = self.offset + ((seq & self.mask) << SLOT_SHIFT)
        try:
            self.map[start : start + len(record)] = record
        except ValueError:
            return  # the map is closed: nobody waits for this slot any more
