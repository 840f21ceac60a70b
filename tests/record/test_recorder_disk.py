"""What the disk does to the recorder: nothing that an engine would notice."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapewatch.record import Recorder
from tapewatch.tape import TapeReader

ReadTape = Callable[[str | Path], Any]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs more rights than this user has")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def use(recorder: Recorder) -> None:
    """Do everything an engine does."""
    for i in range(1000):
        recorder.record_tick({"a": float(i)})
    recorder.record_metric("m", 1.0, venue="x")
    recorder.record_error("e")
    with recorder.timer("t"):
        pass
    recorder.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.requirement("F36", "S5-29", "S5-87", "S5-93", "P4")
def test_on_a_full_disk_recording_is_off_with_one_line_and_the_engine_goes_on(
    full_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder("engine", data_dir=full_disk)
    assert not recorder.recording
    assert recorder.path is None
    use(recorder)
    assert len(warnings(caplog)) == 1
    assert "recording is off" in warnings(caplog)[0]
    assert vars(caplog.records[0])["component"] == "monitoring"
    assert recorder.counters["dropped_frames"] == 1002
    assert recorder.counters["dropped_events"] == 1
    assert list((full_disk / "tapes").iterdir()) == []


@pytest.mark.requirement("F36")
def test_a_disk_that_fills_up_later_does_not_reach_an_open_tape(
    tmp_path: Path, read_tape: ReadTape
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs more rights than this user has")
    try:
        recorder = Recorder("engine", data_dir=place, frame_bytes=1 << 20, event_bytes=1 << 16)
        assert recorder.path is not None
        with pytest.raises(OSError, match="No space"), (place / "hog").open("wb") as hog:
            while True:
                hog.write(b"x" * 4096)
                hog.flush()
        for i in range(3000):
            recorder.record_tick({"a": float(i)})
        recorder.close()
        assert len(read_tape(recorder_path(place)).ticks) == 3000
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def recorder_path(place: Path) -> Path:
    (path,) = (place / "tapes").glob("*.tape")
    return path


@pytest.mark.requirement("F36")
def test_a_file_size_limit_turns_recording_off(tmp_path: Path) -> None:
    code = """
import sys
from tapewatch import Recorder
recorder = Recorder("engine", data_dir=sys.argv[1])
recorder.record_tick({"a": 1.0})
print(recorder.recording, recorder.counters["dropped_frames"])
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert out.stdout.split() == ["False", "1"]
    assert out.stderr.count("\n") == 1
    assert list((tmp_path / "tapes").iterdir()) == []


@pytest.mark.requirement("P4")
@pytest.mark.parametrize(
    "place", ["/proc/nowhere", "/dev/null/x", "bad\0name", 7, "~nobody-at-all/x"]
)
def test_a_directory_that_cannot_be_turns_recording_off(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder("engine", data_dir=place)
    use(recorder)
    assert len(warnings(caplog)) == 1
    assert recorder.counters["dropped_frames"] == 1002


@pytest.mark.requirement("P4")
def test_a_read_only_directory_turns_recording_off(tmp_path: Path) -> None:
    (tmp_path / "tapes").mkdir()
    (tmp_path / "tapes").chmod(0o500)
    code = """
import os, sys
if os.geteuid() == 0:
    os.setuid(65534)
sys.path.insert(0, sys.argv[2])
from tapewatch.record import Recorder
recorder = Recorder("engine", data_dir=sys.argv[1])
recorder.record_tick({"a": 1.0})
print(recorder.recording, recorder.counters["dropped_frames"])
"""
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere, and nobody may not read this checkout")
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "src"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == ["False", "1"]


@pytest.mark.requirement("F37")
@pytest.mark.parametrize("change", ["rename", "delete", "chmod", "delete the directory"])
def test_an_engine_survives_what_is_done_to_its_file(
    tmp_path: Path, read_tape: ReadTape, change: str
) -> None:
    recorder = Recorder("engine", data_dir=tmp_path, frame_bytes=1 << 20, event_bytes=1 << 16)
    recorder.record_tick({"a": 1.0})
    assert recorder.path is not None
    path = Path(recorder.path)
    reader = TapeReader(path)
    if change == "rename":
        path = path.rename(path.with_name("elsewhere.tape"))
    elif change == "delete":
        path.unlink()
    elif change == "chmod":
        path.chmod(0)
    else:
        shutil.rmtree(path.parent)
    recorder.record_tick({"a": 2.0})
    recorder.record_error("e")
    batch = reader.poll()
    assert (batch.ticks, len(batch.records), batch.torn) == (2, 1, 0)
    recorder.close()
    assert reader.counters().state == "stopped"
    reader.close()
    if change == "rename":
        assert len(read_tape(path).ticks) == 2


@pytest.mark.requirement("S5-20")
def test_disabled_monitoring_leaves_no_trace(tmp_path: Path) -> None:
    handlers = signal.getsignal(signal.SIGTERM)
    recorder = Recorder("engine", data_dir=tmp_path / "never", enabled=False)
    use(recorder)

    @recorder.timer("work")
    def work() -> int:
        return 3

    assert work() == 3
    assert not recorder.recording
    assert recorder.path is None
    assert not (tmp_path / "never").exists()
    assert signal.getsignal(signal.SIGTERM) is handlers
