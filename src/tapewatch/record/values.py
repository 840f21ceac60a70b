"""Turns whatever an engine hands over into numbers or plain data, and never fails at it."""

from __future__ import annotations

import math
from struct import Struct

from tapewatch.tape.layout import NOTHING_BITS

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 16
MAX_ITEMS = 10_000
MAX_TEXT = 4096
NOTHING: float = Struct("<d").unpack(NOTHING_BITS.to_bytes(8, "little"))[0]
_INT64 = 1 << 63
_UINT64 = 1 << 64


def is_number(value: object) -> bool:
    """Return whether a value can stand in a frame: numbers of any library, not None or arrays.

    >>> is_number(True), is_number(2.5), is_number("2.5"), is_number(None)
    (True, True, False, False)
    """
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        return True
    return hasattr(kind, "__float__") and not hasattr(kind, "__len__")


def as_double(value: Any, replaced: Callable[[], None]) -> float:
    """Return a value as a double; for None the NaN that means nothing, another one if it fails.

    ``replaced`` is called for each value that fails.
    """
    if value is None:
        return NOTHING
    try:
        return float(value)
    except Exception:
        replaced()
        return math.nan


def plain(value: Any, replaced: Callable[[], None]) -> Any:
    """Return a value rebuilt from maps, lists, text, bytes, 64-bit integers, floats, bool and None.

    What cannot be told in these is None, each with a call of ``replaced``. Integers too large
    become floats; map keys become text; what lies deeper than 16 levels or beyond 10,000 items is
    left out.
    """
    return _plain(value, replaced, MAX_DEPTH, [MAX_ITEMS])


def _plain(value: Any, replaced: Callable[[], None], depth: int, room: list[int]) -> Any:
    room[0] -= 1
    if room[0] < 0 or depth < 0:
        replaced()
        return None
    if value is None or value is True or value is False:
        return value
    try:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return int(value) if -_INT64 <= value < _UINT64 else float(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value[:MAX_TEXT])
        if isinstance(value, dict) or hasattr(value, "items"):
            return {
                text(str(key)): _plain(item, replaced, depth - 1, room)
                for key, item in list(value.items())[:MAX_ITEMS]
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(item, replaced, depth - 1, room) for item in list(value)[:MAX_ITEMS]]
        if hasattr(value, "tolist"):  # arrays and scalars of numpy and its relatives
            return _plain(value.tolist(), replaced, depth - 1, room)
        if hasattr(value, "isoformat"):
            return text(str(value.isoformat()))
        if hasattr(value, "total_seconds"):
            return float(value.total_seconds())
        if hasattr(type(value), "__float__"):
            return float(value)
    except Exception:
        replaced()
        return None
    replaced()
    return None


def text(value: str) -> str:
    """Return text that UTF-8 can hold, cut to a bounded length."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def describe(value: object) -> str:
    """Return ``str(value)``, bounded; the type's name when that itself fails."""
    try:
        return text(str(value))
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"
