"""Read the dated alert files as one stream, and follow it through rotation and midnight."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path

from tapewatch.model.errors import TapewatchError

_NAME = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")
_BLOCK = 256 * 1024
_MAX_LINE = 4 << 20
"""A longer line is no alert; it is dropped instead of held in memory."""
_MAX_LOOK_BACK = 64 << 20
"""How far back from a file's end the last lines are looked for."""
_FOLLOWED = 2
"""Newest files that are read on: around midnight a line may still go to yesterday's."""


def dated_files(directory: Path, first: date | None = None) -> list[Path]:
    """Return the alert files from a date on, the oldest first; none if there is no directory.

    Raises:
        TapewatchError: The directory cannot be read.
    """
    try:
        names = sorted(p.name for p in directory.iterdir() if _NAME.fullmatch(p.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TapewatchError(
            f"cannot read the alert directory {directory}: {error.strerror}",
            next_step="run the command as the user that runs the daemon",
        ) from error
    start = first.isoformat() if first is not None else ""
    return [directory / name for name in names if name[:10] >= start]


def _end_of_lines(descriptor: int) -> int:
    """Return the offset behind the last line end; what follows is being written or torn."""
    size = position = os.fstat(descriptor).st_size
    while position > 0 and size - position < _MAX_LINE:
        start = max(0, position - _BLOCK)
        newline = os.pread(descriptor, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0 if position == 0 else size


def _lines_backwards(descriptor: int, end: int) -> Iterator[bytes]:
    """Yield the lines before an offset, the last first."""
    position, rest = end, b""
    while position > 0 and end - position < _MAX_LOOK_BACK:
        start = max(0, position - _BLOCK)
        parts = (os.pread(descriptor, position - start, start) + rest).split(b"\n")
        # A piece that never ends is no line; carrying it along would cost its square.
        position, rest = start, parts[0] if len(parts[0]) <= _MAX_LINE else b""
        yield from (part for part in reversed(parts[1:]) if part)
    if position == 0 and rest:
        yield rest


@dataclass(slots=True)
class _Followed:
    path: Path
    descriptor: int
    identity: tuple[int, int]
    offset: int = 0
    partial: bytes = b""


@dataclass(slots=True)
class AlertFollower:
    """Gives every line that is appended from now on, once and whole.

    A file that is renamed away is read to its end before the new one of its name is begun; one
    that is cut is read again from its start. Call ``close`` at the end.
    """

    directory: Path
    first: date | None = None
    """Files of earlier dates are left alone."""
    dropped: int = 0
    """Pieces that were no whole line: torn by a crash, or far too long."""
    _open: dict[Path, _Followed] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def last(self, count: int, accept: Callable[[bytes], bool]) -> list[bytes]:
        """Return the newest complete lines that are accepted, oldest first.

        Call it before the first ``poll``, which then goes on behind these lines: none is given
        twice and none is left out, whatever happens to the files in between.
        """
        found: list[bytes] = []
        for number, path in enumerate(reversed(dated_files(self.directory, self.first))):
            enough = len(found) >= count
            if enough and number >= _FOLLOWED:
                self._done.add(path.name)
                continue
            followed = self._start(path)
            if followed is None:
                continue
            followed.offset = _end_of_lines(followed.descriptor)
            lines = _lines_backwards(followed.descriptor, followed.offset)
            found += islice(filter(accept, lines), count - len(found))
            self._open[path] = followed
            if number >= _FOLLOWED:
                self._done.add(path.name)
                self._forget(path)
        return found[::-1]

    def poll(self) -> Iterator[bytes]:
        """Yield the complete lines that have come since the last call, without line ends."""
        files = dated_files(self.directory, self.first)
        for path in files:
            if path.name in self._done:
                continue
            yield from self._read(path)
        for path in list(self._open):
            if path not in files:
                yield from self._drain(self._open[path])
                self._forget(path)
        for path in files[:-_FOLLOWED]:
            if path.name not in self._done:
                self._done.add(path.name)
                self._forget(path)

    def close(self) -> None:
        """Close every file."""
        for path in list(self._open):
            self._forget(path)

    def _forget(self, path: Path) -> None:
        followed = self._open.pop(path, None)
        if followed is not None:
            os.close(followed.descriptor)
            self.dropped += bool(followed.partial)

    def _read(self, path: Path) -> Iterator[bytes]:
        followed = self._open.get(path)
        if followed is not None:
            yield from self._drain(followed)
            if self._identity(path) == followed.identity:
                return
            # Renamed away by a rotation: what was appended before the rename has been read.
            self._forget(path)
        followed = self._start(path)
        if followed is not None:
            self._open[path] = followed
            yield from self._drain(followed)

    def _start(self, path: Path) -> _Followed | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        info = os.fstat(descriptor)
        return _Followed(path, descriptor, (info.st_dev, info.st_ino))

    @staticmethod
    def _identity(path: Path) -> tuple[int, int] | None:
        try:
            info = path.stat()
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def _drain(self, followed: _Followed) -> Iterator[bytes]:
        if os.fstat(followed.descriptor).st_size < followed.offset:
            followed.offset, followed.partial = 0, b""
        while block := os.pread(followed.descriptor, _BLOCK, followed.offset):
            followed.offset += len(block)
            lines = (followed.partial + block).split(b"\n")
            followed.partial = lines.pop()
            if len(followed.partial) > _MAX_LINE:
                followed.partial = b""
                self.dropped += 1
            yield from (line for line in lines if line)
