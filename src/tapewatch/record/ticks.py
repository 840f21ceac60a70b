"""The fast path: one flat or nested dictionary of an engine's tick, onto the tape.

Everything that a flat tick needs is bound in one tuple, so that threads which switch between
layouts never mix the parts of two. The tuple belongs to one open tape: after a fork or a close its
map is closed, writing to it raises, and the slow way finds out what is the case now.
"""

from __future__ import annotations

import sys
from operator import itemgetter
from struct import Struct
from time import monotonic_ns
from zlib import crc32

from tapewatch.record.values import as_double, is_number
from tapewatch.tape.layout import (
    HEAD,
    HEAD_BYTES,
    META,
    MSGPACK,
    OVERHEAD,
    SLOT,
    SLOT_SHIFT,
    RecordKind,
)
from tapewatch.tape.ring import COPIES

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tapewatch.record.recorder import Recorder
    from tapewatch.tape.writer import TapeWriter

    RecordTick = Callable[[Mapping[str, Any]], None]

MAX_FLAT_SHAPES = 64
MAX_SHAPES = 256
_TICK = int(RecordKind.TICK)
_ROUND_UP = OVERHEAD + SLOT - 1
_head = HEAD.pack
_FLAT_VALUES = (SLOT - OVERHEAD) // 8
# The native format gives the same bytes on little-endian machines and is quicker at doubles.
_ORDER = "@" if sys.byteorder == "little" else "<"


def _nothing(*_args: Any) -> Any:
    raise ValueError("no layout is bound")


# width, getter, pack, meta, put, claim, mask, offset, map
_UNBOUND: tuple[Any, ...] = (-1, _nothing, _nothing, 0, _nothing, _nothing, 0, 0, None)


class _Shape:
    """How ticks with one tuple of keys are written: as frames of a layout, or as msgpack."""

    __slots__ = ("bound", "layout", "pack")

    def __init__(self, layout: int | None, width: int, bound: tuple[Any, ...] | None) -> None:
        self.layout = layout
        self.pack = Struct(f"<{width}d").pack
        self.bound = bound


class TickLayouts:
    """The shapes of ticks that one open tape has seen, in bounded number."""

    __slots__ = ("_flat", "_shapes", "writer")

    def __init__(self, writer: TapeWriter) -> None:
        self.writer = writer
        self._shapes: dict[tuple[Any, ...], _Shape] = {}
        self._flat = 0

    def find(self, metrics: dict[Any, Any], encode: Callable[[Any], bytes], now: int) -> _Shape:
        """Return the shape of this tick, learning it if there is room."""
        keys = tuple(metrics)
        shape = self._shapes.get(keys)
        if shape is None:
            shape = self._learn(keys, metrics, encode, now)
            if len(self._shapes) < MAX_SHAPES:
                self._shapes[keys] = shape
        return shape

    def _learn(
        self,
        keys: tuple[Any, ...],
        metrics: dict[Any, Any],
        encode: Callable[[Any], bytes],
        now: int,
    ) -> _Shape:
        flat = (
            bool(keys)
            and self._flat < MAX_FLAT_SHAPES
            and all(type(key) is str for key in keys)
            and all(is_number(value) for value in metrics.values())
        )
        layout = self.writer.register_layout(_TICK, encode({"paths": keys}), now) if flat else None
        if layout is None:
            return _Shape(None, 0, None)
        self._flat += 1
        width = len(keys)
        bound = self._bind(keys, layout) if width <= _FLAT_VALUES else None
        return _Shape(layout, width, bound)

    def _bind(self, keys: tuple[str, ...], layout: int) -> tuple[Any, ...]:
        width = len(keys)
        ring = self.writer.frames
        only = keys[0]
        getter = itemgetter(*keys) if width > 1 else lambda metrics: (metrics[only],)
        (meta,) = Struct("<Q").unpack(META.pack(_TICK, 1, layout, 8 * width))
        return (
            width,
            getter,
            Struct(f"{_ORDER}QQQQ{width}d").pack,
            meta,
            Struct(f"<{HEAD_BYTES + 8 * width}sI").pack_into,
            ring.claim,
            ring.mask,
            ring.offset,
            ring.map,
        )


def _bind_nested(
    tick: dict[Any, Any], encode: Callable[[Any], bytes], writer: TapeWriter
) -> tuple[Any, ...]:
    """Bind msgpack: encode stands for pack, and tables of functions by size for put and claim.

    In the place of meta stand where the last record of this size may begin, and a key by which a
    flat tick of as many fields is told apart.
    """
    ring = writer.frames
    mark = next((key for key, value in tick.items() if not is_number(value)), None)
    place = ring.end - OVERHEAD, mark
    return len(tick), None, encode, place, COPIES, ring.claims, ring.mask, ring.offset, ring.map


def bind_record_tick(recorder: Recorder) -> RecordTick:
    """Return the ``record_tick`` of a recorder: a function that never raises an ``Exception``."""
    bound = _UNBOUND
    anchor_due = 0
    layouts: TickLayouts | None = None

    def record_tick(metrics: Mapping[str, Any]) -> None:
        nonlocal anchor_due
        try:
            width, getter, pack, meta, put, claim, mask, offset, memory = bound
            if width == len(metrics) and type(metrics) is dict:
                seq = 0
                if getter is not None:
                    values = getter(metrics)
                    try:
                        seq, number = claim()
                        now = monotonic_ns()
                        record = pack(seq, now, number, meta, *values)
                        put(memory, offset + ((seq & mask) << SLOT_SHIFT), record, crc32(record))
                    except BaseException:
                        if seq:
                            void(memory, seq, number, 1)
                        raise
                else:  # the last tick was nested: this is Ring.append without its calls
                    last_place, mark = meta
                    metrics[mark]
                    payload = pack(metrics)
                    size = len(payload)
                    slots = (_ROUND_UP + size) >> SLOT_SHIFT
                    copy = put[size]
                    claim = claim[slots]
                    try:
                        claimed = claim()
                        seq = claimed[0]
                        number = claimed[-1]
                        now = monotonic_ns()
                        head = _head(seq, now, number, _TICK, slots, MSGPACK, size)
                        start = offset + ((seq & mask) << SLOT_SHIFT)
                        if start + size > last_place:
                            raise ValueError("the record goes round the end of the ring")
                        copy(memory, start, head, payload, crc32(payload, crc32(head)))
                    except BaseException:
                        if seq:
                            void(memory, seq, number, slots)
                        raise
                if now >= anchor_due:
                    anchor_due = anchor(now, seq)
                return
        except Exception:  # noqa: S110 - another shape, an odd value or no tape: see below
            pass
        record_slowly(metrics)

    def anchor(now: int, seq: int) -> int:
        """Write an anchor, now and then; return when the next one is due."""
        writer = recorder.writer()
        if writer is None:
            return now
        writer.anchor(now, seq)
        return writer.next_anchor_ns

    def void(memory: object, seq: int, number: int, slots: int) -> None:
        """Give back slots that were claimed and not written, unless their tape is gone."""
        writer = recorder.writer()
        if writer is not None and writer.map is memory:
            writer.frames.void(seq, number, slots, monotonic_ns())

    def record_slowly(metrics: Mapping[str, Any]) -> None:
        nonlocal bound, layouts
        try:
            writer = recorder.writer()
            if writer is None:
                recorder.lost_frame()
                return
            if layouts is None or layouts.writer is not writer:
                layouts = TickLayouts(writer)
            tick = metrics if type(metrics) is dict else dict(metrics)
            now = monotonic_ns()
            shape = layouts.find(tick, recorder.encode, now)
            if shape.layout is not None:
                payload = flat_payload(shape, tick)
                if payload is not None:
                    writer.frame(_TICK, shape.layout, payload, now)
                    bound = shape.bound or _UNBOUND
                    return
            writer.frame(_TICK, MSGPACK, recorder.encode(tick), now)
            if shape.layout is None:
                bound = _bind_nested(tick, recorder.encoder, writer)
        except Exception as error:
            recorder.failed_frame("record_tick", error, metrics)

    def flat_payload(shape: _Shape, tick: dict[str, Any]) -> bytes | None:
        """Return the doubles of a tick; None when it holds text or a structure this time."""
        values = tick.values()
        try:
            return shape.pack(*values)
        except Exception:
            if not all(value is None or is_number(value) for value in values):
                return None
            return shape.pack(*(as_double(value, recorder.replaced_value) for value in values))

    return record_tick
