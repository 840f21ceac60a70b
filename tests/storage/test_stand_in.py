"""Private copies that killed processes left behind are removed, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tapewatch.storage.stand_in import remove_abandoned, stand_in_path

MAKER = """
import sys, time
from pathlib import Path
from tapewatch.storage.stand_in import stand_in_path
path = Path(sys.argv[1])
print(stand_in_path(path, [path], sys.argv[2]).parent, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "shm"
    path.mkdir()
    (tmp_path / "state.db").write_bytes(b"data")
    return path


def by_a_process(place: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", MAKER, str(place.parent / "state.db"), str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        return process, Path(process.stdout.readline().strip())


@pytest.mark.requirement("F4", "F38", "T33")
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(
    place: Path,
) -> None:
    process, directory = by_a_process(place)
    try:
        assert (directory / "state.db").read_bytes() == b"data"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert remove_abandoned([str(place)]) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert remove_abandoned([str(place)]) == [directory]
    assert list(place.iterdir()) == []


def test_ones_own_is_never_removed(place: Path) -> None:
    copy = stand_in_path(place.parent / "state.db", [place.parent / "state.db"], str(place))
    assert remove_abandoned([str(place)]) == []
    assert copy.exists()


@pytest.mark.requirement("T33")
def test_links_foreign_names_other_owners_and_other_containers_are_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, directory = by_a_process(place)
    process.kill()
    process.wait()
    target = place.parent / "precious"
    target.mkdir()
    (target / "file").touch()
    number = directory.name.removeprefix("tapewatch-stand-in-").split("-")
    dead = "-".join(number[:3])
    others = [
        "tapewatch-demo-abcdefgh",
        "tapewatch-stand-in-",
        f"tapewatch-stand-in-{dead}-UPPER",
        f"tapewatch-stand-in-1-{number[1]}-{number[2]}-abcdefgh",  # of another container
    ]
    for name in others:
        (place / name).mkdir()
    (place / f"tapewatch-stand-in-{dead}-link").symlink_to(target)
    (place / f"tapewatch-stand-in-{dead}-file").touch()

    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 12345)
        assert remove_abandoned([str(place)]) == []
    assert remove_abandoned([str(place)]) == [directory]
    assert (target / "file").exists()
    assert len(list(place.iterdir())) == len(others) + 2


def test_a_pid_that_was_given_to_another_process_is_told_by_its_beginning(place: Path) -> None:
    process, directory = by_a_process(place)
    try:
        space, pid, began, rest = directory.name.removeprefix("tapewatch-stand-in-").split("-")
        older = place / f"tapewatch-stand-in-{space}-{pid}-{int(began) - 1}-{rest}"
        older.mkdir()
        assert remove_abandoned([str(place)]) == [older]
    finally:
        process.kill()
        process.wait()


def test_a_place_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert remove_abandoned([str(tmp_path / "none")]) == []
