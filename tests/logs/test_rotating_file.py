"""The daemon's own log file: rotated by size and age, surviving what others do to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tapewatch.logs import RotatingFile
from tapewatch.model.errors import TapewatchError

pytestmark = pytest.mark.requirement("S2-98")


class Wall:
    """A wall clock in the test's hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


def opened(
    path: Path, wall: Wall, *, max_bytes: int = 100, age: float = 1e9, backups: int = 2
) -> RotatingFile:
    return RotatingFile(path, max_bytes=max_bytes, max_age_s=age, backups=backups, wall_s=wall)


def test_a_full_file_is_rotated_and_no_line_is_cut_or_lost(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "own.log"
    file = opened(path, wall)
    for number in range(25):
        file.write(b"line %06d\n" % number)
    file.close()
    kept = [tmp_path / name for name in ("own.log.2", "own.log.1", "own.log")]
    assert [p.stat().st_size <= 100 for p in kept] == [True] * 3
    lines = b"".join(p.read_bytes() for p in kept).splitlines()
    assert lines == [b"line %06d" % n for n in range(25 - len(lines), 25)]
    assert not (tmp_path / "own.log.3").exists()


def test_an_old_file_is_rotated_even_when_small(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "own.log"
    file = opened(path, wall, age=3600)
    file.write(b"a\n")
    wall.now += 3599
    file.write(b"b\n")
    wall.now += 1
    file.write(b"c\n")
    file.close()
    assert path.read_bytes() == b"c\n"
    assert path.with_name("own.log.1").read_bytes() == b"a\nb\n"


def test_a_restart_does_not_make_the_file_young_again(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "own.log"
    line = json.dumps(
        {"timestamp": "2027-01-15T08:00:00.000000Z", "event": "x"}, separators=(",", ":")
    )
    path.write_text(line + "\n")
    wall.now = 1_800_000_000.0 + 3600  # 2027-01-15T09:00:00Z
    file = opened(path, wall, age=3600)
    file.write(b"new\n")
    file.close()
    assert path.read_bytes() == b"new\n"


def test_without_backups_the_file_begins_anew(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "own.log"
    file = opened(path, wall, backups=0)
    for number in range(25):
        file.write(b"line %06d\n" % number)
    file.close()
    assert path.stat().st_size <= 100
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.requirement("F45")
def test_a_file_that_others_move_or_remove_is_begun_anew(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "own.log"
    file = opened(path, wall)
    file.write(b"a\n")
    path.rename(tmp_path / "moved")
    file.write(b"b\n")
    path.unlink()
    file.write(b"c\n")
    file.close()
    assert path.read_bytes() == b"c\n"
    assert (tmp_path / "moved").read_bytes() == b"a\n"


def test_the_file_and_its_directory_are_the_owners_alone(tmp_path: Path, wall: Wall) -> None:
    path = tmp_path / "logs" / "own.log"
    opened(path, wall).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "directory", "nowhere"])
def test_what_cannot_be_a_log_file_is_refused_with_the_next_step(
    tmp_path: Path, wall: Wall, kind: str
) -> None:
    path = tmp_path / "own.log"
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind == "directory":
        path.mkdir()
    else:
        path = Path("/proc/own.log")
    with pytest.raises(TapewatchError, match=r"cannot write the log file.*log\.file\.path"):
        opened(path, wall)
