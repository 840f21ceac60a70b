"""The suppression ledger: how much was told and how much was not, and why, alert by alert."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping

from tapewatch.alerts.verdict import Decision, Suppression

MAX_ALERTS = 2_000
MAX_DECISIONS = 32


class Ledger:
    """Counts suppressions by reason and keeps the last decisions about each recent alert."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[str] = Counter(counts or {})
        self._decisions: OrderedDict[str, deque[Decision]] = OrderedDict()

    def count(self, reason: Suppression) -> None:
        """Count one transition that one receiver was not told of at once."""
        self._counts[reason.value] += 1

    @property
    def counts(self) -> dict[str, int]:
        """Suppressed transitions by reason, each counted once per receiver; only rises."""
        return {reason.value: self._counts[reason.value] for reason in Suppression}

    def note(self, decision: Decision) -> None:
        """Remember a decision, unless it only repeats the one before for that receiver."""
        past = self._decisions.get(decision.alert_id)
        if past is None:
            past = deque(maxlen=MAX_DECISIONS)
            self._decisions[decision.alert_id] = past
            if len(self._decisions) > MAX_ALERTS:
                self._decisions.popitem(last=False)
        else:
            self._decisions.move_to_end(decision.alert_id)
        last = next((d for d in reversed(past) if d.receiver == decision.receiver), None)
        if (
            last is None
            or decision.key
            or (last.outcome, last.reason, last.until_ns)
            != (decision.outcome, decision.reason, decision.until_ns)
        ):
            past.append(decision)

    def decisions(self, alert_id: str) -> tuple[Decision, ...]:
        """Return what was decided about an alert, oldest first; empty when nothing is known."""
        return tuple(self._decisions.get(alert_id, ()))
