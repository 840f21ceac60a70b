"""Values as text in a column: exact JSON that always can be written and read back."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64
"""Levels that are kept of a value that JSON cannot take as it is."""


def to_text(value: Any) -> str:
    """Return JSON in ASCII, exact for everything JSON-like, NaN and infinities included.

    It stays inside our own files, so ``NaN`` may stand bare. What JSON does not know (a date, a
    Decimal, bytes) becomes its text, as a value and as a key, and what lies deeper than 64 levels
    is null: whatever stands in an event must never hold up a commit.
    """
    try:
        return json.dumps(value, separators=(",", ":"), default=_as_text)
    except (TypeError, ValueError, RecursionError):
        tame = _tame(value, MAX_DEPTH)
        return json.dumps(tame, separators=(",", ":"), default=_as_text)


def from_text(text: str) -> Any:
    """Read what ``to_text`` wrote.

    Raises:
        ValueError: The text is not JSON.
    """
    return json.loads(text)


def plain(text: str) -> str:
    """Return text that SQLite can hold: lone surrogates are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _tame(value: Any, depth: int) -> Any:
    """Return a value with text for keys and a bounded depth."""
    if isinstance(value, dict):
        if depth == 0:
            return None
        return {
            key if isinstance(key, str) else _as_text(key): _tame(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_tame(item, depth - 1) for item in value] if depth else None
    return value


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)
