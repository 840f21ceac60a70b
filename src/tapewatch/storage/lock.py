"""One daemon for one data directory, by a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tapewatch.model.errors import DirectoryInUseError
from tapewatch.storage.failure import storage_error

LOCK_NAME = "daemon.lock"
_LONGEST_PID = 20
_WAITS = (0.005, 0.02, 0.05)


class DirectoryLock:
    """Holds ``daemon.lock`` in the data directory from ``acquire`` to ``release``.

    What counts is the kernel's lock on the open file. The pid inside is only there to be shown,
    so a file that a dead daemon left behind holds nobody up, whatever it says. The file is never
    removed: another process may be about to lock it.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DirectoryInUseError: Another process holds it; the message names its pid.
            StorageError: The file cannot be made.
        """
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise storage_error("opening", self.path, error) from error
        try:
            _lock_soon(descriptor)
        except BlockingIOError:
            holder = self._holder(descriptor)
            os.close(descriptor)
            raise DirectoryInUseError(
                f"the data directory {self.path.parent} is in use by another daemon{holder}",
                next_step="stop that daemon, or name another directory with --data-dir",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise storage_error("locking", self.path, error) from error
        # On a full or read-only disk the lock holds all the same; it just cannot say whose it is.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Drop the lock; without one it does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_held(self) -> bool:
        """True between ``acquire`` and ``release``."""
        return self._descriptor is not None

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

    @staticmethod
    def _holder(descriptor: int) -> str:
        try:
            text = os.pread(descriptor, _LONGEST_PID, 0).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return f" (pid {text})" if text.isdigit() else ""


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
    lock = DirectoryLock(data_dir)
    try:
        descriptor = os.open(lock.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _LONGEST_PID, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None
