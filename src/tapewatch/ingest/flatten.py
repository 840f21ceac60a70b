"""Turn the dictionary of a tick into numbers under dotted paths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

MAX_DEPTH = 16
MAX_FIELDS = 2_000

TIME_SUFFIX = "timestamp_seconds"
"""What a path that held an ISO 8601 time is called by."""

_SHORTEST_ISO_TIME = len("2025-01-01T00:00")


def parse_iso_time(text: str) -> float | None:
    """Return Unix seconds of an ISO 8601 time with a zone, or None.

    A time without a zone is refused: nobody can know when it was.

    >>> parse_iso_time("2025-10-12T12:34:56+05:30")
    1760252696.0
    """
    if len(text) < _SHORTEST_ISO_TIME or text[4:5] != "-":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


class Flattened:
    """One tick as numbers.

    ``numbers`` maps a dotted path to a float, NaN where the engine gave NaN or nothing; booleans
    are 0 and 1, a list is its count. ``nothing`` counts those that are NaN for nothing: null is
    how the schema says that there is no value, NaN is a figure gone wrong. ``times`` maps a path
    that held an ISO time to Unix seconds. ``texts`` holds other strings. ``refused`` counts values
    that are none of these or lay beyond the caps.
    """

    __slots__ = ("nothing", "numbers", "refused", "texts", "times")

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.times: dict[str, float] = {}
        self.texts: dict[str, str] = {}
        self.refused = 0
        self.nothing = 0


def flatten(tick: Mapping[str, object]) -> Flattened:
    """Flatten a tick; never raises, whatever it holds."""
    out = Flattened()
    for path, value in _leaves(tick, out):
        if isinstance(value, str):
            moment = parse_iso_time(value)
            if moment is None:
                out.texts[path] = value
            else:
                out.times[path] = moment
        elif value is None:
            out.numbers[path] = math.nan
            out.nothing += 1
        elif isinstance(value, (bool, int, float)):
            try:
                out.numbers[path] = float(value)
            except OverflowError:
                out.refused += 1
        elif isinstance(value, (list, tuple)):
            out.numbers[path] = float(len(value))
        else:
            out.refused += 1
    return out


def _leaves(tick: Mapping[str, object], out: Flattened) -> Iterator[tuple[str, object]]:
    stack: list[tuple[str, object, int]] = [("", tick, 0)]
    fields = 0
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, Mapping):
            if depth >= MAX_DEPTH:
                out.refused += 1
                continue
            prefix = f"{path}." if path else ""
            # Reversed, so that fields come off the stack in the order the engine gave them.
            stack.extend(
                (f"{prefix}{key}", child, depth + 1) for key, child in reversed([*value.items()])
            )
        elif fields >= MAX_FIELDS:
            out.refused += 1
        else:
            fields += 1
            yield path, value
