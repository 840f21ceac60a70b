"""Look at everything that can keep Tapewatch from working, one finding for each thing."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import sys
import time
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tapewatch.cli.place import Place
from tapewatch.cli.verdict import counted
from tapewatch.model.errors import ConfigError

if TYPE_CHECKING:
    from tapewatch.config.load import LoadedConfig

_OLDEST_PYTHON = (3, 11)
_LITTLE_SPACE = 1 << 30
_TOO_LITTLE_SPACE = 128 << 20
"""A tape takes 80 MiB: with less than this an engine cannot begin one."""
_PROBE_BYTES = 64 * 1024
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
_CLOCK_TOLERANCE_S = 5.0
_CONNECT_S = 3.0


class Outcome(StrEnum):
    """What came of looking at one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CONFIGURED = "not_configured"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    found: str
    fix: str = ""
    """What to do; empty when there is nothing to do."""


def findings(place: Place, config: Path | None, *, network: bool) -> Iterator[Finding]:
    """Yield every finding. Looks only, apart from a small file in the data directory.

    Args:
        place: The daemon's place.
        config: The configuration file that a flag named.
        network: True to connect to webhooks as well; nothing is sent to them.
    """
    yield _python()
    yield from _configuration(config, place)
    yield from _data_directory(place.data_dir)
    held_by = _lock_holder(place.data_dir)
    yield _lock(place.data_dir, held_by)
    yield _port(place, held_by)
    yield _clock(place.data_dir)
    yield _time_zones(place)
    if place.config is not None:
        yield _token(place.config)
        yield _session(place.config)
        yield from _receivers(place.config, network=network)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return Finding("python", Outcome.FAILED, version, "use Python 3.11 or newer")
    return Finding("python", Outcome.OK, version)


def _configuration(path: Path | None, place: Place) -> Iterator[Finding]:
    from tapewatch.config.load import load_config
    from tapewatch.daemon.rule_set import load_rule_set

    name = "configuration"
    try:
        loaded = (place.config if path is None else None) or load_config(path)
    except ConfigError as error:
        yield _config_finding(name, error)
        return
    where = str(loaded.path) if loaded.path is not None else "defaults; there is no file"
    if loaded.warnings:
        yield Finding(name, Outcome.WARNING, f"{where}: {'; '.join(loaded.warnings)}")
    else:
        yield Finding(name, Outcome.OK, where)
    try:
        rules = load_rule_set(loaded)
    except ConfigError as error:
        yield _config_finding("rules", error)
        return
    count = sum(len(group.rules) for group in rules.groups)
    groups = counted(len(rules.groups), "group")
    told = f"{counted(count, 'rule')} in {groups}"
    if rules.warnings:
        yield Finding("rules", Outcome.WARNING, f"{told}; {'; '.join(map(str, rules.warnings))}")
    else:
        yield Finding("rules", Outcome.OK, told)


def _config_finding(name: str, error: ConfigError) -> Finding:
    first = str(error.problems[0]) if error.problems else error.message
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    return Finding(name, Outcome.FAILED, first + more, "tapewatch check-config shows them all")


def _data_directory(path: Path) -> Iterator[Finding]:
    name = "data directory"
    try:
        info = path.stat()
    except FileNotFoundError:
        base = _nearest_existing(path)
        if (why := _cannot_hold(base)) is not None:
            said = f"{path} cannot be made: {base} {why}"
            yield Finding(name, Outcome.FAILED, said, "name another: --data-dir")
            return
        yield Finding(name, Outcome.OK, f"{path} is made by the first start")
        yield from _space(base)
        yield Finding("preallocation", Outcome.SKIPPED, "there is no data directory yet")
        return
    except OSError as error:
        yield Finding(name, Outcome.FAILED, f"{path}: {error.strerror}", "name another: --data-dir")
        return
    mode = stat.S_IMODE(info.st_mode)
    if not stat.S_ISDIR(info.st_mode):
        yield Finding(
            name, Outcome.FAILED, f"{path} is not a directory", "name another: --data-dir"
        )
        return
    if info.st_uid != os.getuid() and os.getuid() != 0:
        yield Finding(
            name,
            Outcome.FAILED,
            f"{path} belongs to user {info.st_uid}, we are user {os.getuid()}",
            f"run as that user, or: sudo chown -R {os.getuid()} {path}",
        )
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Finding(name, Outcome.FAILED, f"{path} cannot be written", f"chmod u+rwx {path}")
    elif mode & 0o007:
        yield Finding(
            name,
            Outcome.WARNING,
            f"{path} can be read by every user (mode {mode:04o})",
            f"chmod 700 {path}",
        )
    else:
        yield Finding(name, Outcome.OK, f"{path}, mode {mode:04o}")
    yield from _space(path)
    yield _preallocation(path)


def _cannot_hold(base: Path) -> str | None:
    """Return why no directory can be made in this place; None if it looks as if one can."""
    if not base.is_dir():
        return "is not a directory"
    if not os.access(base, os.W_OK | os.X_OK):
        return "cannot be written"
    # /proc and its like: even root, whom every access is granted, makes nothing there.
    return "is no place for files" if os.statvfs(base).f_blocks == 0 else None


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _space(path: Path) -> Iterator[Finding]:
    try:
        disk = os.statvfs(path)
    except OSError as error:
        yield Finding("free space", Outcome.SKIPPED, f"{path}: {error.strerror}")
        return
    free = disk.f_bavail * disk.f_frsize
    text = f"{free / 2**30:,.1f} GiB free at {path}"
    fix = "free some space, or name a data directory on another disk"
    if free < _TOO_LITTLE_SPACE:
        yield Finding("free space", Outcome.FAILED, text, fix)
    elif free < _LITTLE_SPACE:
        yield Finding("free space", Outcome.WARNING, text, fix)
    else:
        yield Finding("free space", Outcome.OK, text)


def _preallocation(path: Path) -> Finding:
    """A tape is preallocated so that a full disk cannot kill an engine that writes to it."""
    name = "preallocation"
    probe = path / f".doctor-{os.getpid()}"
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(probe, flags, 0o600)
    except OSError as error:
        return Finding(name, Outcome.SKIPPED, f"no file can be made there: {error.strerror}")
    try:
        os.posix_fallocate(descriptor, 0, _PROBE_BYTES)
    except OSError as error:
        fix = "use a file system that can preallocate (ext4, xfs, btrfs, tmpfs)"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space, or name a data directory on another disk"
        return Finding(name, Outcome.FAILED, f"fallocate: {error.strerror}", fix)
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
    return Finding(name, Outcome.OK, "works")


def _lock_holder(path: Path) -> int | None:
    """Return the pid that holds the directory, 0 if it is not known, None if nobody does."""
    from tapewatch.storage.lock import LOCK_NAME

    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        # A shared lock is refused exactly while a daemon holds its exclusive one.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 20).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _lock(path: Path, held_by: int | None) -> Finding:
    if held_by is None:
        return Finding("lock", Outcome.OK, "free: no daemon runs here")
    return Finding("lock", Outcome.OK, f"a daemon runs here, pid {held_by or 'unknown'}")


def _port(place: Place, held_by: int | None) -> Finding:
    name = "port"
    url = urlsplit(place.url)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and held_by is not None:
            return Finding(name, Outcome.OK, f"{host}:{port} is in use, as a daemon runs here")
        return Finding(
            name,
            Outcome.FAILED,
            f"{host}:{port}: {error.strerror or error}",
            "stop what uses it, or set another with --listen or the key listen",
        )
    return Finding(name, Outcome.OK, f"{host}:{port} is free")


def _clock(path: Path) -> Finding:
    now = time.time()
    if now < _EARLIEST.timestamp():
        return Finding("clock", Outcome.FAILED, f"it says {_moment(now)}", "set the clock; use NTP")
    newest = max((_mtime(path / n) for n in ("state.db", "state.db-wal")), default=0.0)
    if newest > now + _CLOCK_TOLERANCE_S:
        return Finding(
            "clock",
            Outcome.WARNING,
            f"it says {_moment(now)}, but the saved state is from {_moment(newest)}",
            "the clock was set back; let NTP set it",
        )
    return Finding("clock", Outcome.OK, _moment(now))


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _time_zones(place: Place) -> Finding:
    if zoneinfo.available_timezones():
        return Finding("time zones", Outcome.OK, f"alert files are dated in {place.zone}")
    return Finding(
        "time zones",
        Outcome.WARNING,
        "no time zone database; only UTC works",
        "apt install tzdata, or: pip install tzdata",
    )


def _token(config: LoadedConfig) -> Finding:
    if config.settings.web.auth_token is None:
        return Finding("web token", Outcome.NOT_CONFIGURED, "this machine only is answered")
    return Finding("web token", Outcome.OK, "set")


def _session(config: LoadedConfig) -> Finding:
    session = config.settings.session
    if session is None:
        return Finding("session", Outcome.NOT_CONFIGURED, "the market counts as always open")
    zone = session.timezone or config.settings.timezone
    return Finding("session", Outcome.OK, f"{session.name}: {session.open}-{session.close} {zone}")


def _receivers(config: LoadedConfig, *, network: bool) -> Iterator[Finding]:
    from tapewatch.config.model import JsonlReceiverSettings, WebhookReceiverSettings

    for receiver in config.settings.receivers:
        name = f"receiver {receiver.name}"
        if isinstance(receiver, JsonlReceiverSettings):
            directory = config.alerts_directory
            if receiver.directory is not None:
                directory = config.below_data(receiver.directory)
            yield _writable(name, directory)
        elif isinstance(receiver, WebhookReceiverSettings):
            yield _reachable(name, config.webhook_url(receiver), network=network)
        else:
            yield Finding(name, Outcome.OK, receiver.kind)


def _writable(name: str, directory: Path) -> Finding:
    existing = _nearest_existing(directory)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            name, Outcome.FAILED, f"{existing} cannot be written", f"chmod u+rwx {existing}"
        )
    return Finding(name, Outcome.OK, f"{directory}")


def _reachable(name: str, address: str, *, network: bool) -> Finding:
    url = urlsplit(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    where = f"{url.hostname}:{port}"
    if not network:
        return Finding(name, Outcome.SKIPPED, f"{where} was not called; --network does")
    try:
        with socket.create_connection((url.hostname or "", port), timeout=_CONNECT_S):
            return Finding(name, Outcome.OK, f"{where} accepts connections")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            name, Outcome.FAILED, f"{where}: {reason}", "check the address and the firewall"
        )
