"""The engine's side of a tape: makes and maps the file, writes records that outlive a SIGKILL.

A record is safe when the call that wrote it returns, because it lies in the kernel's page cache;
nothing is flushed to disk here, so a power failure may cost the newest seconds. Every block of the
file is allocated before it is mapped: a full disk is an error at creation, not a SIGBUS later.
"""

from __future__ import annotations

import fcntl
import os
from itertools import count
from mmap import mmap
from zlib import crc32

from tapewatch.tape.control_map import ControlMap
from tapewatch.tape.header import encode_header
from tapewatch.tape.layout import (
    ANCHOR,
    ANCHOR_PLACES,
    CONTROL_SUFFIX,
    COUNTERS,
    COUNTERS_PLACE,
    CRC,
    HEADER_COPY,
    LAYOUT,
    LAYOUT_OFFSET,
    LAYOUT_SLOTS,
    MSGPACK,
    SLOT,
    STATE,
    STATE_PLACE,
    STATE_RUNNING,
    TAPE_SUFFIX,
    ring_slots,
    slots_for,
)
from tapewatch.tape.ring import OversizedRecordError, Ring

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

ANCHOR_INTERVAL_NS = 1_000_000_000
MAX_EVENT_SLOTS = 64

DROPPED_FRAMES = 0
DROPPED_EVENTS = 1
REFUSED_LAYOUTS = 2
REPLACED_VALUES = 3
OVERSIZED_RECORDS = 4
FAILURES = 5
COUNTER_NAMES = (
    "dropped_frames",
    "dropped_events",
    "refused_layouts",
    "replaced_values",
    "oversized_records",
    "failures",
)
"""In the order in which they lie in the status page."""

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Counters:
    """Counts that threads and signal handlers may raise at once; a copy lies in the tape."""

    __slots__ = ("_counts", "_map", "values")

    def __init__(self) -> None:
        self._counts: list[Iterator[int]] = [count(1) for _ in COUNTER_NAMES]
        self.values = [0] * len(COUNTER_NAMES)
        self._map: mmap | None = None

    def add(self, index: int) -> None:
        """Count one more. Never raises."""
        value = next(self._counts[index])
        self.values[index] = max(self.values[index], value)
        self.publish()

    def attach(self, memory: mmap | None) -> None:
        """Copy the counts into this map from now on; None = nowhere."""
        self._map = memory
        self.publish()

    def publish(self) -> None:
        """Write the counts to the status page, if there is one."""
        memory = self._map
        if memory is None:
            return
        try:
            memory[COUNTERS_PLACE : COUNTERS_PLACE + COUNTERS.size] = COUNTERS.pack(*self.values)
        except ValueError:
            self._map = None

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return dict(zip(COUNTER_NAMES, self.values, strict=True))


class TapeWriter:
    """One open tape of one process.

    Args:
        directory: Where tapes lie; made with mode 0700 if it is missing.
        identity: The header's descriptive fields: ``engine``, ``instance``, ``pid``,
            ``pid_start_ticks``, ``parent_pid``, ``boot_id``, ``cadence_ns``, ``tape_id``.
        monotonic_ns: CLOCK_MONOTONIC.
        time_ns: The wall clock.

    Raises:
        OSError: The file cannot be made complete: no room, no right, a limit.
    """

    __slots__ = (
        "__weakref__",
        "_anchor_turn",
        "_control",
        "_event_margin",
        "_max_event",
        "_monotonic_ns",
        "_released",
        "_time_ns",
        "counters",
        "events",
        "frames",
        "layouts",
        "map",
        "next_anchor_ns",
        "path",
    )

    def __init__(
        self,
        directory: str,
        identity: Mapping[str, Any],
        counters: Counters,
        *,
        frame_bytes: int,
        event_bytes: int,
        monotonic_ns: Callable[[], int],
        time_ns: Callable[[], int],
    ) -> None:
        frame_slots, event_slots = ring_slots(frame_bytes), ring_slots(event_bytes)
        frame_offset = LAYOUT_OFFSET + LAYOUT_SLOTS * SLOT
        event_offset = frame_offset + frame_slots * SLOT
        size = event_offset + event_slots * SLOT
        self._monotonic_ns, self._time_ns = monotonic_ns, time_ns
        header = encode_header(
            {
                **identity,
                "start_wall_ns": time_ns(),
                "start_mono_ns": monotonic_ns(),
                "slot_bytes": SLOT,
                "layout_offset": LAYOUT_OFFSET,
                "layout_slots": LAYOUT_SLOTS,
                "frame_offset": frame_offset,
                "frame_slots": frame_slots,
                "event_offset": event_offset,
                "event_slots": event_slots,
            }
        )
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib is not light
        stem = (
            "".join(c if c in _SAFE else "_" for c in identity["engine"][:64]).lstrip(".")
            or "engine"
        )
        name = f"{stem}-{identity['pid']}-{identity['tape_id'][:8]}{TAPE_SUFFIX}"
        self.path = os.path.join(directory, name)  # noqa: PTH118
        self._anchor_turn = 0
        self._released = 0
        self._create(size, header, frame_offset, frame_slots, event_offset, event_slots)
        self.counters = counters
        counters.attach(self.map)

    def _create(
        self,
        size: int,
        header: bytes,
        frame_offset: int,
        frame_slots: int,
        event_offset: int,
        event_slots: int,
    ) -> None:
        """Make the file under a passing name and give it its own when it is complete."""
        unfinished = self.path + ".new"
        fd = os.open(unfinished, _CREATE, 0o600)
        made = [unfinished]
        try:
            os.posix_fallocate(fd, 0, size)
            # The map keeps this open file, and with it the lock, until the process ends: where a
            # reader cannot see our pid, a lock that is gone tells it of our death.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(fd, header, 0)
            os.pwrite(fd, header, HEADER_COPY)
            self.map = mmap(fd, size)
            self.layouts = Ring(self.map, LAYOUT_OFFSET, LAYOUT_SLOTS)
            self.frames = Ring(self.map, frame_offset, frame_slots)
            self.events = Ring(self.map, event_offset, event_slots)
            self._event_margin = min(1024, event_slots // 8)
            self._max_event = min(MAX_EVENT_SLOTS * SLOT, self.events.max_payload)
            self._set_state(STATE_RUNNING, "")
            self.anchor(self._monotonic_ns(), 0)
            self._control = ControlMap(self.path + CONTROL_SUFFIX)
            made.append(self.path + CONTROL_SUFFIX)
            os.rename(unfinished, self.path)  # noqa: PTH104
        except BaseException:
            for path in made:
                os.unlink(path)  # noqa: PTH108
            raise
        finally:
            os.close(fd)

    def register_layout(self, kind: int, body: bytes, mono_ns: int) -> int | None:
        """Write a layout record and return its id; None (and a count) when the area is full.

        Args:
            body: msgpack map with ``paths`` and, for labelled series, ``labels``.
        """
        ring = self.layouts
        if ring.newest + slots_for(len(body)) + 8 >= ring.slots or len(body) > ring.max_payload:
            self.counters.add(REFUSED_LAYOUTS)
            return None
        # The first slot's number is the id: a reader goes straight to it.
        last = ring.append(LAYOUT, kind, body, mono_ns)
        return last - slots_for(len(body)) + 1

    def frame(self, kind: int, layout: int, payload: bytes, mono_ns: int) -> bool:
        """Write a frame of any length over the oldest ones; False (and counted) if it cannot be."""
        try:
            last = self.frames.append(kind, layout, payload, mono_ns)
        except OversizedRecordError:
            self.counters.add(OVERSIZED_RECORDS)
            self.counters.add(DROPPED_FRAMES)
            return False
        if mono_ns >= self.next_anchor_ns:
            self.anchor(mono_ns, last)
        return True

    def event(self, kind: int, payload: bytes, mono_ns: int) -> bool:
        """Write an event, or refuse and count it when the reader has not released enough room."""
        ring = self.events
        if len(payload) > self._max_event:
            self.counters.add(OVERSIZED_RECORDS)
            self.counters.add(DROPPED_EVENTS)
            return False
        # The room is checked before the claim: a claimed slot must be written, and this one may
        # hold an event that nobody has read. The margin stands for other threads between the two.
        needed = ring.newest + slots_for(len(payload)) + self._event_margin - ring.slots
        if needed > self._released:
            self._released = min(self._control.released_event_seq(), ring.newest)
            if needed > self._released:
                self.counters.add(DROPPED_EVENTS)
                return False
        ring.append(kind, MSGPACK, payload, mono_ns)
        if mono_ns >= self.next_anchor_ns:
            self.anchor(mono_ns, self.frames.newest)
        return True

    def anchor(self, mono_ns: int, frame_seq: int) -> None:
        """Write the pair of clocks and how far the rings are, once a second.

        Args:
            mono_ns: CLOCK_MONOTONIC now.
            frame_seq: A frame slot just used; frames claimed directly do not pass through us.
        """
        self.next_anchor_ns = mono_ns + ANCHOR_INTERVAL_NS
        self.frames.newest = max(self.frames.newest, frame_seq)
        place = ANCHOR_PLACES[self._anchor_turn & 1]
        self._anchor_turn += 1
        data = ANCHOR.pack(
            self._monotonic_ns(), self._time_ns(), self.frames.newest, self.events.newest, 0
        )[: -CRC.size]
        self.map[place : place + ANCHOR.size] = data + CRC.pack(crc32(data))

    def control_heartbeat_ns(self) -> int:
        """Return the daemon's last sign of life on CLOCK_MONOTONIC; 0 = never."""
        return self._control.heartbeat_ns()

    def close(self, state: int, reason: str) -> None:
        """Say goodbye in the header and unmap. Records that come later raise ValueError."""
        try:
            self.anchor(self._monotonic_ns(), 0)
            self.counters.publish()
            self._set_state(state, reason)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Unmap without a word: a fork's child does not speak for its parent."""
        self.counters.attach(None)
        self.map.close()
        self._control.close()

    def _set_state(self, state: int, reason: str) -> None:
        text = reason.encode("utf-8", "replace")[:240]
        data = STATE.pack(state, len(text), text, 0)[: -CRC.size]
        self.map[STATE_PLACE : STATE_PLACE + STATE.size] = data + CRC.pack(crc32(data))
