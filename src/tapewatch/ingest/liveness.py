"""Judge whether an engine lives: by tick progress, never by a thread that is still alive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tapewatch.model.clock import SECOND

SHORTEST_STALL_NS = 2 * SECOND
STALL_CADENCES = 3


class EngineState(StrEnum):
    """What is known of an engine's process and loop."""

    NEVER_STARTED = "never_started"
    """Configured, and its grace is over, but no tape of it was ever seen."""
    EXPECTED = "expected"
    """Configured and still within its grace."""
    STARTING = "starting"
    """Its process lives and has not ticked yet."""
    RUNNING = "running"
    STALLED = "stalled"
    """The process lives, but no tick came for longer than the stall threshold."""
    CRASHED = "crashed"
    """The process ended without a goodbye."""
    STOPPED = "stopped"
    """The engine said goodbye."""

    @property
    def is_live(self) -> bool:
        """True while a process is behind it."""
        return self in (EngineState.STARTING, EngineState.RUNNING, EngineState.STALLED)


@dataclass(slots=True)
class EngineLife:
    """The life of one engine name.

    All times are the daemon's *awake* nanoseconds: the steady timeline less the time that the
    daemon itself did not run, so that its own sleep never looks like an engine's stall.
    """

    stall_after_ns: int
    grace_ns: int
    since_ns: int
    """When the present state began; for STARTING and EXPECTED, when the grace began."""
    state: EngineState = EngineState.EXPECTED
    progress_ns: int | None = None
    """Arrival of the newest tick."""

    @staticmethod
    def stall_threshold_ns(cadence_ns: int, heartbeat_ns: int) -> int:
        """Return how long without a tick is a stall.

        Three declared cadences, at least 2 s; without a declared cadence the configured
        heartbeat interval.
        """
        return max(STALL_CADENCES * cadence_ns, SHORTEST_STALL_NS) if cadence_ns else heartbeat_ns

    def started(self, awake_ns: int) -> None:
        """A live process of this name was found."""
        self._enter(EngineState.STARTING, awake_ns)
        self.progress_ns = None

    def ticked(self, awake_ns: int) -> None:
        """At least one tick arrived from a live process."""
        self.progress_ns = awake_ns
        if self.state is not EngineState.RUNNING:
            self._enter(EngineState.RUNNING, awake_ns)

    def died(self, awake_ns: int, *, goodbye: bool) -> None:
        """The process ended."""
        self._enter(EngineState.STOPPED if goodbye else EngineState.CRASHED, awake_ns)

    def deadline_ns(self) -> int | None:
        """Return the awake time at which ``judge`` would change the state, or None."""
        if self.state is EngineState.RUNNING and self.progress_ns is not None:
            return self.progress_ns + self.stall_after_ns
        if self.state in (EngineState.STARTING, EngineState.EXPECTED):
            return self.since_ns + self.grace_ns
        return None

    def judge(self, awake_ns: int) -> bool:
        """Apply the independent timer; return True if the state changed."""
        deadline = self.deadline_ns()
        if deadline is None or awake_ns <= deadline:
            return False
        expected = self.state is EngineState.EXPECTED
        self._enter(EngineState.NEVER_STARTED if expected else EngineState.STALLED, awake_ns)
        return True

    def _enter(self, state: EngineState, awake_ns: int) -> None:
        if state is not self.state or state is EngineState.STARTING:
            self.state = state
            self.since_ns = awake_ns
