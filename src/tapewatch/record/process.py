"""What names this process beyond doubt: pid, when it started, on which boot."""

from __future__ import annotations

import os


def boot_id() -> str:
    """Return the kernel's id of this boot; empty where there is none."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def start_ticks(pid: int | None = None) -> int:
    """Return when a process started, in clock ticks since boot; 0 where that cannot be told."""
    text = _read(f"/proc/{'self' if pid is None else pid}/stat")
    # The name in parentheses may itself hold blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
