"""Snapshots of the metrics as JSON files, one for each moment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tapewatch.model.json_line import to_json_line
from tapewatch.storage.atomic import write_atomic
from tapewatch.storage.failure import storage_error

_NAME = re.compile(r"metrics_(\d{8}T\d{6}\.\d{6})Z(?:-\d+)?\.json")
_STAMP = "%Y%m%dT%H%M%S.%f"


def write_snapshot(directory: Path, metrics: Mapping[str, Any], at: datetime) -> Path:
    """Write ``metrics_<timestamp>.json`` whole and return its path.

    The stamp in the name is UTC with microseconds, so names sort by time whatever the zone. The
    content is the given mapping; numbers that are not finite become the texts ``NaN``, ``+Inf``
    and ``-Inf``, because JSON has no other form for them.

    Args:
        directory: Made if it is missing.
        metrics: JSON-able values.
        at: The moment of the snapshot, with its zone.

    Raises:
        ValueError: ``at`` has no zone.
        StorageError: The file cannot be written.
    """
    if at.utcoffset() is None:
        raise ValueError("a snapshot's moment needs a time zone, for example datetime.now(UTC)")
    data = to_json_line(metrics).encode() + b"\n"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("making the directory", directory, error) from error
    stem = f"metrics_{at.astimezone(UTC).strftime(_STAMP)}Z"
    path = directory / f"{stem}.json"
    number = 1
    while path.exists():
        number += 1
        path = directory / f"{stem}-{number}.json"
    write_atomic(path, data)
    return path


def prune_snapshots(directory: Path, before: datetime) -> int:
    """Remove the snapshots of moments before this one; return how many.

    The moment is read from the name, so that copying files about does not keep or end them. Files
    of other names are left alone; a snapshot of exactly ``before`` stays.

    Raises:
        ValueError: ``before`` has no zone.
        StorageError: The directory cannot be read or changed.
    """
    if before.utcoffset() is None:
        raise ValueError("the edge needs a time zone, for example datetime.now(UTC)")
    removed = 0
    try:
        with suppress(FileNotFoundError):
            for path in sorted(directory.iterdir()):
                at = snapshot_time(path)
                if at is not None and at < before:
                    path.unlink()
                    removed += 1
    except OSError as error:
        raise storage_error("pruning snapshots in", directory, error) from error
    return removed


def snapshot_time(path: Path) -> datetime | None:
    """Return the moment in a snapshot's name, in UTC; None for a file that is no snapshot."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
