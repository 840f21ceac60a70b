"""When each fault comes and goes, and which alerts it must raise."""

from __future__ import annotations

from dataclasses import dataclass

from tapewatch.demo.faults import Fault

STALL_SECONDS = 2.0
"""Silence after which the daemon calls the demo's engine stalled: max(3 x cadence, 2 s)."""
SETTLE_SECONDS = 2.0
"""Left after a heal for the resolving to be seen."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One alert that a fault must raise, and what its latency is counted from."""

    alert: str
    severity: str
    evidence: str
    """Name of the first thing to be seen: a condition of the tick, or the runner's own act."""
    delay_s: float = 0.0
    """Seconds after the evidence at which the alert's condition becomes true by definition."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault with what people are to be told about it."""

    fault: Fault
    story: str
    expected: tuple[Expectation, ...]
    may_follow: frozenset[str] = frozenset()
    """Alerts that are true as a consequence and may come, but need not."""
    settle_s: float = SETTLE_SECONDS
    """Seconds from the heal within which all its alerts resolve."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        Fault.SENTIMENT_FAILURES,
        "the sentiment provider answers with errors",
        (Expectation("sentiment_failures_high", "warning", "sentiment_failures"),),
        # The engine's count of the last hour of the demo's time falls slowly.
        settle_s=10.0,
    ),
    Scenario(
        Fault.BROKER_SESSION,
        "the broker ends the login session",
        (Expectation("breeze_connectivity_lost", "critical", "broker_session_lost"),),
        frozenset({"authentication_failed"}),
    ),
    Scenario(
        Fault.STALE_MODEL,
        "nobody retrained the teacher model for 25 hours",
        (Expectation("stale_teacher_model", "warning", "teacher_model_stale"),),
    ),
    Scenario(
        Fault.FEED_STALL,
        "the market data feed stops, the engine's loop goes on",
        (Expectation("market_feed_stalled", "critical", "feed_stalled"),),
    ),
    Scenario(
        Fault.LOSS_LIMIT,
        "an oversized order, then the market gaps against it",
        (
            Expectation("position_limits_breached", "critical", "position_too_large"),
            Expectation("daily_loss_high", "warning", "loss_above_4_percent"),
            Expectation("daily_loss_high", "critical", "loss_at_5_percent"),
            Expectation("circuit_breaker_triggered", "critical", "breaker_tripped"),
        ),
    ),
    Scenario(
        Fault.ENGINE_STALL,
        "the engine's loop hangs in a blocking call",
        (Expectation("heartbeat_lapsed", "critical", "loop_hung", STALL_SECONDS),),
        # The feed is read by the loop that hangs.
        frozenset({"market_feed_stalled"}),
    ),
    Scenario(
        Fault.CRASH,
        "the engine is killed with SIGKILL",
        (Expectation("engine_crashed", "critical", "killed"),),
        frozenset({"heartbeat_lapsed"}),
    ),
)

OFFSETS: dict[Fault, tuple[float, float]] = {
    Fault.SENTIMENT_FAILURES: (2.0, 5.0),
    Fault.BROKER_SESSION: (6.0, 8.5),
    Fault.STALE_MODEL: (9.5, 12.0),
    Fault.FEED_STALL: (13.0, 16.0),
    Fault.LOSS_LIMIT: (17.5, 21.5),
    Fault.ENGINE_STALL: (23.0, 27.0),
    Fault.CRASH: (29.0, 31.5),
}
"""Seconds from the beginning of a round: when the fault comes, when it is healed."""

ROUND_SECONDS = 40.0
RELAXED = 1.5
"""Stretch of a round when nobody is in a hurry."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One thing to do, at a time counted from the start of the run."""

    at_s: float
    scenario: Scenario
    begins: bool
    """True injects the fault, False heals it."""


def one_round(start_s: float, stretch: float) -> list[Switch]:
    """Return the switches of one pass through all scenarios, by time."""
    switches = []
    for scenario in SCENARIOS:
        begin, end = OFFSETS[scenario.fault]
        switches.append(Switch(start_s + begin * stretch, scenario, True))
        switches.append(Switch(start_s + end * stretch, scenario, False))
    return sorted(switches, key=lambda switch: switch.at_s)


def stretch_for(seconds: float | None) -> float:
    """Return how much slower than the compressed round a run of that length may go."""
    if seconds is None:
        return RELAXED
    return min(RELAXED, max(1.0, seconds / ROUND_SECONDS))


def timetable(seconds: float) -> tuple[list[Switch], list[Fault]]:
    """Return all switches of a run of that length, and the faults that did not fit in once.

    As many whole rounds as fit. In a run shorter than one round, a fault is only injected when
    it can also be healed and settle.
    """
    stretch = stretch_for(seconds)
    switches: list[Switch] = []
    start = 0.0
    while start == 0.0 or start + ROUND_SECONDS * stretch <= seconds:
        switches += one_round(start, stretch)
        start += ROUND_SECONDS * stretch
    late = {
        s.scenario.fault
        for s in switches
        if not s.begins and s.at_s + s.scenario.settle_s > seconds
    }
    kept = [switch for switch in switches if switch.scenario.fault not in late]
    return kept, [scenario.fault for scenario in SCENARIOS if scenario.fault in late]
