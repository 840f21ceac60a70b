"""A SQLite file that is checked when opened, moved aside when damaged, and migrated forward."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tapewatch.model.clock import SECOND
from tapewatch.model.errors import StorageError, StorageFailure
from tapewatch.storage.directory import sync_directory
from tapewatch.storage.failure import kind_of, storage_error
from tapewatch.storage.stand_in import PLACES, stand_in_path

APPLICATION_ID = 0x54415045
"""In the file's header: the letters TAPE."""
CHECK_SECONDS = 2.0
"""How long the check of a file may hold up the start; a larger file is checked in part."""
_OPEN_TIMEOUT_SECONDS = 2.0
_IDLE_READERS = 4
_PROGRESS_STEPS = 20_000
_HEADER_BYTES = 100
_PASSING = frozenset(
    {StorageFailure.FULL, StorageFailure.IO, StorageFailure.LOCKED, StorageFailure.READONLY}
)

# A connection that found the disk read-only stays so when the disk is not any more.
_SPOILS = frozenset({StorageFailure.IO, StorageFailure.CORRUPT, StorageFailure.READONLY})


@dataclass(frozen=True, slots=True)
class Schema:
    """How a store's file came to its present form."""

    what: str
    """The store's name in messages, for example ``state store``."""
    migrations: Sequence[str]
    """One script for each version; the file's version is how many it has seen."""
    columns: Mapping[str, str]
    """Table to the columns that the code reads: what a sound file must have."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the writer uses the file."""

    synchronous: str
    """FULL: a commit is on the disk when it returns. NORMAL: it may be lost by a power cut."""
    busy_seconds: float
    """How long a writer waits for another program before it reports the file as locked."""
    page_size: int = 4096


class Database:
    """One file: one writing connection, and reading connections for everybody else."""

    def __init__(self, path: Path, schema: Schema, settings: Settings) -> None:
        self.path = path
        self.recovered: str | None = None
        """Why a fresh file was begun although there was one; None when that was not so."""
        self.lock = threading.RLock()
        """Held by whoever writes."""
        self._schema = schema
        self._settings = settings
        self._writer: sqlite3.Connection | None = None
        self.refused: StorageError | None = None
        """Why the file could not be opened at first; None once it is open."""
        self.openings = 0
        """How often the file came to be opened: 1 more when a stand-in's time is over."""
        self._stand_in: Database | None = None
        self._opened_ns = 0
        self._unsafe = False
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        self._lent: set[sqlite3.Connection] = set()
        self._readers_lock = threading.Lock()

    @classmethod
    def open(
        cls, path: Path, schema: Schema, settings: Settings, *, now_ns: int, patient: bool = False
    ) -> Database:
        """Open or make the file.

        A file that is damaged, comes from a newer version, or has another form than its version
        says, is moved aside to ``<name>.corrupt-<time>`` and a fresh one is begun; ``recovered``
        then tells why.

        Args:
            path: The file.
            schema: Its form.
            settings: How it is written.
            now_ns: For the name of a damaged file.
            patient: What may pass (a full, failing or read-only disk, another program's lock)
                raises nothing: ``refused`` tells it, reading finds a private copy of what is
                there, and every transaction tries to open the file.

        Raises:
            StorageError: The file cannot be read or made, is locked, or is no file of ours.
        """
        database = cls(path, schema, settings)
        database._opened_ns = now_ns
        try:
            database._open_file(_OPEN_TIMEOUT_SECONDS)
        except StorageError as error:
            if not patient or error.reason not in _PASSING:
                raise
            database._stand_aside(error)
        return database

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Run one transaction: all of it, or nothing and a ``StorageError``.

        After an error of the disk the connection is not used again: what the operating system
        said it had written may be gone from the disk although it still shows it. The next
        transaction opens the file anew and first brings everything that it shows to the disk.
        """
        with self.lock:
            try:
                connection = self._usable()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        if connection.in_transaction:
                            connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                if kind_of(error) in _SPOILS:
                    self._unsafe = True
                raise storage_error(doing, self.path, error) from error

    def vacuum(self, pages: int = 256) -> None:
        """Give at most so many free pages back to the disk.

        Raises:
            StorageError: The file cannot be written.
        """
        with self.lock:
            try:
                # It yields a row without columns for each page, at which execute would stop.
                self._usable().executescript(f"PRAGMA incremental_vacuum({pages})")
            except sqlite3.Error as error:
                raise storage_error("shrinking", self.path, error) from error

    @property
    def is_unsafe(self) -> bool:
        """True after an error of the disk, until the file was opened anew."""
        return self._unsafe

    # -- reading ---------------------------------------------------------------------------

    @contextmanager
    def reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one moment of the file and changes nothing.

        Raises:
            StorageError: The file cannot be read.
        """
        stand_in = self._stand_in
        if stand_in is not None:
            with stand_in.reading(doing) as copy:
                yield copy
            return
        connection: sqlite3.Connection | None = None
        try:
            connection = self._borrow()
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with self._readers_lock:
                # After an error it is closed, not lent again.
                self._lent.discard(connection)
            raise storage_error(doing, self.path, error) from error
        finally:
            if connection is not None:
                self._give_back(connection)

    def integrity(self) -> str:
        """Return ``ok``, or what a full check finds wrong. Reads the whole file."""
        with self.reading("checking") as connection:
            rows = connection.execute("PRAGMA integrity_check(5)").fetchall()
        return "; ".join(str(row[0]) for row in rows)

    def size_bytes(self) -> int:
        """Return the bytes on disk, the write-ahead log included."""
        total = 0
        for part in _parts(self.path):
            with suppress(OSError):
                total += part.stat().st_size
        return total

    def free_bytes(self) -> int:
        """Return the bytes inside the file that hold nothing and are used before it grows."""
        with self.reading("measuring") as connection:
            pages = connection.execute("PRAGMA freelist_count").fetchone()[0]
            return int(pages * connection.execute("PRAGMA page_size").fetchone()[0])

    def backup(self, target: Path) -> None:
        """Write a consistent copy while others write; the copy appears whole or not at all.

        Raises:
            StorageError: The copy cannot be written.
        """
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with suppress(FileNotFoundError):
                temporary.unlink()
            _create(temporary)
            copy = sqlite3.connect(temporary, isolation_level=None)
            try:
                with self.reading("copying") as connection:
                    connection.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            sync_directory(target.parent)
        except (sqlite3.Error, OSError) as error:
            raise storage_error("writing the backup", target, error) from error

    def close(self) -> None:
        """Close all connections. A reader that is still at work ends by itself."""
        with self.lock:
            self._closed = True
            self._drop_readers()
            if self._writer is not None:
                with suppress(sqlite3.Error):
                    self._writer.close()
                self._writer = None
            self._drop_stand_in()

    # -- inside ----------------------------------------------------------------------------

    def _open_file(self, timeout_seconds: float) -> None:
        """Open the file for writing, once what is damaged is out of the way."""
        damage = self._damage(timeout_seconds)
        if damage:
            aside = move_aside(self.path, self._opened_ns)
            self.recovered = (
                f"the {self._schema.what} {self.path} could not be used ({damage}); it was moved "
                f"to {aside.name} and a fresh one was begun"
            )
        try:
            self._begin(timeout_seconds)
        except BaseException as error:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if isinstance(error, sqlite3.Error):
                doing = f"opening the {self._schema.what}"
                raise storage_error(doing, self.path, error) from error
            if isinstance(error, OSError):
                raise storage_error(f"making the {self._schema.what}", self.path, error) from error
            raise
        self.openings += 1

    def _stand_aside(self, refusal: StorageError) -> None:
        """Read from a private copy until the file can be opened."""
        for place in PLACES:
            with suppress(OSError, StorageError):
                copy = stand_in_path(self.path, _parts(self.path), place)
                try:
                    self._stand_in = Database.open(
                        copy, self._schema, self._settings, now_ns=self._opened_ns
                    )
                except StorageError:
                    shutil.rmtree(copy.parent, ignore_errors=True)
                    raise
                self.refused = refusal
                return
        raise refusal

    def _drop_stand_in(self) -> None:
        if self._stand_in is not None:
            stand_in, self._stand_in, self.refused = self._stand_in, None, None
            stand_in.close()
            shutil.rmtree(stand_in.path.parent, ignore_errors=True)

    def _damage(self, timeout_seconds: float) -> str | None:
        """Return what is wrong with the file that is there; None for a sound one or none."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("opening", self.path, error) from error
        if size < _HEADER_BYTES:
            # SQLite would take it for a new file, and throw the log of the lost one away.
            return f"the file has {size} bytes, less than a header"
        connection = self._connect(timeout_seconds)
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if owner != APPLICATION_ID and tables:
                if tables.issuperset(self._schema.columns):
                    return f"it says that it belongs to the program {owner}"
                raise StorageError(
                    f"{self.path} is a database, but not a {self._schema.what} of Tapewatch",
                    next_step="move it away or name another data directory",
                )
            if version < 1:
                return f"it says that it has version {version}"
            if version > len(self._schema.migrations):
                # Refusing to start would leave nobody watching; the newer program finds its file.
                return (
                    f"it has version {version}; this program knows versions up to "
                    f"{len(self._schema.migrations)}"
                )
            return _quick_check(connection) or self._missing(connection, version)
        except sqlite3.Error as error:
            generic = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
            if generic or kind_of(error) is StorageFailure.CORRUPT:
                return str(error)
            raise storage_error(f"opening the {self._schema.what}", self.path, error) from error
        finally:
            with suppress(sqlite3.Error):
                connection.close()

    def _missing(self, connection: sqlite3.Connection, version: int) -> str | None:
        if version != len(self._schema.migrations):
            return None
        for table, columns in self._schema.columns.items():
            try:
                connection.execute(f"SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608 - ours
            except sqlite3.OperationalError as error:
                if kind_of(error) is not StorageFailure.OTHER:
                    raise
                return str(error)
        return None

    def _begin(self, timeout_seconds: float) -> None:
        if not self.path.exists():
            self._make()
        if not os.access(self.path, os.W_OK):
            # SQLite would open it all the same, and say so at the first write.
            raise OSError(errno.EROFS, "it may not be written")
        writer = self._connect(timeout_seconds)
        self._writer = writer
        writer.execute("PRAGMA journal_mode=WAL")
        self._migrate(writer)
        self._prepare(writer)

    def _make(self) -> None:
        """Make a fresh file whole under another name, so that a half-made one is never found."""
        fresh = self.path.with_name(f".{self.path.name}.new")
        for part in _parts(fresh):
            with suppress(FileNotFoundError):
                part.unlink()
        _create(fresh)
        maker = sqlite3.connect(fresh, isolation_level=None)
        try:
            # These two take effect only before the first table is made.
            maker.execute(f"PRAGMA page_size={self._settings.page_size}")
            maker.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._migrate(maker)
        finally:
            maker.close()
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        for suffix in ("-wal", "-shm"):
            # They belong to a file that is gone; with the new one they would be misread.
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).unlink()
        fresh.rename(self.path)
        sync_directory(self.path.parent)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for number, script in enumerate(self._schema.migrations[version:], version + 1):
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={number}")
                connection.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _prepare(self, writer: sqlite3.Connection) -> None:
        writer.execute(f"PRAGMA synchronous={self._settings.synchronous}")
        writer.execute(f"PRAGMA journal_size_limit={16 << 20}")
        writer.execute(f"PRAGMA busy_timeout={int(self._settings.busy_seconds * 1000)}")
        writer.execute("PRAGMA cache_size=-4096")

    def _usable(self) -> sqlite3.Connection:
        """Return the writer, opened anew if it may not be trusted."""
        if self._closed:
            raise StorageError(f"the {self._schema.what} {self.path} is closed")
        if self._writer is not None and not self._unsafe:
            return self._writer
        if self._stand_in is not None:
            self._open_file(self._settings.busy_seconds)
            self._drop_stand_in()
            if self._writer is not None:
                return self._writer
        if self._writer is not None:
            with suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        self._drop_readers()
        writer = self._connect(self._settings.busy_seconds)
        try:
            self._prepare(writer)
            # A failed sync leaves pages that look written and are not. Writing them a second time
            # to the main file, and syncing that, makes what is visible durable again.
            busy = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                raise StorageError(
                    f"opening {self.path} anew after an error of the disk: a reader holds it",
                    reason=StorageFailure.LOCKED,
                )
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        self._unsafe = False
        return writer

    def _connect(self, timeout_seconds: float) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
        )

    def _borrow(self) -> sqlite3.Connection:
        with self._readers_lock:
            if self._closed:
                raise StorageError(f"the {self._schema.what} {self.path} is closed")
            if self._idle:
                connection = self._idle.pop()
                self._lent.add(connection)
                return connection
        if not self.path.exists():
            # Connecting would make an empty file.
            raise StorageError(f"reading {self.path}: the file is gone", reason=StorageFailure.IO)
        connection = self._connect(self._settings.busy_seconds)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-2048")
        with self._readers_lock:
            self._lent.add(connection)
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        with self._readers_lock:
            keep = connection in self._lent and len(self._idle) < _IDLE_READERS
            self._lent.discard(connection)
            if keep and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_readers(self) -> None:
        with self._readers_lock:
            idle, self._idle = self._idle, []
            # Those at work are closed when they come back.
            self._lent.clear()
        for connection in idle:
            connection.close()


def move_aside(path: Path, now_ns: int) -> Path:
    """Rename a damaged database and its log files to ``<name>.corrupt-<time>``; return the name.

    Raises:
        StorageError: The files cannot be renamed.
    """
    stamp = datetime.fromtimestamp(now_ns / SECOND, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    try:
        for part, target in zip(_parts(path), _parts(aside), strict=True):
            with suppress(FileNotFoundError):
                part.rename(target)
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error("moving aside", path, error) from error
    return aside


def _create(path: Path) -> None:
    """Make an empty file that only its owner may read; SQLite gives its log files the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _parts(path: Path) -> list[Path]:
    # The log goes first: a main file without its log is older, a log without its file is nothing.
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def _quick_check(connection: sqlite3.Connection) -> str | None:
    """Return what a check of at most ``CHECK_SECONDS`` finds wrong."""
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return None if found == "ok" else found.replace("\n", " ")


def _statements(script: str) -> list[str]:
    # executescript would commit the transaction that the statements belong to.
    return [part.strip() for part in script.split(";") if part.strip()]
