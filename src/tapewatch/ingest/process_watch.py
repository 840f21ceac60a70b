"""Know within milliseconds that an engine's process has ended."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
from pathlib import Path

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def process_start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it cannot be seen.

    Guards against a pid that was given to another process.

    Raises:
        OSError: There is no descriptor left to look with; that says nothing about the process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        return None
    # The name in brackets may itself hold brackets and spaces: cut at the last one.
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


class ProcessWatch:
    """Waits for the death of watched processes, for a wake-up, or for a timeout.

    A process is watched by pidfd. Where its pid cannot be seen (another container) its death is
    the release of the lock that the recorder holds on the tape, asked every ``poll``.
    """

    def __init__(self) -> None:
        self._poller = select.poll()
        self._pidfds: dict[int, Path] = {}
        self._locked: set[Path] = set()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller.register(self._wake_r, select.POLLIN)

    def watch(self, tape: Path, pid: int, start_ticks: int) -> bool:
        """Begin to watch the writer of a tape; return False if it is dead already."""
        try:
            if process_start_ticks(pid) != start_ticks:
                return self._watch_lock(tape)
            fd = os.pidfd_open(pid)
        except OSError:
            return self._watch_lock(tape)
        try:
            # The pid may have been reused between the two calls: look again, now that the
            # descriptor pins the process.
            reused = process_start_ticks(pid) != start_ticks
        except OSError:
            os.close(fd)
            return self._watch_lock(tape)
        if reused:
            os.close(fd)
            return False
        self._pidfds[fd] = tape
        self._poller.register(fd, select.POLLIN)
        return True

    def forget(self, tape: Path) -> None:
        """Stop watching the writer of a tape."""
        self._locked.discard(tape)
        for fd in [fd for fd, watched in self._pidfds.items() if watched == tape]:
            del self._pidfds[fd]
            with contextlib.suppress(KeyError):
                self._poller.unregister(fd)
            os.close(fd)

    def wait(self, timeout_ms: float) -> list[Path]:
        """Wait; return the tapes whose writers have ended."""
        dead = []
        for fd, _ in self._poller.poll(timeout_ms):
            if fd == self._wake_r:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_r, 4096)
            elif fd in self._pidfds:
                dead.append(self._pidfds[fd])
        dead.extend(tape for tape in self._locked if not _is_locked(tape))
        for tape in dead:
            self.forget(tape)
        return dead

    def wake(self) -> None:
        """End a ``wait`` early, from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"\0")

    def close(self) -> None:
        """Release every descriptor."""
        for tape in list(self._pidfds.values()):
            self.forget(tape)
        for fd in (self._wake_r, self._wake_w):
            os.close(fd)

    def _watch_lock(self, tape: Path) -> bool:
        if not _is_locked(tape):
            return False
        self._locked.add(tape)
        return True


def _is_locked(tape: Path) -> bool:
    try:
        fd = os.open(tape, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        # Without a descriptor nobody can tell; a death is told when it is sure.
        return error.errno in _EXHAUSTED
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
