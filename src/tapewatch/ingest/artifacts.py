"""Watch the age of files that an engine depends on: models, calibrations, universes."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tapewatch.ingest.flatten import parse_iso_time
from tapewatch.model.clock import SECOND

_MAX_SIDECAR_BYTES = 64 * 1024
_CREATED_KEYS = ("created_at", "trained_at", "timestamp")


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old an artifact is. A missing file is a state of its own, not an infinite age."""

    missing: bool
    age_seconds: float | None
    """None when missing or unreadable; a stamp in the future counts as age 0."""
    source: str
    """``recorded`` (its creation time beside it), ``file`` (modification time) or a reason."""

    @property
    def age_hours(self) -> float | None:
        """The age in hours, to a microsecond or so."""
        return None if self.age_seconds is None else round(self.age_seconds / 3600, 9)


def check_freshness(path: Path, wall_ns: int) -> Freshness:
    """Return the freshness of a file now.

    The creation time recorded in ``<path>.json`` or ``<path>.meta.json`` (keys ``created_at``,
    ``trained_at`` or ``timestamp``, ISO 8601 with a zone) goes before the file's own time.
    """
    try:
        info = path.stat()
    except FileNotFoundError:
        return Freshness(missing=True, age_seconds=None, source="missing")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return Freshness(missing=False, age_seconds=None, source=f"unreadable: {reason}")
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        return Freshness(missing=False, age_seconds=None, source="unreadable: not a file")
    recorded = _recorded_creation(path)
    created = recorded if recorded is not None else info.st_mtime_ns / SECOND
    source = "recorded" if recorded is not None else "file"
    return Freshness(False, max(wall_ns / SECOND - created, 0.0), source)


def _recorded_creation(path: Path) -> float | None:
    for sidecar in (path.with_name(path.name + ".json"), path.with_name(path.name + ".meta.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            with sidecar.open("rb") as file:
                data = json.loads(file.read(_MAX_SIDECAR_BYTES))
            if not isinstance(data, dict):
                continue
            for key in _CREATED_KEYS:
                value = data.get(key)
                moment = parse_iso_time(value) if isinstance(value, str) else None
                if moment is not None:
                    return moment
    return None


class ArtifactWatch:
    """Checks each artifact at its interval and hands on what it found."""

    def __init__(
        self,
        artifacts: dict[str, Path],
        on_checked: Callable[[str, Freshness, int], None],
        *,
        interval_ns: int = SECOND,
    ) -> None:
        self._artifacts = artifacts
        self._on_checked = on_checked
        self._interval = interval_ns
        self._due = 0

    def run_due(self, now_ns: int, wall_ns: int) -> None:
        """Check every artifact if the interval has passed."""
        if now_ns < self._due:
            return
        self._due = now_ns + self._interval
        for name, path in self._artifacts.items():
            self._on_checked(name, check_freshness(path, wall_ns), now_ns)
