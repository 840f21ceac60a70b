"""Replace a file whole: whoever reads sees the old content or the new, never a part."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from tapewatch.storage.directory import sync_directory
from tapewatch.storage.failure import storage_error

MODE = 0o600


def write_atomic(path: Path, data: bytes, *, mode: int = MODE) -> None:
    """Write a file so that it survives a crash at any moment as its old or its new self.

    1. Write a temporary file in the same directory, so that renaming stays inside one disk.
    2. Sync it: a rename must never point to content that is not on the disk.
    3. Rename it over the target.
    4. Sync the directory: until then the rename itself may be undone by a power cut.

    Raises:
        StorageError: Any of it failed; the target is then as it was before, or already new.
    """
    # The name is random and the file must not exist: nobody can put a link in its place.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, mode)
        try:
            # The umask must not decide who may read.
            os.fchmod(descriptor, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise storage_error("writing", path, error) from error
