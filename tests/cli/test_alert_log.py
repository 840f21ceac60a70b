"""The alert files as one stream, whatever happens to them."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.cli.alert_log import AlertFollower, dated_files

pytestmark = pytest.mark.requirement("F45", "S5-86")


def day(directory: Path, number: int) -> Path:
    return directory / f"2026-11-{number:02d}.jsonl"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def everything(_line: bytes) -> bool:
    return True


def test_only_dated_files_count_and_in_order(tmp_path: Path) -> None:
    for name in ("2026-11-21.jsonl", "2026-11-03.jsonl", "notes.jsonl", "2026-11-21.jsonl.1"):
        (tmp_path / name).touch()
    assert [p.name for p in dated_files(tmp_path)] == ["2026-11-03.jsonl", "2026-11-21.jsonl"]
    assert dated_files(tmp_path, date(2026, 11, 4)) == [tmp_path / "2026-11-21.jsonl"]
    assert dated_files(tmp_path / "absent") == []


def test_the_last_lines_reach_back_over_the_date(tmp_path: Path) -> None:
    append(day(tmp_path, 1), b"a\nb\nc\n")
    append(day(tmp_path, 2), b"d\n")
    follower = AlertFollower(tmp_path)
    assert follower.last(3, everything) == [b"b", b"c", b"d"]
    assert list(follower.poll()) == []
    follower.close()


def test_the_last_lines_count_only_those_that_are_wanted(tmp_path: Path) -> None:
    append(day(tmp_path, 1), b"x1\ny\nx2\ny\nx3\ny\n")
    follower = AlertFollower(tmp_path)
    assert follower.last(2, lambda line: line.startswith(b"x")) == [b"x2", b"x3"]
    follower.close()


def test_a_rotation_between_the_last_lines_and_the_next_loses_nothing(tmp_path: Path) -> None:
    path = day(tmp_path, 1)
    append(path, b"one\n")
    follower = AlertFollower(tmp_path)
    assert follower.last(10, everything) == [b"one"]
    append(path, b"two\n")
    path.rename(path.with_suffix(".jsonl.1"))
    append(path, b"new\n")
    assert list(follower.poll()) == [b"two", b"new"]
    follower.close()


def test_the_last_lines_of_a_huge_file_are_found_without_reading_it(tmp_path: Path) -> None:
    path = day(tmp_path, 1)
    with path.open("wb") as file:
        file.truncate(5 << 30)  # sparse: 5 GB that take no room
        file.seek(0, 2)
        file.write(b"\nlast\n")
    follower = AlertFollower(tmp_path)
    assert follower.last(1, lambda line: line == b"last") == [b"last"]
    assert list(follower.poll()) == []
    follower.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=12).map(lambda b: b.replace(b"\n", b"n")), max_size=40),
    st.integers(0, 45),
    st.lists(st.integers(1, 30), max_size=30),
)
def test_last_lines_and_following_give_every_line_exactly_once(
    lines: list[bytes], shown_first: int, cuts: list[int]
) -> None:
    """Whatever is written before and after, and wherever a write is cut."""
    data = b"".join(line + b"\n" for line in lines)
    split = min(sum(cuts[:3]), len(data))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        append(day(directory, 1), data[:split])
        complete = data[:split].count(b"\n")
        follower = AlertFollower(directory)
        first = follower.last(shown_first, everything)
        assert first == lines[max(0, complete - shown_first) : complete]
        followed = list(follower.poll())
        position = split
        for size in cuts[3:]:
            append(day(directory, 1), data[position : position + size])
            position += size
            followed += follower.poll()
        append(day(directory, 1), data[position:])
        followed += follower.poll()
        follower.close()
        assert followed == lines[complete:]


def test_the_date_changes_and_late_lines_of_yesterday_still_come(tmp_path: Path) -> None:
    follower = AlertFollower(tmp_path)
    assert list(follower.poll()) == []
    append(day(tmp_path, 1), b"a\n")
    assert list(follower.poll()) == [b"a"]
    append(day(tmp_path, 2), b"b\n")
    append(day(tmp_path, 1), b"late\n")
    assert list(follower.poll()) == [b"late", b"b"]
    append(day(tmp_path, 3), b"c\n")
    append(day(tmp_path, 2), b"b2\n")
    assert list(follower.poll()) == [b"b2", b"c"]
    follower.close()


def test_a_file_that_is_rotated_away_is_read_to_its_end_first(tmp_path: Path) -> None:
    path = day(tmp_path, 1)
    append(path, b"a\n")
    follower = AlertFollower(tmp_path)
    assert list(follower.poll()) == [b"a"]
    append(path, b"b\n")
    path.rename(path.with_suffix(".jsonl.1"))
    append(path, b"c\n")
    assert list(follower.poll()) == [b"b", b"c"]
    follower.close()


def test_a_file_that_is_removed_and_comes_back_is_begun_anew(tmp_path: Path) -> None:
    path = day(tmp_path, 1)
    append(path, b"a\n")
    follower = AlertFollower(tmp_path)
    list(follower.poll())
    path.unlink()
    assert list(follower.poll()) == []
    append(path, b"b\n")
    assert list(follower.poll()) == [b"b"]
    follower.close()


def test_a_file_that_is_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = day(tmp_path, 1)
    append(path, b"first\nsecond\n")
    follower = AlertFollower(tmp_path)
    list(follower.poll())
    path.write_bytes(b"new\n")
    assert list(follower.poll()) == [b"new"]
    follower.close()


def test_a_line_without_an_end_is_dropped_and_counted(tmp_path: Path) -> None:
    follower = AlertFollower(tmp_path)
    append(day(tmp_path, 1), b"whole\n")
    append(day(tmp_path, 2), b"x" * (5 << 20))
    assert list(follower.poll()) == [b"whole"]
    assert follower.dropped == 1
    follower.close()


def test_a_directory_that_appears_later_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "logs" / "alerts"
    follower = AlertFollower(directory)
    assert list(follower.poll()) == []
    directory.mkdir(parents=True)
    append(day(directory, 1), b"a\n")
    assert list(follower.poll()) == [b"a"]
    follower.close()
