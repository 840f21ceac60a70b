"""Tell the time in which the daemon did not run from the time in which it worked."""

from __future__ import annotations

from tapewatch.model.clock import SECOND

SLEEP_NS = SECOND
"""A loop that stood still for longer than this, at its wait or in a round, slept."""


class Wakefulness:
    """Adds up the daemon's own sleep, so that no engine is blamed for it.

    A process that was stopped, frozen or starved notices nothing; it only finds that time has
    passed. Between two rounds every long gap is sleep. Within a round the loop may have been at
    work, and an engine that stood still meanwhile did stand still: there, only the time in which
    the process used no processor is sleep. Without this a freeze that hits a round, the likely
    case under load, would look like the stall of an engine that was frozen with the daemon.
    """

    def __init__(self, now_ns: int) -> None:
        self.slept_ns = 0
        """The whole time slept so far."""
        self._began_ns = self._ended_ns = now_ns
        self._idle_ns = 0
        self._used_at_begin_ns = 0

    def begin(self, now_ns: int, used_ns: int) -> int:
        """A round begins; return how long the daemon has slept since the last one began.

        Args:
            now_ns: The time on the steady timeline.
            used_ns: Processor time that the process has used so far.
        """
        slept = now_ns - self._ended_ns + self._idle_ns
        self._began_ns = self._ended_ns = now_ns
        self._idle_ns = 0
        self._used_at_begin_ns = used_ns
        if slept <= SLEEP_NS:
            return 0
        self.slept_ns += slept
        return slept

    def end(self, now_ns: int, used_ns: int) -> None:
        """The round is over; its waits for the disk and the processor are known now."""
        worked = used_ns - self._used_at_begin_ns
        self._idle_ns = max(now_ns - self._began_ns - worked, 0)
        self._ended_ns = now_ns

    def awake_ns(self, now_ns: int) -> int:
        """Return the steady timeline less the sleep."""
        return now_ns - self.slept_ns
