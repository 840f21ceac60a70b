"""A private copy to read from while the real file cannot be opened."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_COPIED_BYTES = 64 << 20
"""A larger file is not copied: memory may be all the room there is."""
PLACES = ("/dev/shm", None)  # noqa: S108 - a private directory is made inside
"""Where a stand-in may lie: in memory, which does not fail with the disk, or where TMPDIR says."""
_NAME = re.compile(
    r"tapewatch-stand-in-(?P<space>[0-9]+)-(?P<pid>[0-9]+)-(?P<began>[0-9]+)-[a-z0-9_]+"
)


def stand_in_path(path: Path, parts: Sequence[Path], place: str | None) -> Path:
    """Copy a database with its log to a private directory; return the copy's path.

    What cannot be read is left out: an empty stand-in is better than none.

    Args:
        path: The database.
        parts: It and the files that belong to it.
        place: One of ``PLACES``.

    Raises:
        OSError: No directory can be made there.
    """
    pid = os.getpid()
    owner = f"{_pid_space()}-{pid}-{_start_ticks(pid)}"
    directory = Path(tempfile.mkdtemp(prefix=f"tapewatch-stand-in-{owner}-", dir=place))
    with suppress(OSError):
        present = [part for part in parts if part.exists()]
        if sum(part.stat().st_size for part in present) <= MAX_COPIED_BYTES:
            for part in present:
                shutil.copyfile(part, directory / part.name)
    return directory / path.name


def remove_abandoned(places: Sequence[str | None] = PLACES) -> list[Path]:
    """Remove the stand-ins that killed processes of this user left behind; return them.

    Touched is only what is certainly nobody's: a directory (no link to one) of this user, with
    the name that ``stand_in_path`` gives, whose maker would be seen from here and is gone. A pid
    that was given to another process since is told by the time it began; the pids of another
    container say nothing here.
    """
    removed = []
    space = _pid_space()
    for place in {place or tempfile.gettempdir() for place in places}:
        with suppress(OSError):
            for directory in Path(place).iterdir():
                name = _NAME.fullmatch(directory.name)
                if name is None or int(name["space"]) != space:
                    continue
                with suppress(OSError):
                    found = directory.lstat()
                    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
                    if mine and _start_ticks(int(name["pid"])) != int(name["began"]):
                        shutil.rmtree(directory)
                        removed.append(directory)
    return removed


def _pid_space() -> int:
    """Return the kernel's number of the space in which this process's pid means something."""
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_ticks(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; -1 when there is none.

    Raises:
        OSError: Nobody can tell.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(text.rpartition(")")[2].split()[19])
