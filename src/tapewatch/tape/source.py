"""A tape file opened for reading without trust: ``pread`` only, every length bounded."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from tapewatch.model.errors import TapeError
from tapewatch.tape.header import DamagedHeaderError, decode_header
from tapewatch.tape.layout import (
    CRC,
    HEAD,
    HEAD_BYTES,
    HEADER_BYTES,
    HEADER_COPY,
    LAYOUT_OFFSET,
    MAX_SLOTS,
    OVERHEAD,
    SLOT,
    VERSION,
    VOID,
    slots_for,
)
from tapewatch.tape.types import TapeHeader

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MAX_CLOCK = 1 << 63


class TapeSource:
    """The open file. Reading past its end, or where the disk fails, gives zeros, never an error."""

    def __init__(self, path: Path) -> None:
        """Open a tape and check its header.

        Raises:
            TapeError: Missing, a link or special file, somebody else's, or without a usable header.
        """
        self.path = path
        try:
            self._fd = os.open(path, _FLAGS)
        except OSError as error:
            raise TapeError(
                f"{path}: cannot open the tape: {error.strerror}",
                next_step="a tape is a regular file, never a symbolic link",
            ) from error
        try:
            self._check_owner()
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """False once closed."""
        return self._fd >= 0

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes, filled up with zeros where there are none."""
        try:
            data = os.pread(self._fd, length, offset)
            while 0 < len(data) < length:
                part = os.pread(self._fd, length - len(data), offset + len(data))
                if not part:
                    break
                data += part
        except OSError:
            data = b""
        return data if len(data) == length else data.ljust(length, b"\0")

    def missing_bytes(self) -> int:
        """Return how many bytes the file is shorter than its header says."""
        header = self.header
        expected = header.event_offset + header.event_slots * SLOT
        try:
            return max(0, expected - os.fstat(self._fd).st_size)
        except OSError:
            return 0

    def writer_holds_lock(self) -> bool:
        """Return whether a living process still has this tape open for writing."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def _check_owner(self) -> None:
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            raise TapeError(f"{self.path}: found a special file, expected a regular tape file")
        trusted = {os.geteuid(), self.path.parent.stat().st_uid}
        if info.st_uid not in trusted:
            raise TapeError(
                f"{self.path}: found owner {info.st_uid}, expected one of {sorted(trusted)}",
                next_step="run engine and daemon under one user, or remove the file",
            )
        if info.st_mode & stat.S_IWOTH:
            raise TapeError(
                f"{self.path}: everybody may write to it (mode {stat.S_IMODE(info.st_mode):04o})",
                next_step="chmod 0600 it if you trust it, or remove it",
            )

    def _read_header(self) -> TapeHeader:
        reasons = []
        for offset in (0, HEADER_COPY):
            try:
                return _header_of(decode_header(self.read(offset, HEADER_BYTES)))
            except DamagedHeaderError as error:
                reasons.append(str(error))
        raise TapeError(
            f"{self.path}: not a readable tape: {reasons[0]}",
            next_step="nothing can be read from it; move it away",
        )


def record_at(data: bytes | memoryview, seq: int) -> tuple[int, int, int, int, int, int] | None:
    """Check the record at the start of ``data`` whose slot number must be ``seq``.

    Returns:
        ``(mono_ns, number, kind, slots, layout, payload bytes)``; None unless every field is in
        bounds and the checksum fits, so also when ``data`` ends before the record does.
    """
    if len(data) < OVERHEAD:
        return None
    found, mono_ns, number, kind, slots, layout, length = HEAD.unpack_from(data)
    end = HEAD_BYTES + length
    if (
        found != seq
        or number >= seq
        or mono_ns >= _MAX_CLOCK
        or end + CRC.size > len(data)
        or (slots != slots_for(length) if kind != VOID else not slots)
        or CRC.unpack_from(data, end)[0] != crc32(data[:end])
    ):
        return None
    return mono_ns, number, kind, slots, layout, length


def _header_of(fields: Mapping[str, Any]) -> TapeHeader:
    """Build the header from its map, believing no number that is out of bounds."""

    def number(name: str, most: int = _MAX_CLOCK - 1) -> int:
        value = fields.get(name, 0)
        if type(value) is not int or not 0 <= value <= most:
            raise DamagedHeaderError(f"the header's {name} is {value!r}, expected 0 to {most}")
        return value

    def text(name: str) -> str:
        value = fields.get(name, "")
        if not isinstance(value, str):
            raise DamagedHeaderError(f"the header's {name} is {value!r}, expected text")
        return value

    def slots(name: str) -> int:
        value = number(name, MAX_SLOTS)
        if value < 1 or value & (value - 1):
            raise DamagedHeaderError(f"the header's {name} is {value}, expected a power of two")
        return value

    if number("slot_bytes") != SLOT:
        raise DamagedHeaderError(f"slots have {fields.get('slot_bytes')!r} bytes, expected {SLOT}")
    header = TapeHeader(
        version=VERSION,
        tape_id=text("tape_id"),
        engine=text("engine"),
        instance=text("instance"),
        pid=number("pid"),
        pid_start_ticks=number("pid_start_ticks"),
        parent_pid=number("parent_pid"),
        boot_id=text("boot_id"),
        start_wall_ns=number("start_wall_ns"),
        start_mono_ns=number("start_mono_ns"),
        cadence_ns=number("cadence_ns"),
        layout_slots=slots("layout_slots"),
        frame_slots=slots("frame_slots"),
        event_slots=slots("event_slots"),
        layout_offset=number("layout_offset"),
        frame_offset=number("frame_offset"),
        event_offset=number("event_offset"),
    )
    expected = LAYOUT_OFFSET
    for name, count in (
        ("layout_offset", header.layout_slots),
        ("frame_offset", header.frame_slots),
        ("event_offset", header.event_slots),
    ):
        if getattr(header, name) != expected:
            raise DamagedHeaderError(
                f"the header's {name} is {getattr(header, name)}, expected {expected}"
            )
        expected += count * SLOT
    return header
