"""A log file that is rotated by size and by age and never grows without bound."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tapewatch.model.errors import TapewatchError

_FIRST_BYTES = 4096
_STAMP_WIDTH = len("2026-11-21T09:15:00.000000Z")


class RotatingFile:
    """Appends whole lines; keeps ``backups`` older files as ``<name>.1`` (newest) and so on.

    A file that somebody else renames away or removes is begun anew. Safe for use from several
    threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        backups: int,
        wall_s: Callable[[], float],
    ) -> None:
        """Open the file for appending, and make it if it is missing.

        Args:
            path: The file.
            max_bytes: A line that would take it beyond this goes to a new file.
            max_age_s: So many seconds after its first line a new file is begun.
            backups: How many older files are kept; 0 keeps none.
            wall_s: Wall clock in Unix seconds.

        Raises:
            TapewatchError: It cannot be written.
        """
        self.path = path
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._backups = backups
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._descriptor = -1
        self._identity = (0, 0)
        self._size = 0
        self._begun_s = 0.0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise TapewatchError(
                f"cannot write the log file {path}: {error.strerror or error}",
                next_step="set log.file.path to a file that this user may write",
            ) from error

    def write(self, line: bytes) -> None:
        """Append one line, with its line end.

        Raises:
            OSError: It could not be written.
        """
        with self._lock:
            self._follow()
            full = self._size > 0 and self._size + len(line) > self._max_bytes
            old = self._size > 0 and self._wall_s() - self._begun_s >= self._max_age_s
            if full or old:
                self._rotate()
            if self._size == 0:
                self._begun_s = self._wall_s()
            written = os.write(self._descriptor, line)
            self._size += written
            if written != len(line):
                # Close the torn line, so that the next one begins at a line's start.
                with contextlib.suppress(OSError):
                    self._size += os.write(self._descriptor, b"\n")
                raise OSError(f"only {written} of {len(line)} bytes could be written")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            os.close(descriptor)
            raise OSError("it is not a regular file")
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._identity = (info.st_dev, info.st_ino)
        self._size = info.st_size
        self._begun_s = self._first_line_s(info.st_mtime)

    def _first_line_s(self, otherwise: float) -> float:
        """Return when the first line was written: a restart must not make the file young again."""
        if not self._size:
            return self._wall_s()
        head = os.pread(self._descriptor, _FIRST_BYTES, 0).decode("utf-8", "replace")
        place = head.find('"timestamp":"')
        begin = place + len('"timestamp":"')
        if place >= 0:
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(head[begin : begin + _STAMP_WIDTH]).timestamp()
        return otherwise

    def _follow(self) -> None:
        try:
            info = self.path.stat()
            same = (info.st_dev, info.st_ino) == self._identity
        except FileNotFoundError:
            same = False
        if not same or self._descriptor < 0:
            self._open()

    def _rotate(self) -> None:
        if self._backups == 0:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            return
        for number in range(self._backups, 0, -1):
            source = self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                source.replace(self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path
