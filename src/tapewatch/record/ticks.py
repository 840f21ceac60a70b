"""The fast path: one flat or nested dictionary of an engine's tick, onto the tape.

Everything that a flat tick needs is bound in one tuple, so that threads which switch between
layouts never mix the parts of two. The tuple belongs to one open tape: after a fork or a close its
map is closed, writing to it raises, and the slow way finds out what is the case now.
"""

from __future__ import annotations

from operator import itemgetter
from struct import Struct
from time import monotonic_ns
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tapewatch.record.values import as_double, is_number
from tapewatch.tape.layout import (
    CRC,
    META,
    MSGPACK,
    OVERHEAD,
    SLOT,
    RecordKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tapewatch.record.recorder import Recorder
    from tapewatch.tape.writer import TapeWriter

    RecordTick = Callable[[Mapping[str, Any]], None]

MAX_FLAT_SHAPES = 64
MAX_SHAPES = 256
_TICK = int(RecordKind.TICK)
_FLAT_VALUES = (SLOT - OVERHEAD) // 8


def _nothing(*_args: Any) -> Any:
    raise ValueError("no layout is bound")


# width, getter, pack, meta, record bytes, claim, mask, offset, map, writer
_UNBOUND: tuple[Any, ...] = (-1, _nothing, _nothing, 0, 0, _nothing, 0, 0, None, None)


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
            Struct(f"<QQQQ{width}d").pack,
            meta,
            OVERHEAD + 8 * width,
            ring.claim,
            ring.mask,
            ring.offset,
            ring.map,
            self.writer,
        )


def bind_record_tick(recorder: Recorder) -> RecordTick:
    """Return the ``record_tick`` of a recorder: a function that never raises an ``Exception``."""
    bound = _UNBOUND
    layouts: TickLayouts | None = None
    crc_bytes = CRC.pack

    def record_tick(metrics: Mapping[str, Any]) -> None:
        width, getter, pack, meta, size, claim, mask, offset, memory, writer = bound
        try:
            if width == len(metrics) and type(metrics) is dict:
                values = getter(metrics)
                now = monotonic_ns()
                seq = number = 0
                try:
                    seq, number = claim()
                    record = pack(seq, now, number, meta, *values)
                    start = offset + ((seq & mask) << 8)
                    memory[start : start + size] = record + crc_bytes(crc32(record))
                except BaseException:
                    if seq:
                        writer.frames.void(seq, number, 1, now)
                    raise
                if now >= writer.next_anchor_ns:
                    writer.anchor(now, seq)
                return
        except Exception:  # noqa: S110 - another shape, an odd value or no tape: see below
            pass
        record_slowly(metrics)

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
                    if shape.bound is not None:
                        bound = shape.bound
                    return
            writer.frame(_TICK, MSGPACK, recorder.encode(tick), now)
        except Exception:
            recorder.failed_frame()

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
