"""Faults are worked on real processes, and on small disks of their own where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.oracle import Oracle, chaos_config
from tests.real_processes import daemon, engine, sink

__all__ = ["daemon", "engine", "sink"]

FULL = os.environ.get("TAPEWATCH_CHAOS") == "full"


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine does not allow to mount: {done.stderr.strip()}")


class SmallDisk:
    """A memory disk of a given size in place of a directory."""

    def __init__(self, path: Path, size: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path))

    def resize(self, size: str) -> None:
        _mount("-o", f"remount,size={size}", str(self.path))

    def fill(self, leave: int = 0) -> None:
        """Write until nothing but the given bytes is free."""
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize - leave
        # Unbuffered: what found no room is not tried again when the file is closed.
        with (self.path / "filler").open("ab", buffering=0) as file:
            for start in range(0, free, 4096):
                try:
                    file.write(b"x" * min(4096, free - start))
                except OSError:
                    return

    def empty(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)

    def read_only(self, flag: str = "ro") -> None:
        _mount("-o", f"remount,{flag}", str(self.path))

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@contextmanager
def bound_read_only(path: Path) -> Iterator[None]:
    """Put a read-only view of the directory over itself for a while."""
    _mount("--bind", str(path), str(path))
    try:
        _mount("-o", "remount,ro,bind", str(path))
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Return a function that puts a small disk under the daemon's data directory."""
    made: list[SmallDisk] = []

    def make(size: str) -> SmallDisk:
        made.append(SmallDisk(tmp_path / "data", size))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def chaos(
    small_disk: Any, daemon: Any, engine: Any, sink: Any, tmp_path: Path
) -> Callable[..., tuple[Any, Oracle]]:
    """Return a function that prepares a daemon, an engine at work and the oracle over both.

    ``small_disk`` is asked for so that a disk outlives the processes that use it.
    """

    def make(config: str = "", *, engines: int = 1, **kwargs: Any) -> tuple[Any, Oracle]:
        running = daemon(chaos_config(tmp_path, sink.receiver()) + config, **kwargs)
        started = [engine(f"engine{n}", rate=100, cadence=1) for n in range(engines)]
        return running, Oracle(started, sink)

    return make
