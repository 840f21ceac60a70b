"""What a reader of tapes gets: header, layouts, frames, records, positions, counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tapewatch.tape.layout import RecordKind


@dataclass(frozen=True, slots=True)
class TapeHeader:
    """Who writes the tape, since when, and how large its parts are."""

    version: int
    tape_id: str
    """32 hexadecimal digits, different for every tape."""
    engine: str
    instance: str
    """Tells writers of one engine name apart where the writer knows it: a forked child's pid."""
    pid: int
    pid_start_ticks: int
    """Field 22 of /proc/<pid>/stat: the same pid with another start is another process."""
    boot_id: str
    start_wall_ns: int
    start_mono_ns: int
    cadence_ns: int
    """Declared time between two ticks; 0 = not declared."""
    frame_slots: int
    event_slots: int
    parent_pid: int = 0
    """The process that this one was forked from while it recorded; 0 = none."""
    layout_slots: int = 0
    layout_offset: int = 0
    frame_offset: int = 0
    event_offset: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The meaning of one kind of frame: which value belongs to which path."""

    id: int
    kind: RecordKind
    paths: tuple[str, ...]
    """Dotted paths, one for each value."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that all values carry, sorted by name; empty for ticks."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameRun:
    """Frames of one layout, in the order of writing."""

    layout: Layout
    mono_ns: npt.NDArray[np.int64]
    """CLOCK_MONOTONIC of each frame, shape (n,). Threads may make it step back a little."""
    values: npt.NDArray[np.float64]
    """Shape (n, k). NaN where the engine gave NaN or None."""
    numbers: npt.NDArray[np.uint64]
    """Record numbers in the frame ring, shape (n,)."""
    nothing: int
    """How many of the values are NaN for nothing: the engine gave None."""


@dataclass(frozen=True, slots=True)
class TapeRecord:
    """One record that is not a frame: an event, or a tick that has no layout."""

    kind: RecordKind
    mono_ns: int
    number: int
    """Record number in its own ring."""
    body: dict[str, Any]
    """Decoded msgpack: maps, lists, text, bytes, numbers, bool, None, and ``datetime`` where the
    engine gave one with a zone. Keys are text at this level; inside they are what it gave."""
    frame_ring: bool = False
    """True when it lay in the frame ring, False when in the event ring."""


@dataclass(frozen=True, slots=True)
class TapeBatch:
    """What one poll found."""

    frames: list[FrameRun] = field(default_factory=list)
    records: list[TapeRecord] = field(default_factory=list)
    ticks: int = 0
    """Ticks in it, in either form."""
    lost_frames: int = 0
    """Records of the frame ring that were overwritten before they were read."""
    lost_events: int = 0
    """The same of the event ring; 0 as long as the writer honours what was released."""
    torn: int = 0
    """Records that were begun and never finished, or were damaged."""
    skipped_bytes: int = 0
    """Bytes that were passed over because nothing whole lay in them."""
    more: bool = False
    """There was more than ``max_frames``: poll again at once."""

    @property
    def is_empty(self) -> bool:
        """True when nothing at all was found, read or lost."""
        return not (
            self.frames
            or self.records
            or self.lost_frames
            or self.lost_events
            or self.torn
            or self.skipped_bytes
        )


@dataclass(frozen=True, slots=True)
class WriterCounters:
    """What the writer says about itself in the status page."""

    state: str
    """``running``, ``stopped`` (said goodbye) or ``failed`` (ended by an unhandled exception)."""
    stop_reason: str
    anchor_mono_ns: int
    anchor_wall_ns: int
    """The wall clock when the monotonic clock showed ``anchor_mono_ns``; at most ~1 s old while
    records come."""
    newest_frame_seq: int
    newest_event_seq: int
    """As of the last anchor."""
    dropped_frames: int
    dropped_events: int
    refused_layouts: int
    replaced_values: int
    oversized_records: int
    failures: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Slots that were claimed and held nothing whole when they were read."""

    start: int
    """First slot number."""
    stop: int
    """One past the last slot number."""
    first_number: int
    end_number: int
    """The records that must be in it: numbers from first up to, not including, end."""
    mono_ns: int
    """Time of the record after it."""


@dataclass(frozen=True, slots=True)
class RingPosition:
    """How far one ring has been read."""

    next_seq: int = 1
    next_number: int = 0
    newest_mono_ns: int = 0
    holes: tuple[Hole, ...] = ()

    @property
    def released_seq(self) -> int:
        """Slots up to and including this one are never read again."""
        return min([self.next_seq, *(hole.start for hole in self.holes)]) - 1


@dataclass(frozen=True, slots=True)
class TapePosition:
    """How far a tape has been read. Reading from here repeats nothing and leaves nothing out."""

    tape_id: str
    frames: RingPosition = RingPosition()
    events: RingPosition = RingPosition()

    @property
    def released_frame_seq(self) -> int:
        """Frame slots up to and including this one are done with."""
        return self.frames.released_seq

    @property
    def released_event_seq(self) -> int:
        """Event slots up to and including this one are done with: the engine may reuse them."""
        return self.events.released_seq

    def to_json(self) -> dict[str, Any]:
        """Return plain data for storage."""
        return {
            "tape_id": self.tape_id,
            "frames": _ring_to_json(self.frames),
            "events": _ring_to_json(self.events),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TapePosition:
        """Return the position that `to_json` gave.

        Raises:
            ValueError: These data are no position.
        """
        try:
            return cls(
                tape_id=_text(data["tape_id"]),
                frames=_ring_from_json(data["frames"]),
                events=_ring_from_json(data["events"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a tape position: {error!r}") from error


def _ring_to_json(ring: RingPosition) -> list[Any]:
    holes = [[h.start, h.stop, h.first_number, h.end_number, h.mono_ns] for h in ring.holes]
    return [ring.next_seq, ring.next_number, ring.newest_mono_ns, holes]


def _ring_from_json(data: Any) -> RingPosition:
    next_seq, next_number, newest, holes = data
    return RingPosition(
        next_seq=_number(next_seq),
        next_number=_number(next_number),
        newest_mono_ns=_number(newest),
        holes=tuple(Hole(*(_number(n) for n in hole)) for hole in holes),
    )


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(f"{value!r} is not a count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
