"""The clock that the core is handed.

The daemon lives on a *steady timeline*: nanoseconds since the Unix epoch, anchored to the wall
clock once at start and moved by the monotonic clock afterwards. A wall clock that is stepped
therefore starts no rule, ends no cool-down and reorders no sample; the step itself is reported.
"""

from __future__ import annotations

from typing import Protocol

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Reads the steady timeline."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch; never less than the call before."""
        ...
