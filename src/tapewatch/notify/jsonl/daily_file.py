"""Appends whole lines to ``<directory>/<date>.jsonl`` and keeps the files for a number of days.

A line is there whole and on the disk, or not at all:

1. the file is opened for appending, made with its directory if missing, never through a symlink;
2. keys that are already there are not written again (a crash between the write and the daemon's
   commit repeats a notification); they are read from the file's tail when it is first met. A last
   line that a crash cut off is closed with a line end, in the same write as the next line;
3. one ``write`` for each line; a short write (full disk) is cut off again;
4. ``fsync``; if that fails nobody knows what is on the disk, so the lines are cut off and written
   again by the next attempt to a file opened anew.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path

from tapewatch.model.clock import SECOND

TAIL_BYTES = 256 * 1024
"""How far back from the end keys are looked for; hundreds of records."""
MAX_KEYS = 10_000
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.jsonl")


def local_date(time_ns: int, tz: tzinfo) -> date:
    """Return the date that a clock in this zone shows."""
    return datetime.fromtimestamp(time_ns // SECOND, tz).date()


class DailyFile:
    """One directory of dated files. One writer at a time; blocking calls."""

    def __init__(self, directory: Path, tz: tzinfo) -> None:
        self.directory = directory
        self.tz = tz
        self._met: tuple[int, int] | None = None
        self._keys: dict[str, None] = {}

    def path(self, time_ns: int) -> Path:
        """Return the file for a time: its local date in the configured zone."""
        return self.directory / f"{local_date(time_ns, self.tz).isoformat()}.jsonl"

    def append(self, lines: Sequence[tuple[str, str]], time_ns: int) -> int:
        """Append lines that are not there yet; return how many were written.

        Args:
            lines: Pairs of a key and a whole line without its line end: a JSON object that has
                the key as its field ``key``.
            time_ns: Chooses the file.

        Raises:
            OSError: The lines are not on the disk; nothing of them is left in the file.
        """
        path = self.path(time_ns)
        descriptor = self._open(path)
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            if self._met != (status.st_dev, status.st_ino):
                self._keys = _keys_in_tail(descriptor, size)
                self._met = (status.st_dev, status.st_ino)
            fresh = [(key, text) for key, text in lines if key not in self._keys]
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                for number, (_, text) in enumerate(fresh):
                    start = b"\n" if torn and number == 0 else b""
                    _write_whole(descriptor, start + text.encode("utf-8") + b"\n")
                # Also when all lines were there already: whether they were ever synced is unknown.
                os.fsync(descriptor)
            except OSError:
                self._met = None
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
            if size == 0:
                _sync_directory(self.directory)
            self._remember(key for key, _ in fresh)
            return len(fresh)
        finally:
            os.close(descriptor)

    def prune(self, now_ns: int, keep_days: int) -> list[Path]:
        """Remove the files of dates more than ``keep_days`` days before today; return them.

        The file of the date exactly ``keep_days`` days ago stays: its last record may be younger.
        Other files in the directory are left alone.
        """
        oldest = local_date(now_ns, self.tz) - timedelta(days=keep_days)
        removed = []
        for entry in sorted(self.directory.glob("*.jsonl")):
            found = _NAME.fullmatch(entry.name)
            if found is None or not _is_before(found[1], oldest):
                continue
            entry.unlink(missing_ok=True)
            removed.append(entry)
        return removed

    def _remember(self, keys: Iterable[str]) -> None:
        self._keys.update(dict.fromkeys(keys))
        while len(self._keys) > MAX_KEYS:
            del self._keys[next(iter(self._keys))]

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= os.O_NONBLOCK  # a pipe in its place must not hang us
        try:
            descriptor = os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            _make_directory(self.directory)
            descriptor = os.open(path, flags, FILE_MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is not a regular file")
        return descriptor


def _keys_in_tail(descriptor: int, size: int) -> dict[str, None]:
    tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
    keys: dict[str, None] = {}
    for line in tail.split(b"\n"):
        # The first line may be cut by our window and the last by a crash: neither counts.
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("key"), str):
                keys[record["key"]] = None
    return keys


def _write_whole(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes could be written; is the disk full?")


def _make_directory(directory: Path) -> None:
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    for path in reversed(missing):
        # mkdir(parents=True) would give the parents the default mode.
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_before(text: str, day: date) -> bool:
    try:
        return date.fromisoformat(text) < day
    except ValueError:
        return False
