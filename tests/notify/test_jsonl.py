"""The alert files: whole lines on the disk, each record once, kept for 90 days."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tapewatch.alerts.record import parse_record
from tapewatch.alerts.tail import LineReader
from tapewatch.model.clock import DAY, HOUR, SECOND
from tapewatch.model.errors import DeliveryError
from tapewatch.notify.jsonl import JsonlReceiver
from tapewatch.notify.jsonl.daily_file import DailyFile, local_date
from tapewatch.testing.alerts import START_NS, firing_alert, notification

KOLKATA = ZoneInfo("Asia/Kolkata")


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.requirement("S5-03", "S5-40", "S5-83", "S5-88")
def test_a_notification_becomes_a_line_in_the_file_of_the_local_date(tmp_path: Path) -> None:
    receiver = JsonlReceiver(tmp_path / "logs" / "alerts", tz=KOLKATA)
    # 23:59:59 and 00:00:00 in Mumbai, both 18:xx UTC on the fifth.
    late = START_NS + 9 * HOUR + 14 * 60 * SECOND + 59 * SECOND
    for created_ns in (late, late + 60 * SECOND):
        asyncio.run(receiver.send(notification(created_at_ns=created_ns, key=str(created_ns))))
    names = sorted(p.name for p in (tmp_path / "logs" / "alerts").iterdir())
    assert names == ["2026-01-05.jsonl", "2026-01-06.jsonl"]
    (record,) = records(tmp_path / "logs" / "alerts" / "2026-01-06.jsonl")
    assert parse_record(record) == notification().alerts[0]
    asyncio.run(receiver.close())


@pytest.mark.requirement("S5-88", "T25")
def test_directory_and_file_belong_to_their_owner_alone(tmp_path: Path) -> None:
    JsonlReceiver(tmp_path / "logs" / "alerts").write(notification())
    for path in (tmp_path / "logs", tmp_path / "logs" / "alerts"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (file,) = (tmp_path / "logs" / "alerts").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.requirement("F45", "F3")
def test_a_record_that_is_there_already_is_not_written_again_after_a_crash(tmp_path: Path) -> None:
    JsonlReceiver(tmp_path).write(notification(key="a"))
    again = JsonlReceiver(tmp_path)
    again.write(notification(key="a"))
    again.write(notification(key="b"))
    again.write(notification(key="b"))
    (file,) = tmp_path.iterdir()
    assert [r["key"] for r in records(file)] == ["a", "b"]


def test_a_label_cannot_pass_for_a_key(tmp_path: Path) -> None:
    JsonlReceiver(tmp_path).write(notification(firing_alert(key="b"), key="a"))
    JsonlReceiver(tmp_path).write(notification(key="b"))
    (file,) = tmp_path.iterdir()
    assert [r["key"] for r in records(file)] == ["a", "b"]


@pytest.mark.requirement("F45")
def test_a_torn_last_line_is_closed_before_the_next_record(tmp_path: Path) -> None:
    receiver = JsonlReceiver(tmp_path)
    receiver.write(notification(key="a"))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for cut in (1, 2, 10, len(whole) // 2, len(whole) - 2):
        file.write_bytes(whole + whole[:cut])
        JsonlReceiver(tmp_path).write(notification(key="b"))
        assert file.read_bytes().startswith(whole + whole[:cut] + b"\n{")
        reader = LineReader()
        keys = [line.fields["key"] for line in reader.feed(file.read_bytes())]
        assert keys == ["a", "b"]
        assert reader.skipped == 1


@pytest.mark.requirement("F45")
def test_a_whole_record_without_its_line_end_is_not_written_twice(tmp_path: Path) -> None:
    JsonlReceiver(tmp_path).write(notification(key="a"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    again = JsonlReceiver(tmp_path)
    again.write(notification(key="a"))
    again.write(notification(key="b"))
    assert [r["key"] for r in records(file)] == ["a", "b"]


@pytest.mark.requirement("F45")
def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    receiver = JsonlReceiver(tmp_path)
    receiver.write(notification(key="a"))
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "kept.txt")
    receiver.write(notification(key="a"))
    assert [r["key"] for r in records(file)] == ["a"]


@pytest.mark.requirement("F45")
def test_a_large_file_is_read_only_at_its_end(tmp_path: Path) -> None:
    receiver = JsonlReceiver(tmp_path)
    receiver.write(notification(key="a"))
    (file,) = tmp_path.iterdir()
    with file.open("ab") as handle:
        handle.truncate(5 << 30)  # sparse: five gigabytes that take no room
    again = JsonlReceiver(tmp_path)
    again.write(notification(key="b"))
    size = file.stat().st_size
    with file.open("rb") as handle:
        handle.seek(size - 4096)
        assert b'"key":"b"' in handle.read()


@pytest.mark.requirement("S5-88")
def test_a_path_that_cannot_be_written_is_reported_with_its_name(tmp_path: Path) -> None:
    blocked = tmp_path / "alerts"
    blocked.write_text("a file where the directory should be")
    with pytest.raises(DeliveryError, match=r"alerts/2026-01-05\.jsonl") as caught:
        JsonlReceiver(blocked).write(notification())
    assert not caught.value.permanent


def test_a_symlink_or_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("")
    link = tmp_path / "alerts"
    link.mkdir()
    file = link / "2026-01-05.jsonl"
    file.symlink_to(target)
    with pytest.raises(DeliveryError):
        JsonlReceiver(link).write(notification())
    assert target.read_text() == ""
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DeliveryError, match="not a regular file"):
        JsonlReceiver(link).write(notification())


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tapewatch.model.errors import DeliveryError
from tapewatch.notify.jsonl import JsonlReceiver
from tapewatch.testing.alerts import notification

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
receiver = JsonlReceiver(Path(sys.argv[1]))
receiver.write(notification(key="a"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
try:
    receiver.write(notification(key="b"))
except DeliveryError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
receiver.write(notification(key="b"))
"""


@pytest.mark.requirement("F35", "F45")
def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_no_half_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "refused: cannot append to the alert file" in done.stdout
    (file,) = tmp_path.iterdir()
    assert [r["key"] for r in records(file)] == ["a", "b"]


@pytest.mark.requirement("F39")
def test_after_a_failed_fsync_the_line_is_taken_back_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = JsonlReceiver(tmp_path)
    receiver.write(notification(key="a"))
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    real = os.fsync

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DeliveryError, match="Input/output error"):
        receiver.write(notification(key="b"))
    assert file.read_bytes() == before
    monkeypatch.setattr(os, "fsync", real)
    receiver.write(notification(key="b"))
    assert [r["key"] for r in records(file)] == ["a", "b"]


@pytest.mark.requirement("S5-39", "F45")
def test_retention_is_exact_at_its_edge(tmp_path: Path) -> None:
    today = local_date(START_NS, KOLKATA)
    for days in (0, 1, 89, 90, 91, 400):
        (tmp_path / f"{today - timedelta(days=days)}.jsonl").write_text("{}\n")
    (tmp_path / "notes.jsonl").write_text("")
    (tmp_path / "2020-99-99.jsonl").write_text("")
    receiver = JsonlReceiver(tmp_path, tz=KOLKATA)
    removed = [path.name for path in receiver.prune(START_NS)]
    assert removed == [f"{today - timedelta(days=days)}.jsonl" for days in (400, 91)]
    assert (tmp_path / f"{today - timedelta(days=90)}.jsonl").exists()
    assert (tmp_path / "notes.jsonl").exists()
    # One nanosecond before local midnight nothing more is due, at midnight the next file is.
    midnight = datetime.combine(today + timedelta(days=1), datetime.min.time(), KOLKATA)
    midnight_ns = int(midnight.timestamp()) * SECOND
    assert receiver.prune(midnight_ns - 1) == []
    assert [p.name for p in receiver.prune(midnight_ns)] == [f"{today - timedelta(days=90)}.jsonl"]


def test_pruning_a_directory_that_is_not_there_removes_nothing(tmp_path: Path) -> None:
    assert JsonlReceiver(tmp_path / "none").prune(START_NS) == []


@pytest.mark.requirement("F48")
def test_the_date_follows_the_zone_through_daylight_saving() -> None:
    files = DailyFile(Path("x"), ZoneInfo("America/New_York"))
    spring = int(datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC).timestamp()) * SECOND
    assert files.path(spring).name == "2026-03-08.jsonl"
    assert files.path(spring + DAY).name == "2026-03-09.jsonl"
    assert local_date(0, UTC) == date(1970, 1, 1)


_KILLED = """
import sys
from pathlib import Path
from tapewatch.notify.jsonl import JsonlReceiver
from tapewatch.testing.alerts import notification

receiver = JsonlReceiver(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    receiver.write(notification(key=f"k{number}"))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.requirement("F1", "F45")
def test_what_was_acknowledged_before_a_sigkill_is_in_the_file_once(tmp_path: Path) -> None:
    first, acknowledged = 0, []
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _KILLED, str(tmp_path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged.append(int(line))
                if acknowledged[-1] >= first + 20:
                    process.kill()
                    break
            # What was written behind our back is repeated by the next run, as the outbox would.
        first = acknowledged[-1] + 1
    (file,) = tmp_path.iterdir()
    reader = LineReader()
    keys = [line.fields["key"] for line in reader.feed(file.read_bytes())]
    assert len(set(keys)) == len(keys)
    assert {f"k{n}" for n in acknowledged} <= set(keys)
