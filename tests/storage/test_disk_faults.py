"""A disk that fails: what was confirmed stays, nothing is half done, and it heals by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tapewatch.model.errors import StorageError, StorageFailure
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.storage.effects import Effects
from tapewatch.storage.reserve import RESERVE_BYTES, Reserve
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.state import StateStore

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which needs root")
FOREVER = (-(1 << 62), 1 << 62)


def commit_with_faults(committer: Path, path: Path, inject: str, part: str) -> list[list[str]]:
    """Run the committer while one call on one of its files fails; return what it said."""
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", "-P", f"{path}{part}"),
            *("-e", f"inject={inject}", sys.executable, str(committer), "state", str(path), "30"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.server("strace")
@pytest.mark.requirement("F35", "F39")
@pytest.mark.parametrize(
    ("inject", "part", "reason"),
    [
        ("pwrite64:error=ENOSPC:when=20..40", "-wal", "full"),
        ("pwrite64:error=EIO:when=20..40", "-wal", "io"),
        ("fdatasync:error=EIO:when=3..6", "-wal", "io"),
        ("fdatasync:error=EIO:when=3+3", "-wal", "io"),
        ("fsync:error=EIO:when=1..3", "", "io"),
        ("pread64:error=EIO:when=6..9", "-wal", "io"),
    ],
)
def test_a_failing_call_is_reported_and_the_commit_is_done_in_the_end(
    tmp_path: Path,
    committer: Path,
    check_state: Callable[[Path, int], int],
    inject: str,
    part: str,
    reason: str,
) -> None:
    path = tmp_path / "state.db"
    StateStore.open(path, now_ns=0).close()
    said = commit_with_faults(committer, path, inject, part)
    confirmed = [int(number) for word, number in said if word == "ok"]
    assert confirmed == list(range(1, 31))
    assert set(Counter(word for word, _ in said)) <= {"ok", reason}
    assert check_state(path, 30) == 30


@pytest.mark.requirement("F39")
def test_after_an_error_of_the_disk_the_file_is_opened_anew(tmp_path: Path) -> None:
    store = StateStore.open(tmp_path / "state.db", now_ns=0)
    store.commit(Effects(values={"n": 1}))
    database = store._database
    before = database._writer
    database._unsafe = True
    store.commit(Effects(values={"n": 2}))
    assert database._writer is not before
    assert not database.is_unsafe
    # Everything that was visible has been written again, to the main file.
    assert store.load().values == {"n": 2}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes; the test may resize it."""
    place = tmp_path / "disk"
    place.mkdir()
    mount(place, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def mount(place: Path, *command: str) -> None:
    done = subprocess.run([*command, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


def fill(place: Path) -> Path:
    """Write until the disk is full."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return ballast


@as_root
@pytest.mark.requirement("F35")
class TestFullDisk:
    def test_the_reserve_carries_the_outbox_over_a_full_disk_and_comes_back(
        self, small_disk: Path
    ) -> None:
        mount(small_disk, "mount", "-o", "remount,size=16m")
        store = StateStore.open(small_disk / "state.db", now_ns=0)
        reserve = small_disk / "state.reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        ballast = fill(small_disk)
        for number in range(40):
            store.commit(Effects(values={str(number): "x" * 8_000}))
        assert store.reserve_used == 1
        assert not reserve.exists()
        ballast.unlink()
        store.commit(Effects(values={"healed": True}))
        assert reserve.stat().st_size == RESERVE_BYTES
        assert len(store.load().values) == 41
        store.close()

    def test_without_room_it_says_full_and_goes_on_once_there_is_some(
        self, small_disk: Path
    ) -> None:
        store = StateStore.open(small_disk / "state.db", now_ns=0)
        store.commit(Effects(values={"n": 0}))
        ballast = fill(small_disk)
        effects = Effects(values={str(n): "x" * 8_000 for n in range(200)})
        for _ in range(3):
            with pytest.raises(StorageError) as caught:
                store.commit(effects)
            assert caught.value.reason is StorageFailure.FULL
        assert store.load().values == {"n": 0}
        ballast.unlink()
        store.commit(effects)
        assert len(store.load().values) == 201
        assert store.integrity() == "ok"
        store.close()

    def test_a_store_is_opened_on_a_full_disk_and_works_once_it_is_not(
        self, small_disk: Path
    ) -> None:
        ballast = fill(small_disk)
        with pytest.raises(StorageError) as caught:
            StateStore.open(small_disk / "state.db", now_ns=0)
        assert caught.value.reason is StorageFailure.FULL
        ballast.unlink()
        store = StateStore.open(small_disk / "state.db", now_ns=0)
        store.commit(Effects(values={"n": 1}))
        assert store.load().values == {"n": 1}
        store.close()

    def test_samples_leave_the_last_room_to_the_state_and_give_up_the_oldest(
        self, small_disk: Path
    ) -> None:
        mount(small_disk, "mount", "-o", "remount,size=32m")
        store = SampleStore.open(small_disk / "samples.db", now_ns=0)
        head = Head()
        table = head.table([Labels.of("a")])
        noise = np.random.default_rng(1)
        for number in range(250):
            at = np.arange(number * 16_384, (number + 1) * 16_384, dtype=np.int64)
            table.append(at, noise.random((16_384, 1)))
            drained = head.drain_for_chunks(1 << 62)
            store.write(drained)
            head.persisted(drained)
            head.truncate(int(at[0]))
        disk = os.statvfs(small_disk)
        assert disk.f_bavail * disk.f_frsize > 2 << 20
        assert store.samples_given_up > 0
        oldest, newest = store.bounds() or (0, 0)
        assert oldest > 0
        assert newest == 250 * 16_384 - 1
        kept = store.sizes()["samples"]
        assert kept + store.samples_given_up == 250 * 16_384
        assert store.integrity() == "ok"
        store.close()


@as_root
@pytest.mark.requirement("F38")
def test_a_read_only_disk_is_named_as_such_and_does_no_harm(small_disk: Path) -> None:
    paths = {StateStore: small_disk / "state.db", SampleStore: small_disk / "samples.db"}
    StateStore.open(paths[StateStore], now_ns=0).close()
    SampleStore.open(paths[SampleStore], now_ns=0).close()
    mount(small_disk, "mount", "-o", "remount,ro")
    for store, path in (*paths.items(), (StateStore, small_disk / "new.db")):
        with pytest.raises(StorageError) as caught:
            store.open(path, now_ns=0)
        assert caught.value.reason is StorageFailure.READONLY
        assert "writable" in str(caught.value)
    mount(small_disk, "mount", "-o", "remount,rw")
    for store, path in paths.items():
        opened = store.open(path, now_ns=0)
        assert opened.recovered is None
        opened.close()


def test_a_reserve_that_is_there_already_is_used(tmp_path: Path) -> None:
    first = Reserve(tmp_path / "state.reserve", 4096)
    first.take()
    second = Reserve(tmp_path / "state.reserve", 4096)
    second.take()
    assert second.present
    assert second.release()
    assert not second.release()
    assert not (tmp_path / "state.reserve").exists()


def test_a_reserve_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "missing" / "state.reserve")
    reserve.take()
    assert not reserve.present
    assert not reserve.release()
