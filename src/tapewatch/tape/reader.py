"""The daemon's side of a tape: everything that was written, once, whatever happened to the file."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from tapewatch.model.errors import TapeError
from tapewatch.tape.gathering import Gathering
from tapewatch.tape.layout import (
    ANCHOR,
    ANCHOR_PLACES,
    COUNTERS,
    COUNTERS_PLACE,
    CRC,
    STATE,
    STATE_FAILED,
    STATE_PLACE,
    STATE_STOPPED,
    STATUS,
    STATUS_BYTES,
)
from tapewatch.tape.layouts import LayoutTable
from tapewatch.tape.ring_reader import RingReader
from tapewatch.tape.source import TapeSource
from tapewatch.tape.types import TapeBatch, TapeHeader, TapePosition, WriterCounters

MAX_FRAMES = 65536
EVERYTHING = 1 << 62

_STATES = {STATE_STOPPED: "stopped", STATE_FAILED: "failed"}
_ANCHORS = ANCHOR_PLACES[0] - STATUS, ANCHOR_PLACES[1] - STATUS


class TapeReader:
    """Reads a live or dead tape from a position, by ``pread``."""

    def __init__(self, path: Path, position: TapePosition | None = None) -> None:
        """Open a tape.

        Args:
            path: The file; symbolic links are refused.
            position: Where an earlier reader of this very tape stopped; None = from the start.

        Raises:
            TapeError: The file is no tape that may be read, or the position is of another one.
        """
        self._source = TapeSource(Path(path))
        header = self._source.header
        if position is None:
            position = TapePosition(header.tape_id)
        elif position.tape_id != header.tape_id:
            self._source.close()
            raise TapeError(
                f"{path}: the position is of tape {position.tape_id}, this is {header.tape_id}",
                next_step="read this tape from its start",
            )
        layouts = LayoutTable(self._source)
        self._frames = RingReader(
            self._source,
            layouts,
            offset=header.frame_offset,
            slots=header.frame_slots,
            position=position.frames,
            is_frame_ring=True,
        )
        self._events = RingReader(
            self._source,
            layouts,
            offset=header.event_offset,
            slots=header.event_slots,
            position=position.events,
            is_frame_ring=False,
        )
        self._missing_reported = False

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self._source.path

    @property
    def header(self) -> TapeHeader:
        """Who writes the tape, since when."""
        return self._source.header

    def poll(self, *, final: bool = False, max_frames: int | None = None) -> TapeBatch:
        """Return what was written since the last poll. Never raises on damage.

        Args:
            final: The writer is dead. The whole file is searched, also behind damage, and holes
                are counted as torn.
            max_frames: At most this many records from each ring, to bound memory; ``more`` says
                that there are others. None = 65536 of a live tape, everything when ``final``.
                Decoded records of a live tape beyond a thousand or two also wait.
        """
        if max_frames is None:
            max_frames = EVERYTHING if final else MAX_FRAMES
        limit = max(1, max_frames)
        frames, events = Gathering(), Gathering()
        more = False
        if final or not (self._frames.is_quiet() and self._events.is_quiet() and self._caught_up()):
            newest = self.counters()
            more = self._frames.read(
                frames, final=final, limit=limit, newest_seq=newest.newest_frame_seq
            )
            more |= self._events.read(
                events, final=final, limit=limit, newest_seq=newest.newest_event_seq
            )
        skipped = frames.skipped_bytes + events.skipped_bytes
        if final and not self._missing_reported:
            self._missing_reported = True
            skipped += self._source.missing_bytes()
        return TapeBatch(
            frames=frames.runs() + events.runs(),
            records=frames.records + events.records,
            ticks=frames.ticks + events.ticks,
            lost_frames=frames.lost,
            lost_events=events.lost,
            torn=frames.torn + events.torn,
            skipped_bytes=skipped,
            more=more,
        )

    def position(self) -> TapePosition:
        """Return where to go on after what the polls have returned."""
        return TapePosition(self.header.tape_id, self._frames.position, self._events.position)

    def counters(self) -> WriterCounters:
        """Return what the writer says about itself; zeros where the page is damaged."""
        page = self._source.read(STATUS, STATUS_BYTES)
        mono_ns, wall_ns, frame_seq, event_seq = _newest_anchor(page)
        state, reason = _state(page)
        counts = COUNTERS.unpack_from(page, COUNTERS_PLACE - STATUS)
        return WriterCounters(
            state,
            reason,
            mono_ns,
            wall_ns,
            frame_seq,
            event_seq,
            *counts,
        )

    def writer_holds_lock(self) -> bool:
        """Return whether a living process has the tape open: for where its pid cannot be seen."""
        return self._source.writer_holds_lock()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._source.close()

    def _caught_up(self) -> bool:
        page = self._source.read(STATUS, ANCHOR.size + ANCHOR_PLACES[1] - ANCHOR_PLACES[0])
        _mono, _wall, frame_seq, event_seq = _newest_anchor(page)
        return frame_seq < self._frames.next_seq and event_seq < self._events.next_seq


def _newest_anchor(page: bytes) -> tuple[int, int, int, int]:
    best = (0, 0, 0, 0)
    for place in _ANCHORS:
        *fields, checksum = ANCHOR.unpack_from(page, place)
        whole = checksum == crc32(page[place : place + ANCHOR.size - CRC.size])
        if whole and fields[0] > best[0]:
            best = (fields[0], fields[1], fields[2], fields[3])
    return best


def _state(page: bytes) -> tuple[str, str]:
    place = STATE_PLACE - STATUS
    state, length, text, checksum = STATE.unpack_from(page, place)
    if checksum != crc32(page[place : place + STATE.size - CRC.size]):
        return "running", ""  # nobody said goodbye, as far as can be told
    return _STATES.get(state, "running"), text[: min(length, 240)].decode("utf-8", "replace")
