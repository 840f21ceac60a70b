"""Public fakes and clocks for the tests of Tapewatch and of what is built on it."""

from tapewatch.testing.clock import TestClock

__all__ = ["TestClock"]
