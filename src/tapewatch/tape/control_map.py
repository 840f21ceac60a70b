"""The control file beside a tape, as the engine sees it: a read-only map."""

from __future__ import annotations

import os
from mmap import PROT_READ, mmap
from zlib import crc32

from tapewatch.tape.layout import CONTROL, CONTROL_BYTES, CONTROL_MAGIC, CRC

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHECKED = CONTROL.size - CRC.size
_HEARTBEAT, _RELEASED_EVENTS = 4, 5


class ControlMap:
    """Makes the file, and reads what the daemon writes there without a system call."""

    __slots__ = ("_fields", "_map")

    def __init__(self, path: str) -> None:
        empty = CONTROL.pack(CONTROL_MAGIC, 0, 0, 0, 0, 0, 0, 0, 0)[:_CHECKED]
        self._fields = CONTROL.unpack(empty + CRC.pack(0))
        fd = os.open(path, _CREATE, 0o600)
        try:
            os.posix_fallocate(fd, 0, CONTROL_BYTES)
            os.pwrite(fd, empty + CRC.pack(crc32(empty)), 0)
            self._map = mmap(fd, CONTROL_BYTES, prot=PROT_READ)
        except BaseException:
            os.unlink(path)  # noqa: PTH108 - pathlib is not light
            raise
        finally:
            os.close(fd)

    def released_event_seq(self) -> int:
        """Return the newest event slot that may be used again."""
        return self._read()[_RELEASED_EVENTS]

    def heartbeat_ns(self) -> int:
        """Return the daemon's last sign of life on CLOCK_MONOTONIC; 0 = never."""
        return self._read()[_HEARTBEAT]

    def close(self) -> None:
        """Unmap. Reading afterwards raises ValueError."""
        self._map.close()

    def _read(self) -> tuple[int, ...]:
        """Return the newest whole record; a half-written or damaged one leaves the last good."""
        data = self._map[: CONTROL.size]
        fields = CONTROL.unpack(data)
        if fields[0] == CONTROL_MAGIC and fields[-1] == crc32(data[:_CHECKED]):
            self._fields = fields
        return self._fields
