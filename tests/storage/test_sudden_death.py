"""Killed at any moment, a store holds whole commits only, and every one that was confirmed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tapewatch.storage.samples import SampleStore

FOREVER = (-(1 << 62), 1 << 62)


def kill_while_committing(command: list[str], luck: random.Random) -> int:
    """Run the committer, kill it at a random moment, and return the last confirmed number."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        confirmed = 0
        for _ in range(luck.randrange(1, 60)):
            word, number = child.stdout.readline().split()
            assert word == b"ok"
            confirmed = int(number)
        child.send_signal(signal.SIGKILL)
        # What it still said before it died is confirmed as well; a torn last line is not.
        for line in child.stdout.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                confirmed = int(line.split()[1])
    return confirmed


@pytest.mark.chaos
@pytest.mark.requirement("P1", "P2", "F1", "F3", "F4")
def test_a_killed_state_store_has_whole_commits_and_all_confirmed_ones(
    tmp_path: Path, kill_rounds: int, committer: Path, check_state: Callable[[Path, int], int]
) -> None:
    luck = random.Random(20_260)
    path = tmp_path / "state.db"
    command = [sys.executable, str(committer), "state", str(path), "1000000"]
    for _ in range(max(20, kill_rounds)):
        check_state(path, kill_while_committing(command, luck))


@pytest.mark.chaos
@pytest.mark.requirement("P1", "F1")
def test_a_killed_sample_store_has_the_samples_behind_its_watermark(
    tmp_path: Path, kill_rounds: int, committer: Path
) -> None:
    luck = random.Random(7)
    path = tmp_path / "samples.db"
    command = [sys.executable, str(committer), "samples", str(path), "1000000"]
    for _ in range(kill_rounds):
        confirmed = kill_while_committing(command, luck)
        store = SampleStore.open(path, now_ns=0)
        assert store.recovered is None
        number = store.watermarks()["tape"]["n"]
        assert number >= confirmed
        for series in store.select([], *FOREVER):
            assert series.times.tolist() == list(range(1, number + 1))
        assert store.sizes()["samples"] == 2 * number
        assert store.integrity() == "ok"
        store.close()


@pytest.mark.chaos
@pytest.mark.server("strace")
@pytest.mark.requirement("F2")
@pytest.mark.parametrize(
    "call", ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "openat"]
)
def test_killed_at_any_call_to_the_system_it_starts_again(
    tmp_path: Path, call: str, committer: Path, check_state: Callable[[Path, int], int]
) -> None:
    path = tmp_path / "state.db"
    confirmed = 0
    # The first run makes the file, so its making is cut short at some of the calls too.
    for nth in (1, 2, 3, 4, 6, 9, 13):
        only = [part for suffix in ("", "-wal", "-shm") for part in ("-P", f"{path}{suffix}")]
        inject = f"inject={call}:signal=KILL:when={nth}"
        done = subprocess.run(
            [
                *("strace", "-f", "-qq", "-o", "/dev/null", *only, "-e", inject),
                *(sys.executable, str(committer), "state", str(path), "5"),
            ],
            stdout=subprocess.PIPE,
            check=False,
        )
        for line in done.stdout.splitlines():
            confirmed = int(line.split()[1])
        confirmed = check_state(path, confirmed)
