"""What has happened and is not yet durable: gathered, bounded, committed as one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tapewatch.ingest.batch import IngestedEvent
from tapewatch.model.alert import Transition
from tapewatch.model.notification import DeliveryResult, Notification

MAX_EVENTS = 100_000
"""Events kept while the store cannot be written; the oldest go first, and are counted."""


@dataclass(slots=True)
class PendingEffects:
    """Effects that wait for the next commit.

    They are kept until a commit has taken them, so that a full disk or a locked store delays
    durability and loses nothing; alerts go out meanwhile.
    """

    offsets: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    engines: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    deliveries: list[DeliveryResult] = field(default_factory=list)
    events: deque[IngestedEvent] = field(default_factory=deque)
    events_given_up: int = 0
    handed_over: int = 0
    """How many of the notifications the dispatcher has already."""
    urgent: bool = False
    """Something in here must be durable before the world acts on it."""

    def add_events(self, events: list[IngestedEvent]) -> None:
        """Add events, giving up the oldest beyond the bound."""
        self.events.extend(events)
        while len(self.events) > MAX_EVENTS:
            self.events.popleft()
            self.events_given_up += 1

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to commit."""
        return not (
            self.offsets
            or self.engines
            or self.values
            or self.transitions
            or self.notifications
            or self.deliveries
            or self.events
        )

    def clear(self) -> None:
        """Forget everything: it is durable now."""
        given_up = self.events_given_up
        self.__init__()  # type: ignore[misc]
        self.events_given_up = given_up
