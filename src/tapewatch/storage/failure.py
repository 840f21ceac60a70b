"""Say what is wrong with a database, in the words of the error tree."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from tapewatch.model.errors import StorageError, StorageFailure

_KINDS = {
    sqlite3.SQLITE_FULL: StorageFailure.FULL,
    sqlite3.SQLITE_BUSY: StorageFailure.LOCKED,
    sqlite3.SQLITE_LOCKED: StorageFailure.LOCKED,
    sqlite3.SQLITE_PROTOCOL: StorageFailure.LOCKED,
    sqlite3.SQLITE_IOERR: StorageFailure.IO,
    sqlite3.SQLITE_CANTOPEN: StorageFailure.IO,
    sqlite3.SQLITE_CORRUPT: StorageFailure.CORRUPT,
    sqlite3.SQLITE_NOTADB: StorageFailure.CORRUPT,
    sqlite3.SQLITE_READONLY: StorageFailure.READONLY,
    sqlite3.SQLITE_PERM: StorageFailure.READONLY,
}
_NEXT_STEPS = {
    StorageFailure.FULL: "free space on the disk; nothing is lost meanwhile, it is tried again",
    StorageFailure.LOCKED: "end the other program that holds the file; it is tried again",
    StorageFailure.IO: "look at the disk and the kernel's log; it is tried again",
    StorageFailure.CORRUPT: "restart the daemon: it moves the file aside and begins a fresh one",
    StorageFailure.READONLY: "make the data directory writable for the daemon's user",
}
_FULL_ERRNOS = frozenset({28, 122})
_READONLY_ERRNOS = frozenset({1, 13, 30})


def kind_of(error: sqlite3.Error) -> StorageFailure:
    """Return the kind of a database error."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StorageFailure.OTHER
    # The low byte is the primary code; the rest says where it happened.
    return _KINDS.get(code & 0xFF, StorageFailure.OTHER)


def storage_error(doing: str, path: Path, error: sqlite3.Error | OSError) -> StorageError:
    """Return the error to raise when ``doing`` something to the file at ``path`` failed."""
    if isinstance(error, OSError):
        kind = StorageFailure.IO
        if error.errno in _FULL_ERRNOS:
            kind = StorageFailure.FULL
        elif error.errno in _READONLY_ERRNOS:
            kind = StorageFailure.READONLY
        found = error.strerror or str(error)
    else:
        kind = kind_of(error)
        if kind is StorageFailure.IO and not os.access(path.parent, os.W_OK):
            # SQLite cannot make its log file there, and calls that "unable to open".
            kind = StorageFailure.READONLY
        name = getattr(error, "sqlite_errorname", "")
        found = f"{error} ({name})" if name else str(error)
    return StorageError(
        f"{doing} {path}: {found}", reason=kind, next_step=_NEXT_STEPS.get(kind, "")
    )
