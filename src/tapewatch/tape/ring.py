"""A ring of slots that any thread, signal handler or finalizer may write to without a lock.

A claim is one call into C that draws slot numbers and a record number together from two counters.
CPython runs no other Python code inside such a call, so claims never overlap, record numbers rise
with slot numbers, and there is nothing to deadlock on. Between claim and write a thread may lose
the processor; the reader sees a hole and comes back to it. A writer that fails in between fills its
slots with a void record, so that the reader is not kept waiting.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING
from zlib import crc32

from tapewatch.tape.layout import (
    CRC,
    HEAD,
    MAX_RECORD_SLOTS,
    MSGPACK,
    OVERHEAD,
    SLOT,
    SLOT_SHIFT,
    VOID,
    slots_for,
)

if TYPE_CHECKING:
    from mmap import mmap


class OversizedRecordError(ValueError):
    """A record is longer than the ring accepts."""


class Ring:
    """The writer's side of one array of slots. A write is seen by readers once its CRC fits."""

    __slots__ = (
        "claim",
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
        self.claim = zip(self.seqs, self.numbers, strict=False).__next__
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
        if len(payload) > self.max_payload:
            raise OversizedRecordError(
                f"a record of {len(payload)} bytes, at most {self.max_payload}"
            )
        slots = slots_for(len(payload))
        seq = number = 0
        try:
            if slots == 1:
                last, number = self.claim()
            else:
                last, number = next(
                    zip(islice(self.seqs, slots - 1, slots), self.numbers, strict=False)
                )
            seq = last - slots + 1
            record = HEAD.pack(seq, mono_ns, number, kind, slots, layout, len(payload)) + payload
            self.put(seq, record + CRC.pack(crc32(record)))
        except BaseException:
            if seq:
                self.void(seq, number, slots, mono_ns)
            raise
        self.newest = max(self.newest, last)
        return last

    def put(self, seq: int, record: bytes) -> None:
        """Copy a finished record to its place, around the end of the ring if need be."""
        start = self.offset + ((seq & self.mask) << SLOT_SHIFT)
        stop = start + len(record)
        if stop <= self.end:
            self.map[start:stop] = record
        else:
            room = self.end - start
            self.map[start : self.end] = record[:room]
            self.map[self.offset : self.offset + len(record) - room] = record[room:]

    def void(self, seq: int, number: int, slots: int, mono_ns: int) -> None:
        """Mark claimed slots as empty, as far as the map still allows."""
        record = HEAD.pack(seq, mono_ns, number, VOID, slots, MSGPACK, 0)
        try:
            self.put(seq, record + CRC.pack(crc32(record)))
        except ValueError:
            return  # the map is closed: nobody waits for this slot any more
