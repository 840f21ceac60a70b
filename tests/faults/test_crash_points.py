"""The daemon dies, or its disk fails, at a chosen system call; the next start needs no hand."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.conftest import FULL
from tests.faults.oracle import check_left_behind, has_ended, storage_health

pytestmark = [
    pytest.mark.timeout(3600 if FULL else 150),
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]

CALLS = ("fdatasync", "fsync", "pwrite64", "rename", "unlink", "write", "ftruncate")
SAMPLED = (
    *(("fdatasync", 2), ("fdatasync", 5), ("fsync", 2), ("pwrite64", 40)),
    *(("rename", 1), ("unlink", 1)),
)
ROUND_S = 3.0


def strace(directory: Path, rule: str, *names: str) -> list[str]:
    """Return the command in front of the daemon's that injects this, into these files if named.

    ``-D`` makes the daemon our own child, and strace its grandchild: signals and exit codes are
    the daemon's.
    """
    log = str(directory / "strace.log")
    calls = rule.partition(":")[0]
    only = [word for name in names for word in ("-P", str(directory / "data" / name))]
    command = ["strace", "-D", "-f", "-qq", "-o", log, *only]
    return [*command, "-e", f"trace={calls}", "-e", f"inject={rule}"]


@pytest.mark.chaos
@pytest.mark.requirement("F2", "F4", "P1", "P2", "P3")
def test_death_at_any_write_sync_rename_or_unlink_loses_nothing(
    chaos: Any, daemon: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    config = running.config_path.read_text()
    deaths = 0

    def die_at(call: str, number: int) -> bool:
        rule = f"{call}:signal=KILL:when={number}"
        victim = daemon(command=strace(tmp_path, rule))
        victim.config_path.write_text(config)
        victim.start(ready=False)
        until = time.monotonic() + ROUND_S
        while time.monotonic() < until and not has_ended(victim):
            oracle.raise_case()
            time.sleep(0.1)
        died = has_ended(victim)
        if not died:
            victim.kill()
        else:
            assert victim.process.returncode == -signal.SIGKILL, victim.log_tail()
        return died

    if FULL:
        for call in CALLS:
            number, alive = 1, 0
            while alive < 3 and number < 400:
                died = die_at(call, number)
                deaths += died
                alive = 0 if died else alive + 1
                number += 1 if number < 40 else random.randrange(1, 12)
    else:
        deaths = sum(die_at(*point) for point in SAMPLED)
    assert deaths >= 3, "the points must be ones that the daemon comes to"

    running.config_path.write_text(config)
    running.start()
    oracle.wait_until_told(60)
    oracle.check_repeats(at_most=deaths + 400)
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)
    assert not list(running.data_dir.glob("*.corrupt-*")), "a kill damages no store"


@pytest.mark.chaos
@pytest.mark.requirement("F4")
def test_death_at_any_moment_of_the_start_needs_no_hand(chaos: Any, tmp_path: Path) -> None:
    running, oracle = chaos()
    rounds = 50 if FULL else 6
    for number in range(rounds):
        oracle.raise_case()
        running.start(ready=False)
        time.sleep(0.1 + 1.2 * number / rounds)
        running.kill()
    running.start()
    oracle.wait_until_told(60)
    oracle.check_repeats(at_most=rounds)
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F39", "P1", "P3")
@pytest.mark.parametrize("rule", ["fdatasync:error=EIO:when=6..25", "pwrite64:error=EIO:when=30+7"])
def test_alerts_go_out_while_the_disk_fails_and_nothing_is_lost_after(
    chaos: Any, tmp_path: Path, rule: str
) -> None:
    files = [name + part for name in ("state.db", "samples.db") for part in ("", "-wal")]
    running, oracle = chaos(command=strace(tmp_path, rule, *files))
    running.start()
    seen = []
    for _ in range(60):
        oracle.raise_case()
        seen.append(storage_health(running).get("status"))
        time.sleep(0.05)
    oracle.wait_until_told(30)
    assert not has_ended(running)
    assert "degraded" in seen or "commit_failed" in running.log_path.read_text(), seen
    if "+" not in rule:
        eventually(
            lambda: oracle.raise_case() and storage_health(running).get("status") == "healthy",
            "storage to heal",
        )
    oracle.wait_until_told(30)
    running.kill()

    again = running
    again._command = []
    again.start()
    oracle.wait_until_told(30)
    oracle.check_repeats(at_most=oracle.cases)
    oracle.check_ticks(again)
    assert again.stop() == 0
    check_left_behind(tmp_path, again)
