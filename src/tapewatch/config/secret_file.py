"""Read one secret from a file that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MAX_BYTES = 64 * 1024


def read_secret(path: Path, *, managed: bool = False) -> str:
    """Return the secret in a file, without the line end that editors add.

    Args:
        path: The file.
        managed: True for files of a secrets directory, whose rights the platform sets
            (systemd credentials, container secrets).

    Raises:
        ValueError: The file cannot be used; the message never repeats its content.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ValueError(f"the secret file {path} does not exist") from None
    except OSError as error:
        raise ValueError(f"the secret file {path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError(f"the secret file {path} is not a regular file")
        if not managed and info.st_mode & 0o077:
            raise ValueError(
                f"the secret file {path} can be read by other users (mode "
                f"{stat.S_IMODE(info.st_mode):04o}, expected 0600); run: chmod 600 {path}"
            )
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"the secret file {path} is larger than {_MAX_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"the secret file {path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"the secret file {path} is empty")
    return text
