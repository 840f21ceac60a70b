"""Public fakes and clocks for the tests of Tapewatch and of what is built on it."""

from tapewatch.testing.clock import TestClock
from tapewatch.testing.memory_querier import MemoryQuerier

__all__ = ["MemoryQuerier", "TestClock"]
