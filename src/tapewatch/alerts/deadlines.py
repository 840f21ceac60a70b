"""A queue of names with the time at which each wants to be looked at again."""

from __future__ import annotations

import heapq


class Deadlines:
    """One time per name; moving a name costs a logarithm and never a scan."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def put(self, name: str, at_ns: int | None) -> None:
        """Set when the name is due; None takes it out."""
        if at_ns is None:
            self._due.pop(name, None)
        elif self._due.get(name) != at_ns:
            self._due[name] = at_ns
            heapq.heappush(self._heap, (at_ns, name))

    def take(self, now_ns: int) -> list[str]:
        """Remove and return the names that are due, earliest first."""
        names = []
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, name = heapq.heappop(self._heap)
            if self._due.get(name) == at_ns:
                del self._due[name]
                names.append(name)
        return names

    def next_ns(self) -> int | None:
        """Return the earliest time; None when nothing waits."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
