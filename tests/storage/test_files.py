"""Files are replaced whole, snapshots keep to their days, and a directory has one daemon."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tapewatch.model.errors import DirectoryInUseError, StorageError
from tapewatch.storage import atomic
from tapewatch.storage.atomic import write_atomic
from tapewatch.storage.lock import LOCK_NAME, DirectoryLock, holder_pid
from tapewatch.storage.snapshots import prune_snapshots, snapshot_time, write_snapshot

KOLKATA = timezone(timedelta(hours=5, minutes=30))


class TestAtomicFiles:
    @pytest.mark.requirement("F42")
    @pytest.mark.server("strace")
    def test_it_writes_syncs_renames_and_syncs_the_directory_in_that_order(
        self, tmp_path: Path
    ) -> None:
        target = tmp_path / "checkpoint"
        code = (
            "import sys; from pathlib import Path\n"
            "from tapewatch.storage.atomic import write_atomic\n"
            "write_atomic(Path(sys.argv[1]), b'new')\n"
        )
        trace = tmp_path / "trace"
        calls = "openat,write,fsync,rename,renameat,renameat2"
        command = ["strace", "-y", "-o", str(trace), "-e", f"trace={calls}"]
        subprocess.run([*command, sys.executable, "-c", code, str(target)], check=True)
        lines = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
        wrote = [(line.split("(")[0].rstrip("2at"), ".tmp" in line.split("=")[0]) for line in lines]
        steps = [step for step in wrote if step[0] != "open"]
        assert steps == [("write", True), ("fsync", True), ("rename", True), ("fsync", False)]

    @pytest.mark.requirement("F42")
    def test_the_order_holds_without_a_tracer_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []

        class RecordingOs:
            def __getattr__(self, name: str) -> object:
                real = getattr(os, name)
                if name not in ("write", "fsync"):
                    return real

                def recorded(*args: object) -> object:
                    steps.append(name)
                    return real(*args)

                return recorded

        real_rename = Path.rename

        def rename(self: Path, target: Path) -> Path:
            steps.append("rename")
            return real_rename(self, target)

        monkeypatch.setattr(atomic, "os", RecordingOs())
        monkeypatch.setattr(atomic, "sync_directory", lambda _: steps.append("fsync directory"))
        monkeypatch.setattr(Path, "rename", rename)
        write_atomic(tmp_path / "file", b"x")
        assert steps == ["write", "fsync", "rename", "fsync directory"]

    def test_the_owner_alone_may_read_it_whatever_the_umask(self, tmp_path: Path) -> None:
        old = os.umask(0)
        try:
            write_atomic(tmp_path / "file", b"x")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600

    @pytest.mark.requirement("F40")
    def test_killed_anywhere_there_is_the_old_or_the_new_content(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        contents = [bytes([65 + n]) * 200_000 for n in range(2)]
        write_atomic(target, contents[0])
        code = (
            "import sys; from pathlib import Path\n"
            "from tapewatch.storage.atomic import write_atomic\n"
            "print('go', flush=True)\n"
            "while True:\n"
            "    for n in range(2): write_atomic(Path(sys.argv[1]), bytes([65 + n]) * 200_000)\n"
        )
        for delay in range(6):
            with subprocess.Popen(
                [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE
            ) as child:
                assert child.stdout is not None
                child.stdout.readline()
                for _ in range(delay * 200):
                    target.stat()
                child.send_signal(signal.SIGKILL)
            assert target.read_bytes() in contents

    def test_a_failure_leaves_the_old_file_and_no_litter(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        target.mkdir()
        with pytest.raises(StorageError, match="writing"):
            write_atomic(target, b"x")
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.requirement("S5-04", "S5-39", "S5-43")
class TestSnapshots:
    AT = datetime(2026, 11, 21, 9, 15, 30, 123456, tzinfo=KOLKATA)

    def test_the_name_tells_the_moment_in_utc_and_the_content_is_strict_json(
        self, tmp_path: Path
    ) -> None:
        metrics = {"pnl": {"daily": -4.5, "odd": math.nan, "far": math.inf}, "text": "a\u2028b"}
        path = write_snapshot(tmp_path / "data" / "monitoring", metrics, self.AT)
        assert path.name == "metrics_20261121T034530.123456Z.json"
        text = path.read_text()

        def refuse(word: str) -> None:
            pytest.fail(f"not strict JSON: {word}")

        read = json.loads(text, parse_constant=refuse)
        assert read["pnl"] == {"daily": -4.5, "odd": "NaN", "far": "+Inf"}
        assert text.count("\n") == 1
        assert snapshot_time(path) == self.AT

    def test_two_of_one_moment_are_two_files(self, tmp_path: Path) -> None:
        paths = {write_snapshot(tmp_path, {"n": n}, self.AT) for n in range(3)}
        assert len(paths) == 3
        assert {snapshot_time(path) for path in paths} == {self.AT}

    def test_retention_is_exact_at_its_edge_and_spares_other_files(self, tmp_path: Path) -> None:
        edge = datetime(2026, 11, 21, tzinfo=UTC)
        step = timedelta(microseconds=1)
        older, same, newer = (
            write_snapshot(tmp_path, {}, at) for at in (edge - step, edge, edge + step)
        )
        other = tmp_path / "metrics_notes.json"
        other.write_text("mine")
        assert prune_snapshots(tmp_path, edge) == 1
        assert set(tmp_path.iterdir()) == {same, newer, other}
        assert not older.exists()

    def test_a_directory_that_is_not_there_has_nothing_to_prune(self, tmp_path: Path) -> None:
        assert prune_snapshots(tmp_path / "missing", datetime.now(UTC)) == 0

    def test_a_moment_without_a_zone_is_refused(self, tmp_path: Path) -> None:
        naive = datetime(2026, 11, 21)  # noqa: DTZ001 - that is the point
        with pytest.raises(ValueError, match="needs a time zone"):
            write_snapshot(tmp_path, {}, naive)
        with pytest.raises(ValueError, match="needs a time zone"):
            prune_snapshots(tmp_path, naive)

    def test_a_name_with_an_impossible_date_is_no_snapshot(self) -> None:
        assert snapshot_time(Path("metrics_20261399T000000.000000Z.json")) is None


@pytest.mark.requirement("F12")
class TestDirectoryLock:
    CODE = (
        "import sys, time; from pathlib import Path\n"
        "from tapewatch.storage.lock import DirectoryLock\n"
        "DirectoryLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)\n"
    )

    def test_a_second_daemon_is_refused_and_told_the_first_ones_pid(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(tmp_path)], stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            try:
                with pytest.raises(DirectoryInUseError, match=rf"\(pid {other.pid}\).*--data-dir"):
                    DirectoryLock(tmp_path).acquire()
                assert holder_pid(tmp_path) == other.pid
            finally:
                other.kill()
        # The kernel dropped it with its holder; the file with the old pid blocks nobody.
        assert (tmp_path / LOCK_NAME).read_text() == f"{other.pid}\n"
        assert holder_pid(tmp_path) is None
        with DirectoryLock(tmp_path) as lock:
            assert lock.is_held
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        assert not lock.is_held

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"not a pid", b"1" * 4096])
    def test_what_is_in_the_file_never_blocks(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / LOCK_NAME).write_bytes(content)
        with DirectoryLock(tmp_path):
            with pytest.raises(DirectoryInUseError):
                DirectoryLock(tmp_path).acquire()
            assert holder_pid(tmp_path) == os.getpid()

    def test_asking_who_holds_it_never_keeps_a_daemon_out(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from tapewatch.storage.lock import holder_pid\n"
            "print('go', flush=True)\n"
            "while True: holder_pid(Path(sys.argv[1]))\n"
        )
        DirectoryLock(tmp_path).acquire()
        (tmp_path / LOCK_NAME).touch()
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        (fresh / LOCK_NAME).touch()
        with subprocess.Popen(
            [sys.executable, "-c", code, str(fresh)], stdout=subprocess.PIPE
        ) as asker:
            assert asker.stdout is not None
            asker.stdout.readline()
            try:
                for _ in range(200):
                    with DirectoryLock(fresh):
                        pass
            finally:
                asker.kill()

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        (tmp_path / LOCK_NAME).symlink_to(victim)
        with pytest.raises(StorageError):
            DirectoryLock(tmp_path).acquire()
        assert victim.read_text() == "precious"

    def test_a_directory_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="missing"):
            DirectoryLock(tmp_path / "missing").acquire()
        assert holder_pid(tmp_path / "missing") is None
