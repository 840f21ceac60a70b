"""Which type an engine's error is counted under."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

MAX_TYPES = 200
"""Types of one tape that are told apart."""

OTHER = "other"
"""What is beyond them: each type is a series, and an engine may make types up without end."""

MAX_LENGTH = 128


def error_type(body: Mapping[str, Any], known: Collection[str]) -> str:
    """Return the type of an error record: the engine's own word, else the exception's class.

    Args:
        body: The record: ``type`` is the class, ``context`` what the engine said beside it.
        known: The types counted so far.

    >>> error_type({"type": "message", "context": {"type": "sentiment"}}, [])
    'sentiment'
    >>> error_type({"type": "TimeoutError", "context": {"symbol": "TCS"}}, [])
    'TimeoutError'
    """
    context = body.get("context")
    own = context.get("type") if isinstance(context, Mapping) else None
    kind = own if isinstance(own, str) and own else str(body.get("type") or "error")
    kind = kind[:MAX_LENGTH]
    return kind if kind in known or len(known) < MAX_TYPES else OTHER
