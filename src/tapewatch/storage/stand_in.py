"""A private copy to read from while the real file cannot be opened."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_COPIED_BYTES = 64 << 20
"""A larger file is not copied: memory may be all the room there is."""
PLACES = ("/dev/shm", None)  # noqa: S108 - a private directory is made inside
"""Where a stand-in may lie: in memory, which does not fail with the disk, or where TMPDIR says."""


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
    directory = Path(tempfile.mkdtemp(prefix="tapewatch-", dir=place))
    with suppress(OSError):
        present = [part for part in parts if part.exists()]
        if sum(part.stat().st_size for part in present) <= MAX_COPIED_BYTES:
            for part in present:
                shutil.copyfile(part, directory / part.name)
    return directory / path.name
