"""A private copy to read from while the real file cannot be opened."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_COPIED_BYTES = 64 << 20
"""A larger file is not copied: memory may be all the room there is."""
_PLACES = (None, "/dev/shm")  # noqa: S108 - a private directory is made inside


def stand_in_path(path: Path, parts: Sequence[Path]) -> Path:
    """Copy a database with its log to a private directory; return the copy's path.

    What cannot be copied is left out: an empty stand-in is better than none.

    Args:
        path: The database.
        parts: It and the files that belong to it.

    Raises:
        OSError: No temporary directory can be made anywhere.
    """
    directory = _private_directory()
    with suppress(OSError):
        present = [part for part in parts if part.exists()]
        if sum(part.stat().st_size for part in present) <= MAX_COPIED_BYTES:
            for part in present:
                shutil.copyfile(part, directory / part.name)
    return directory / path.name


def _private_directory() -> Path:
    for place in _PLACES:
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="tapewatch-", dir=place))
    raise OSError("no directory for temporary files can be written")
