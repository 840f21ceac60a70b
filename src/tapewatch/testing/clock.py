"""A clock that moves only when a test moves it."""

from __future__ import annotations

from tapewatch.model.clock import SECOND


class TestClock:
    """Implements ``Clock``; starts at 2026-01-05 09:15:00 UTC, a Monday."""

    __test__ = False  # pytest: not a test class

    def __init__(self, start_ns: int = 1_767_604_500 * SECOND) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """Return the time the test has set."""
        return self._now

    def advance(self, seconds: float) -> int:
        """Move forward and return the new time in nanoseconds."""
        if seconds < 0:
            raise ValueError("the steady timeline never goes back")
        self._now += round(seconds * SECOND)
        return self._now
