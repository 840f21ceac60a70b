"""The layouts of one tape: read on first use, remembered."""

from __future__ import annotations

from typing import Any

import msgspec

from tapewatch.tape.layout import HEAD_BYTES, LAYOUT, MAX_RECORD_SLOTS, SLOT, RecordKind
from tapewatch.tape.source import TapeSource, record_at
from tapewatch.tape.types import Layout

_TYPICAL_SLOTS = 4


class LayoutTable:
    """Finds a layout by its id, which is the slot number of its record."""

    def __init__(self, source: TapeSource) -> None:
        self._source = source
        self._known: dict[int, Layout] = {}

    def get(self, layout_id: int) -> Layout | None:
        """Return the layout; None while its record is not there or if it is damaged."""
        layout = self._known.get(layout_id)
        if layout is None:
            layout = self._read(layout_id)
            if layout is not None:
                self._known[layout_id] = layout
        return layout

    def _read(self, layout_id: int) -> Layout | None:
        header = self._source.header
        if not 0 < layout_id < header.layout_slots:
            return None
        offset = header.layout_offset + layout_id * SLOT
        room = min(MAX_RECORD_SLOTS, header.layout_slots - layout_id)
        for slots in (min(_TYPICAL_SLOTS, room), room):
            data = self._source.read(offset, slots * SLOT)
            head = record_at(data, layout_id)
            if head is not None:
                _mono, _number, kind, _slots, frame_kind, length = head
                if kind != LAYOUT:
                    return None
                return _layout_of(layout_id, frame_kind, data[HEAD_BYTES : HEAD_BYTES + length])
        return None


def _layout_of(layout_id: int, frame_kind: int, payload: bytes) -> Layout | None:
    try:
        body: Any = msgspec.msgpack.decode(payload)
        paths, labels = body["paths"], body.get("labels", {})
        kind = RecordKind(frame_kind)
        pairs = tuple(sorted(labels.items()))
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(paths, list) or not paths:
        return None
    texts = [*paths, *(text for pair in pairs for text in pair)]
    if not all(isinstance(text, str) for text in texts):
        return None
    return Layout(id=layout_id, kind=kind, paths=tuple(paths), labels=pairs)
