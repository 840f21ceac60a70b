"""What a stage says about telling one receiver of one alert, always with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tapewatch.model.notification import NotifyReason


class Suppression(StrEnum):
    """Why a receiver is not told, or not yet."""

    DUPLICATE = "duplicate"
    """The same transition came twice, or an older one came late."""
    ALREADY_TOLD = "already_told"
    """What the receiver heard last is still the truth."""
    NEVER_TOLD = "never_told"
    """It ended before the receiver had heard that it fired."""
    LOWER_LEVEL = "lower_level"
    """A higher level of the same family is firing and speaks for it."""
    BELOW_SEVERITY = "below_severity"
    """The receiver asked for worse severities only."""
    RESOLVED_NOT_WANTED = "resolved_not_wanted"
    """The receiver asked for no news of ends."""
    REPLAYED = "replayed"
    """It comes from a backlog that is still being read; what holds at its end will be told."""
    ACKNOWLEDGED = "acknowledged"
    """A person has it."""
    COOL_DOWN = "cool_down"
    """Too soon after the last notification; the state at the end of the cool-down will be told."""


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the receiver now."""

    reason: NotifyReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Not yet: decide again at ``until_ns``, or when something changes before."""

    reason: Suppression
    until_ns: int
    flapping: bool = False
    """True when the alert goes to and fro: a change came back within its cool-down."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to tell as things stand."""

    reason: Suppression


Verdict = Send | Hold | Drop


class Outcome(StrEnum):
    """What was done about one alert for one receiver."""

    SENT = "sent"
    HELD = "held"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the answer to "why was I told, or not told?"."""

    at_ns: int
    alert_id: str
    receiver: str
    outcome: Outcome
    reason: NotifyReason | Suppression
    until_ns: int | None = None
    """When a held alert is decided again."""
    key: str = ""
    """The idempotency key of what was sent."""
