"""Room set aside on the disk, given to the commits that matter most when it is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 1 << 20
_ROOM_TO_HEAL = 4 * RESERVE_BYTES
"""Free space at which the reserve is made again: taking it must not fill the disk anew."""


class Reserve:
    """A file of a fixed size beside the state store, without content."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self.path = path
        self._size = size
        self.present = False

    def take(self) -> None:
        """Set the room aside if it is not and the disk has plenty; else do nothing."""
        if self.present:
            return
        with suppress(OSError):
            if self.path.exists() and self.path.stat().st_size == self._size:
                self.present = True
                return
            disk = os.statvfs(self.path.parent)
            if disk.f_bavail * disk.f_frsize < _ROOM_TO_HEAL:
                return
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
                self.present = True
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Give the room back to the disk; return whether there was any."""
        if not self.present:
            return False
        self.present = False
        try:
            self.path.unlink()
        except OSError:
            return False
        return True
