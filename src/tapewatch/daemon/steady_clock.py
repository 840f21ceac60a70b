"""The steady timeline: the wall clock at start, moved by the monotonic clock ever after."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapewatch.model.clock import SECOND

JUMP_NS = 2 * SECOND
"""A wall clock that departs further than this from the timeline has been stepped."""


def read_boot_id() -> str:
    """Return the kernel's id of this boot; monotonic times compare only within one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SteadyClock:
    """Implements ``Clock`` for the running daemon.

    The timeline never goes back, not even over a restart: within one boot an anchor that was
    saved is kept, so that a record read again after a crash has the same time to the nanosecond,
    and an alert it raises the same identity. Only a wall clock that was set forward is adopted at
    the next start, where the gap it leaves is harmless.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self.boot_id = read_boot_id()
        self._offset = time.time_ns() - time.monotonic_ns()
        if saved and saved.get("boot_id") == self.boot_id:
            kept = int(saved["offset_ns"])
            if self._offset - kept <= JUMP_NS:
                self._offset = kept

    @property
    def offset_ns(self) -> int:
        """What turns CLOCK_MONOTONIC of this boot into the timeline."""
        return self._offset

    def now_ns(self) -> int:
        """Return the timeline's nanoseconds since the Unix epoch."""
        return time.monotonic_ns() + self._offset

    def deviation_ns(self) -> int:
        """Return wall clock minus timeline; beyond ``JUMP_NS`` the wall clock was stepped."""
        return time.time_ns() - self.now_ns()

    def to_saved(self) -> dict[str, Any]:
        """Return what the next daemon of this boot needs to keep the timeline."""
        return {"boot_id": self.boot_id, "offset_ns": self._offset}
