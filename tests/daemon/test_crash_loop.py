"""Failures in a row make the daemon wait longer before each start; nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.daemon.crash_loop import FILE, Failures
from tapewatch.model.clock import DAY, HOUR, MINUTE, SECOND

NOW = 1_800_000_000 * SECOND


@pytest.mark.requirement("F9")
def test_the_wait_doubles_from_one_second_to_a_minute(tmp_path: Path) -> None:
    waits = []
    for _ in range(9):
        failures = Failures.load(tmp_path)
        waits.append(failures.wait_s(NOW + SECOND))
        failures.failed(tmp_path, NOW - SECOND, NOW)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_run_of_a_minute_begins_the_count_anew(tmp_path: Path) -> None:
    failures = Failures(7, NOW)
    assert failures.failed(tmp_path, NOW, NOW + MINUTE).count == 1
    assert Failures.load(tmp_path).wait_s(NOW + MINUTE) == 1


def test_an_orderly_end_forgets_all(tmp_path: Path) -> None:
    Failures(7, NOW).failed(tmp_path, NOW, NOW)
    Failures.load(tmp_path).clear(tmp_path)
    assert Failures.load(tmp_path) == Failures()


@pytest.mark.parametrize("later", [10 * MINUTE, DAY, -HOUR])
def test_a_start_long_after_or_on_a_clock_set_back_does_not_wait(later: int) -> None:
    assert Failures(7, NOW).wait_s(NOW + later) == 0


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"count": "x", "last_ns": 1}'])
def test_a_file_that_is_no_count_means_no_failure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert Failures.load(tmp_path) == Failures()


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    assert Failures().failed(tmp_path / "none", NOW, NOW).count == 1
