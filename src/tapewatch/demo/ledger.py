"""What was injected, what was seen, who was told and how fast: pure bookkeeping of a demo run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tapewatch.demo.faults import Fault
from tapewatch.demo.timetable import Expectation, Scenario


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert as it stood in a call of the receiver."""

    alert: str
    severity: str
    engine: str
    firing: bool
    received_ns: int
    """Monotonic, taken when the call's body had been read."""
    summary: str


@dataclass(slots=True)
class Outcome:
    """What came of one expectation of one injection. All times monotonic nanoseconds."""

    expectation: Expectation
    evidence_ns: int | None = None
    received_ns: int | None = None
    resolved_ns: int | None = None

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds from the first evidence to the receiver's call; None until both are."""
        if self.evidence_ns is None or self.received_ns is None:
            return None
        return (self.received_ns - self.evidence_ns) / 1e6 - self.expectation.delay_s * 1e3


@dataclass(slots=True)
class Injection:
    """One fault that was brought about."""

    scenario: Scenario
    injected_ns: int
    outcomes: list[Outcome]
    healed_ns: int | None = None


def percentile(values: Sequence[float], ratio: float) -> float | None:
    """Return the smallest value with at least that ratio of the values at or below it.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(1, math.ceil(ratio * len(ordered))) - 1]


@dataclass(slots=True)
class Ledger:
    """Matches evidence and notices to injections."""

    injections: list[Injection] = field(default_factory=list)
    unexpected: list[Notice] = field(default_factory=list)

    def inject(self, scenario: Scenario, now_ns: int) -> None:
        outcomes = [Outcome(expectation) for expectation in scenario.expected]
        self.injections.append(Injection(scenario, now_ns, outcomes))

    def heal(self, fault: Fault, now_ns: int) -> None:
        for injection in reversed(self.injections):
            if injection.scenario.fault is fault:
                injection.healed_ns = now_ns
                return

    def evidence(self, name: str, mono_ns: int) -> None:
        """Take the first moment at which something was to be seen."""
        for injection in reversed(self.injections):
            for outcome in injection.outcomes:
                if outcome.expectation.evidence == name and outcome.evidence_ns is None:
                    outcome.evidence_ns = mono_ns
                    return

    def notice(self, notice: Notice) -> Outcome | None:
        """Take a notice that arrived; return the outcome it belongs to.

        A firing notice that no injection expects, or allows as a consequence, is kept as
        unexpected. A repeated one changes nothing.
        """
        known = False
        for injection in reversed(self.injections):
            for outcome in injection.outcomes:
                expected = outcome.expectation
                if (expected.alert, expected.severity) != (notice.alert, notice.severity):
                    continue
                known = True
                if notice.firing and outcome.received_ns is None:
                    outcome.received_ns = notice.received_ns
                    return outcome
                if not notice.firing and outcome.received_ns is not None:
                    if outcome.resolved_ns is None:
                        outcome.resolved_ns = notice.received_ns
                    return outcome
            known = known or notice.alert in injection.scenario.may_follow
        if notice.firing and not known:
            self.unexpected.append(notice)
        return None

    def outcomes(self) -> list[tuple[Injection, Outcome]]:
        return [(i, outcome) for i in self.injections for outcome in i.outcomes]

    def missing(self) -> list[str]:
        """Name every expected alert that nobody was told of, as ``fault: alert (severity)``."""
        return [
            f"{i.scenario.fault}: {o.expectation.alert} ({o.expectation.severity})"
            for i, o in self.outcomes()
            if o.received_ns is None
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the summary that ``--json`` ends with."""
        latencies = [o.latency_ms for _, o in self.outcomes() if o.latency_ms is not None]
        return {
            "faults": [
                {
                    "fault": str(injection.scenario.fault),
                    "alerts": [
                        {
                            "alert": outcome.expectation.alert,
                            "severity": outcome.expectation.severity,
                            "raised": outcome.received_ns is not None,
                            "resolved": outcome.resolved_ns is not None,
                            "latency_ms": _rounded(outcome.latency_ms),
                        }
                        for outcome in injection.outcomes
                    ],
                }
                for injection in self.injections
            ],
            "missing": self.missing(),
            "unexpected": [f"{n.alert} ({n.severity}) {n.engine}".strip() for n in self.unexpected],
            "latency_ms": {
                "p50": _rounded(percentile(latencies, 0.5)),
                "p99": _rounded(percentile(latencies, 0.99)),
                "max": _rounded(max(latencies, default=None)),
            },
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
