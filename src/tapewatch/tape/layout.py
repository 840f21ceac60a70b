"""The numbers of the tape format: offsets, structs and record kinds, in one place.

A tape is one preallocated file, little-endian throughout::

    0        header           4 KiB   written once: magic, version, msgpack map, CRC-32
    4096     header copy      4 KiB   the same bytes, read when the first is damaged
    8192     status page      4 KiB   rewritten: anchors, writer's state, counters
    12288    layout area      slots   append-only
    ...      frame ring       slots   full = the oldest is overwritten
    ...      event ring       slots   full = the newest is refused

The last three are arrays of 256-byte slots. Slot number ``seq`` counts from 1 and lies at index
``seq mod slots``, so a slot that was never written (``seq`` 0) can never be taken for a record. A
record takes one or more consecutive slots: head, payload, and the CRC-32 of both; only its first
slot has a head. ``number`` counts records from 0 in the order of ``seq``, which is what makes the
size of a loss exact. ``docs/reference/tape-format.md`` describes every byte.

This module is imported by the engine's side, so it stays light.
"""

from __future__ import annotations

import struct
from enum import IntEnum

MAGIC = b"TWTAPE\r\n"
VERSION = 1
TAPE_SUFFIX = ".tape"
CONTROL_SUFFIX = ".control"

HEADER_BYTES = 4096
HEADER_COPY = 4096
STATUS = 8192
STATUS_BYTES = 4096
LAYOUT_OFFSET = STATUS + STATUS_BYTES
LAYOUT_SLOTS = 2048
"""Room for the 2,000 series that a recorder may have, each with a layout of its own."""

NOTHING_BITS = 0x7FF8_0000_0000_0A05
"""The NaN of a frame's field that had no value: the engine gave None, not a figure gone wrong."""

SLOT = 256
SLOT_SHIFT = 8
MIN_SLOTS = 64
MAX_SLOTS = 1 << 24
"""4 GiB a ring; a header that says more lies."""

HEADER_HEAD = struct.Struct("<8sII")
"""Magic, format version, bytes of the msgpack map that follows; then the CRC-32."""

HEAD = struct.Struct("<QQQBBHI")
"""``seq``, monotonic ns, record number, kind, slots, layout id, payload bytes."""
HEAD_BYTES = HEAD.size
META = struct.Struct("<BBHI")
"""The last four fields of a head, which are constant for one flat layout."""
CRC = struct.Struct("<I")
OVERHEAD = HEAD_BYTES + CRC.size
MAX_RECORD_SLOTS = 255
MAX_PAYLOAD = MAX_RECORD_SLOTS * SLOT - OVERHEAD

MSGPACK = 0xFFFF
"""Layout id of a record whose payload is msgpack. Others name the layout record's slot."""

VOID = 0
"""Kind of a claimed slot that holds nothing: its writer failed between claim and write."""
LAYOUT = 240
"""Kind of the records in the layout area."""

ANCHOR = struct.Struct("<QQQQI")
"""Monotonic ns, wall ns, newest frame ``seq``, newest event ``seq``, CRC-32 of these."""
ANCHOR_PLACES = (STATUS, STATUS + 64)
"""Written in turn, so that one of the two is always whole."""
STATE_PLACE = STATUS + 128
STATE = struct.Struct("<II240sI")
"""State, bytes of the reason, the reason in UTF-8, CRC-32 of these."""
COUNTERS_PLACE = STATUS + 512
COUNTERS = struct.Struct("<6Q")

STATE_RUNNING = 1
STATE_STOPPED = 2
STATE_FAILED = 3

CONTROL_MAGIC = 0x4C52544357544331
CONTROL_BYTES = 4096
CONTROL = struct.Struct("<QQIIQQQQI")
"""Magic, epoch, command, arming, daemon heartbeat (monotonic ns), released event ``seq``,
released frame ``seq``, reserved, CRC-32 of these."""


class RecordKind(IntEnum):
    """What a record is about. Numbers are part of the format: they are added to, never changed."""

    TICK = 1
    METRIC = 2
    ERROR = 3
    TIMER = 4
    FILL = 5
    TRADE_CLOSED = 6
    MARK = 7
    EQUITY = 8
    PREDICTION = 9
    OUTCOME = 10
    STATE = 11
    CONTROL_ACK = 12


def slots_for(payload: int) -> int:
    """Return how many slots a record with this many payload bytes takes."""
    return (OVERHEAD + payload + SLOT - 1) >> SLOT_SHIFT


def ring_slots(size: int) -> int:
    """Return the greatest power of two of slots that fits into ``size`` bytes, within bounds."""
    slots = MIN_SLOTS
    while slots < MAX_SLOTS and (slots * 2) << SLOT_SHIFT <= size:
        slots *= 2
    return slots
