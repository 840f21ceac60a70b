"""``tapewatch tail`` in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tapewatch.model.severity import AlertSeverity

pytestmark = pytest.mark.requirement("S5-32", "S5-65", "S5-86")


class AlertFiles:
    """The alert files of a data directory, as the receiver writes them."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "logs" / "alerts"
        self.directory.mkdir(parents=True)

    def path(self, at_ns: int) -> Path:
        date = datetime.fromtimestamp(at_ns / 1e9, UTC).date()
        return self.directory / f"{date.isoformat()}.jsonl"

    def append(self, line: str, at_ns: int | None = None) -> None:
        with self.path(at_ns or time.time_ns()).open("a", encoding="utf-8") as file:
            file.write(line)


@pytest.fixture
def files(command) -> AlertFiles:
    return AlertFiles(command.home / "data")


def tail(command, *arguments: str, **options):  # type: ignore[no-untyped-def]
    data = str(command.home / "data")
    return command("tail", "--data-dir", data, *arguments, **options)


class Following:
    """A tail that is followed, its lines read as they come."""

    def __init__(self, command, *arguments: str) -> None:  # type: ignore[no-untyped-def]
        data = str(command.home / "data")
        self.process = command.start("tail", "--data-dir", data, *arguments)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def until(self, count: int) -> list[str]:
        with self._changed:
            reached = self._changed.wait_for(lambda: len(self.lines) >= count, timeout=30)
        assert reached, f"{len(self.lines)} lines instead of {count}: {self.lines}"
        return self.lines

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout, self.process.stderr as stream:
            return code, stream.read()


def test_the_last_lines_are_shown_for_people(command, files, line_of) -> None:
    now = time.time_ns()
    for number in range(15):
        files.append(line_of(f"rule_{number}", now))
    done = tail(command, "--no-follow")
    assert done.returncode == 0
    shown = done.stdout.splitlines()
    assert [line.split()[4] for line in shown] == [f"rule_{n}" for n in range(5, 15)]
    stamp = datetime.fromtimestamp(now / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert shown[-1] == f"{stamp}  WARNING    firing    rule_14  rule_14 fires"


@pytest.mark.requirement("S5-59")
def test_a_severity_means_that_one_and_above(command, files, line_of) -> None:
    now = time.time_ns()
    for severity in AlertSeverity:
        files.append(line_of(severity.label, now, severity=severity))
    done = tail(command, "--no-follow", "--severity", "CRITICAL")
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["critical", "emergency"]


def test_since_reaches_over_midnight(command, files, line_of) -> None:
    now = time.time_ns()
    for hours in (30, 23, 5, 1):
        at = now - hours * 3600 * 10**9
        files.append(line_of(f"ago_{hours}", at), at)
    done = tail(command, "--no-follow", "--since", "24h")
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["ago_23", "ago_5", "ago_1"]
    begin = (datetime.now(UTC) - timedelta(hours=6)).isoformat()
    done = tail(command, "--no-follow", "--since", begin)
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["ago_5", "ago_1"]


@pytest.mark.requirement("F45")
def test_new_lines_are_followed_through_the_change_of_the_date(command, files, line_of) -> None:
    yesterday = time.time_ns() - 24 * 3600 * 10**9
    files.append(line_of("old", yesterday), yesterday)
    following = Following(command)
    following.until(1)
    files.append(line_of("before_midnight", yesterday), yesterday)
    following.until(2)
    files.append(line_of("after_midnight", time.time_ns()))
    lines = following.until(3)
    assert [line.split()[4] for line in lines] == ["old", "before_midnight", "after_midnight"]
    following.stop()


@pytest.mark.requirement("F45")
def test_a_rotation_in_between_loses_nothing(command, files, line_of) -> None:
    now = time.time_ns()
    files.append(line_of("one", now))
    following = Following(command)
    following.until(1)
    path = files.path(now)
    path.rename(path.with_suffix(".jsonl.1"))
    files.append(line_of("two", now))
    assert following.until(2)[1].split()[4] == "two"
    following.stop()


@pytest.mark.requirement("F13")
def test_ctrl_c_ends_it_cleanly(command, files, line_of) -> None:
    files.append(line_of("one", time.time_ns()))
    following = Following(command)
    following.until(1)
    code, complaints = following.stop()
    assert code == 130
    assert "Traceback" not in complaints


@pytest.mark.requirement("F13")
def test_a_reader_that_goes_away_ends_it_quietly(command, files, line_of) -> None:
    now = time.time_ns()
    files.append("".join(line_of(f"rule_{n}", now) for n in range(20_000)))
    arguments = f"-m tapewatch tail --data-dir {command.home / 'data'} --since 1h"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {arguments} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=command.environ,
    )
    first, code = done.stdout.splitlines()
    assert "rule_0" in first
    assert code == "141"
    assert done.stderr == ""


@pytest.mark.requirement("T9")
def test_what_a_terminal_might_obey_is_shown_escaped(command, files, line_of) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e red \x1b[31m\r\nforged line"
    files.append(line_of("evil\x1b[2J", time.time_ns(), summary=evil))
    done = tail(command, "--no-follow")
    assert len(done.stdout.splitlines()) == 1
    assert not set(done.stdout) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}
    assert r"\x1b]0;owned\x07\x9b2J\u202e red" in done.stdout


@pytest.mark.requirement("T9")
def test_json_is_exactly_what_the_file_holds(command, files, line_of) -> None:
    line = line_of("evil", time.time_ns(), summary="\x1b[31m\u2028 red")
    files.append(line)
    done = tail(command, "--no-follow", "--json")
    assert done.stdout == line
    assert json.loads(done.stdout)["message"] == "\x1b[31m\u2028 red"


@pytest.mark.requirement("T10", "F45")
def test_torn_and_foreign_lines_are_left_out_and_told(command, files, line_of) -> None:
    now = time.time_ns()
    files.append('{"timestamp": "2026-\n[1, 2]\nnot json\n\n' + line_of("good", now))
    files.append(line_of("torn", now)[:40])
    done = tail(command, "--no-follow", "--since", "1h")
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["good"]
    assert done.stderr.count("left out a line") >= 1


@pytest.mark.requirement("S5-88")
def test_without_any_file_it_says_so_and_waits_for_the_first(command, line_of) -> None:
    (command.home / "data").mkdir()
    assert "no alert file in" in tail(command, "--no-follow").stderr
    following = Following(command)
    files = AlertFiles(command.home / "data")
    files.append(line_of("first", time.time_ns()))
    assert following.until(1)[0].split()[4] == "first"
    following.stop()


def test_an_unreadable_directory_is_an_error(command, files) -> None:
    files.directory.rmdir()
    files.directory.touch()
    done = tail(command, "--no-follow")
    assert done.returncode == 1
    assert done.stderr.startswith("tapewatch: error: cannot read the alert directory")
