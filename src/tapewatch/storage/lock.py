"""One daemon for one data directory, by a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tapewatch.model.errors import DirectoryInUseError
from tapewatch.storage.failure import storage_error

LOCK_NAME = "daemon.lock"
_LONGEST_PID = 20
_UNWRITABLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})
_WAITS = (0.005, 0.02, 0.05)


class DirectoryLock:
    """Holds ``daemon.lock`` in the data directory from ``acquire`` to ``release``.

    What counts is the kernel's lock on the open file. The pid inside is only there to be shown,
    so a file that a dead daemon left behind holds nobody up, whatever it says. The file is never
    removed: another process may be about to lock it. Where the disk is read-only or full, the
    file is locked as it is. The directory itself is locked too: it is there when the file cannot
    be made, and a daemon that started then must hold off one that comes after.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / LOCK_NAME
        self._descriptors: list[int] = []

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DirectoryInUseError: Another process holds it; the message names its pid.
            StorageError: The file cannot be made.
        """
        try:
            for descriptor in self._opened():
                self._descriptors.append(descriptor)
                _lock_soon(descriptor)
        except BlockingIOError:
            holder = self._holder()
            self.release()
            raise DirectoryInUseError(
                f"the data directory {self.path.parent} is in use by another daemon{holder}",
                next_step="stop that daemon, or name another directory with --data-dir",
            ) from None
        except OSError as error:
            self.release()
            raise storage_error("locking", self.path, error) from error
        # On a full or read-only disk the lock holds all the same; it just cannot say whose it is.
        with suppress(OSError):
            os.ftruncate(self._descriptors[0], 0)
            os.pwrite(self._descriptors[0], f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Drop the lock; without one it does nothing."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    @property
    def is_held(self) -> bool:
        """True between ``acquire`` and ``release``."""
        return bool(self._descriptors)

    def __enter__(self) -> DirectoryLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _opened(self) -> Iterator[int]:
        """Open what is to be locked, one after the other."""
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            yield os.open(self.path, flags | os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            with suppress(FileNotFoundError):
                yield os.open(self.path, flags | os.O_RDONLY)
        yield os.open(self.path.parent, flags | os.O_RDONLY | os.O_DIRECTORY)

    def _holder(self) -> str:
        pid = _pid_in(self.path)
        return f" (pid {pid})" if pid else ""


def _lock_soon(descriptor: int) -> None:
    """Lock the file; somebody who only asks who holds it has it for a moment, and is waited for.

    Raises:
        BlockingIOError: It is held for longer than that.
    """
    for wait in (*_WAITS, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise
            time.sleep(wait)
        else:
            return


def holder_pid(data_dir: Path) -> int | None:
    """Return the pid of the daemon that holds the directory; None if none does.

    Asking takes the lock for a moment, and only where it is free.
    """
    path = data_dir / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _pid_in(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        text = os.pread(descriptor, _LONGEST_PID, 0).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    return int(text) if text.isdigit() else None
