"""What waits for one receiver, and what goes next.

Worst severity first, firing before ended, then oldest first; but notifications about one subject
keep their order, so nobody hears the beginning after the end. A notification that the receiver
answered with an error goes behind those it has not seen: one that is poisoned holds up no other.

The queue is bounded. When it is full the least urgent one is given back to the durable outbox.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tapewatch.model.notification import Notification
from tapewatch.model.severity import AlertSeverity

Rank = tuple[int, int, int, int]


@dataclass(slots=True, eq=False)
class Item:
    """One notification on its way."""

    notification: Notification
    number: int
    """Order of arrival."""
    attempts: int = 0
    strikes: int = 0
    """Failures that were an answer to this notification, not a receiver out of reach."""
    not_before_ns: int = 0
    in_flight: bool = False
    rank: Rank = field(init=False)

    def __post_init__(self) -> None:
        self._rerank()

    def strike(self) -> None:
        """Count an answer that refused it for now."""
        self.strikes += 1
        self._rerank()

    def _rerank(self) -> None:
        message = self.notification
        urgent = message.is_active and message.severity >= AlertSeverity.CRITICAL
        self.rank = (
            0 if urgent else 1,
            min(self.strikes, 1),
            -2 * message.severity + (0 if message.is_active else 1),
            self.number,
        )


class ReceiverQueue:
    """Waiting notifications by subject. Plain state; times are passed in."""

    def __init__(self, capacity: int) -> None:
        """Make an empty queue.

        Args:
            capacity: Most items that it holds, at least 1.
        """
        self.capacity = capacity
        self._subjects: dict[str, deque[Item]] = {}
        self._keys: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def push(self, notification: Notification, attempts: int = 0) -> Item | None:
        """Add a notification; return what had to be given back for want of room, if anything."""
        item = Item(notification, self._count, attempts)
        self._count += 1
        self._subjects.setdefault(notification.about, deque()).append(item)
        self._keys.add(notification.key)
        if len(self._keys) <= self.capacity:
            return None
        # Only ends of lines may leave: giving back one from the middle would break its order.
        ends = (line[-1] for line in self._subjects.values())
        least = max((end for end in ends if not end.in_flight), key=lambda end: end.rank)
        self.remove(least)
        return least

    def next(self, now_ns: int) -> Item | None:
        """Return the most urgent item that may be tried now; it stays in the queue."""
        ready = (
            (min(item.rank for item in line), line[0])
            for line in self._subjects.values()
            if line[0].not_before_ns <= now_ns
        )
        best = min(ready, key=lambda pair: pair[0], default=None)
        return None if best is None else best[1]

    def next_ready_ns(self) -> int | None:
        """Return when the first item may be tried; None when the queue is empty."""
        return min((line[0].not_before_ns for line in self._subjects.values()), default=None)

    def superseded(self) -> list[tuple[Item, Item]]:
        """Return older items with the newer one of their subject that says it all.

        Only a newer one about the same or a later state of every alert counts.
        """
        pairs = []
        for line in self._subjects.values():
            newest = line[-1]
            pairs += [(old, newest) for old in line if old is not newest and _covers(newest, old)]
        return pairs

    def remove(self, item: Item) -> None:
        """Take an item out, whatever became of it."""
        about = item.notification.about
        line = self._subjects[about]
        line.remove(item)
        self._keys.discard(item.notification.key)
        if not line:
            del self._subjects[about]

    def items(self) -> list[Item]:
        """Return everything that waits, in order of arrival."""
        return sorted((i for line in self._subjects.values() for i in line), key=lambda i: i.number)


def _covers(newer: Item, older: Item) -> bool:
    later = {a.fingerprint: a.updated_at_ns for a in newer.notification.alerts}
    for alert in older.notification.alerts:
        since_ns = later.get(alert.fingerprint)
        if since_ns is None:
            # Another level may speak for one that fires, but an end must be told by name.
            if not (alert.is_active and newer.notification.is_active):
                return False
        elif since_ns < alert.updated_at_ns:
            return False
    return True
