"""Values as text in a column: exact JSON that always can be written and read back."""

from __future__ import annotations

import json
from typing import Any


def to_text(value: Any) -> str:
    """Return JSON in ASCII, exact for everything JSON-like, NaN and infinities included.

    It stays inside our own files, so ``NaN`` may stand bare. What JSON does not know (a date, a
    Decimal, bytes) becomes its text: an odd value in an event must never hold up a commit.
    """
    return json.dumps(value, separators=(",", ":"), default=_as_text)


def from_text(text: str) -> Any:
    """Read what ``to_text`` wrote.

    Raises:
        ValueError: The text is not JSON.
    """
    return json.loads(text)


def plain(text: str) -> str:
    """Return text that SQLite can hold: lone surrogates are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)
