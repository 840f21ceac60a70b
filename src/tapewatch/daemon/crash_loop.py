"""A daemon that fails again and again waits longer before each start, and says so."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from tapewatch.model.clock import MINUTE

FILE = "failures.json"
LONGEST_S = 60.0
STEADY_NS = MINUTE
"""A run that lasted this long did not fail at its start: the count begins anew."""
FORGOTTEN_NS = 10 * MINUTE
"""After so long a start is no part of a loop, but somebody's decision."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures in a row that the daemon itself noticed.

    A kill from outside leaves no mark, and the start after it does not wait: only a supervisor
    can slow those down. All times are wall-clock nanoseconds; the file is advice, so that one
    which cannot be read or written means no failure.
    """

    count: int = 0
    last_ns: int = 0

    @classmethod
    def load(cls, directory: Path) -> Failures:
        """Read what the last runs left."""
        try:
            saved = json.loads((directory / FILE).read_text(encoding="utf-8"))
            return cls(int(saved["count"]), int(saved["last_ns"]))
        except (OSError, ValueError, TypeError, KeyError):
            return cls()

    def wait_s(self, now_ns: int) -> float:
        """Return how long to wait before a start: 1 s after the first failure, then doubling."""
        if self.count < 1 or not 0 <= now_ns - self.last_ns < FORGOTTEN_NS:
            return 0.0
        return float(min(2 ** min(self.count - 1, 10), LONGEST_S))

    def failed(self, directory: Path, started_ns: int, now_ns: int) -> Failures:
        """Note that the run that began at ``started_ns`` has failed."""
        count = 1 if now_ns - started_ns >= STEADY_NS else self.count + 1
        fresh = Failures(count, now_ns)
        with contextlib.suppress(OSError):
            path = directory / FILE
            path.write_text(
                json.dumps({"count": count, "last_ns": now_ns}) + "\n", encoding="utf-8"
            )
            path.chmod(0o600)
        return fresh

    def clear(self, directory: Path) -> None:
        """Note that a run has ended in order."""
        if self.count:
            with contextlib.suppress(OSError):
                (directory / FILE).unlink(missing_ok=True)


def describe(failures: Failures) -> str:
    """Return what to do about it, for the log."""
    return (
        f"failed {failures.count} times in a row; the reasons are in the lines core_failed, "
        f"web_failed or start_failed above; remove {FILE} from the data directory to start at once"
    )
