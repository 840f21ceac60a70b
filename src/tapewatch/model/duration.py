"""Durations as Prometheus writes them: ``1h30m``, ``15s``, ``250ms``."""

from __future__ import annotations

import re

from tapewatch.model.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND

_UNITS = {
    "y": 365 * DAY,
    "w": 7 * DAY,
    "d": DAY,
    "h": HOUR,
    "m": MINUTE,
    "s": SECOND,
    "ms": MILLISECOND,
}
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?"
)
_MAX_DIGITS = 12


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a Prometheus duration.

    Units fall from years to milliseconds, each at most once; ``0`` alone is allowed.

    Raises:
        ValueError: The text is not such a duration.

    >>> parse_duration("1h30m") // 1_000_000_000
    5400
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text) if text else None
    if match is None or any(len(g) > _MAX_DIGITS for g in match.groups() if g):
        raise ValueError(f"not a duration: {text!r}; write it like 1h30m, 15s or 250ms")
    pairs = zip(match.groups(), _UNITS.values(), strict=True)
    total = sum(int(n) * unit for n, unit in pairs if n)
    if total >= 1 << 63:
        raise ValueError(f"duration out of range: {text!r}; at most about 292y")
    return total


def format_duration(ns: int) -> str:
    """Return the shortest Prometheus form of a duration, cut to milliseconds.

    >>> format_duration(5_400_000_000_000)
    '1h30m'
    """
    if ns < 0:
        return "-" + format_duration(-ns)
    rest = ns
    out = ""
    for unit, size in _UNITS.items():
        # Weeks and years only when they come out even, as Prometheus prints them.
        if unit in ("y", "w") and rest % size:
            continue
        count, rest = divmod(rest, size)
        if count:
            out += f"{count}{unit}"
    return out or "0s"
