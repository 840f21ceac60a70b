"""The control file beside a tape, from outside: the daemon's word to the engine.

The recorder makes it together with the tape and maps it; daemon and command line write it by
``pwrite``. Nobody ever changes its length: shortening a mapped file kills who mapped it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from tapewatch.tape.layout import CONTROL, CONTROL_MAGIC, CONTROL_SUFFIX, CRC

_CHECKED = CONTROL.size - CRC.size


class ControlState(NamedTuple):
    """What the control file says."""

    epoch: int = 0
    """Rises by one each time a daemon takes the tape over; 0 = none has yet."""
    command: int = 0
    """Number of the command that stands; 0 = none."""
    arming: int = 0
    """How far actions are armed; 0 = not at all."""
    heartbeat_mono_ns: int = 0
    """CLOCK_MONOTONIC at the daemon's last sign of life; 0 = never."""
    released_event_seq: int = 0
    """Event slots up to and including this one may be used again."""
    released_frame_seq: int = 0
    """Frame slots up to and including this one are durable at the daemon (information only)."""


def encode_control(state: ControlState) -> bytes:
    """Return the bytes of a control file's record."""
    head = CONTROL.pack(CONTROL_MAGIC, *state, 0, 0)[:_CHECKED]
    return head + CRC.pack(crc32(head))


def decode_control(data: bytes) -> ControlState | None:
    """Return what the bytes say, or None if they are not a whole, undamaged record."""
    if len(data) < CONTROL.size:
        return None
    magic, *fields, _reserved, checksum = CONTROL.unpack_from(data)
    if magic != CONTROL_MAGIC or checksum != crc32(data[:_CHECKED]):
        return None
    return ControlState(*fields)


def control_path(tape: Path | str) -> str:
    """Return the path of the control file that belongs to a tape."""
    return f"{os.fspath(tape)}{CONTROL_SUFFIX}"


class ControlReader:
    """Reads the control file of a tape from outside, by ``pread``."""

    def __init__(self, tape: Path | str) -> None:
        """Open the control file of this tape.

        Raises:
            OSError: It is missing, a symbolic link or not readable.
        """
        self._fd = os.open(control_path(tape), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def read(self) -> ControlState | None:
        """Return the state, or None when the file holds no whole, undamaged one."""
        return decode_control(os.pread(self._fd, CONTROL.size, 0))

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ControlWriter:
    """The daemon's hand: says that it lives and which slots the engine may use again."""

    def __init__(self, tape: Path | str) -> None:
        """Take over the control file of this tape; the epoch rises with the first write.

        Raises:
            OSError: It is missing, a symbolic link, not a regular file or not writable.
        """
        path = control_path(tape)
        self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise OSError(f"{path}: found a special file, expected a regular control file")
            known = decode_control(os.pread(self._fd, CONTROL.size, 0)) or ControlState()
        except BaseException:
            os.close(self._fd)
            raise
        self.state = known._replace(epoch=known.epoch + 1)

    def release(self, event_seq: int, frame_seq: int, heartbeat_ns: int) -> None:
        """Say that slots up to and including these are durable and that the daemon lives.

        Positions never go back: a smaller one than said before is ignored.

        Args:
            event_seq: ``TapePosition.released_event_seq`` after the commit.
            frame_seq: ``TapePosition.released_frame_seq`` after the commit.
            heartbeat_ns: CLOCK_MONOTONIC now.

        Raises:
            OSError: The file cannot be written.
        """
        state = self.state._replace(
            released_event_seq=max(event_seq, self.state.released_event_seq),
            released_frame_seq=max(frame_seq, self.state.released_frame_seq),
            heartbeat_mono_ns=heartbeat_ns,
        )
        os.pwrite(self._fd, encode_control(state), 0)
        self.state = state

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
