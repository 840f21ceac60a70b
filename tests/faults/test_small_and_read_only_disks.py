"""The data directory's disk is full or read-only: alerts go out, health says so, it heals."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tapewatch.web.server import unix_address
from tests.faults.conftest import bound_read_only
from tests.faults.oracle import check_left_behind, has_ended, storage_health


def wait_degraded(running: Any, oracle: Any) -> None:
    eventually(
        lambda: oracle.raise_case() and storage_health(running).get("status") == "degraded",
        "health to say that nothing is persisted",
    )


def wait_healed(running: Any, oracle: Any) -> None:
    eventually(
        lambda: oracle.raise_case() and storage_health(running).get("status") == "healthy",
        "storage to heal",
        timeout_s=15,
    )


def answers_on_its_socket(running: Any) -> bool:
    path = running.data_dir / "tapewatch.sock"
    if not path.is_socket():
        return False
    with unix_address(path) as address, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            return False  # what an earlier daemon has left
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.requirement("F35", "P1", "P3")
def test_a_disk_that_fills_up_delays_durability_and_heals_without_a_restart(
    small_disk: Any, chaos: Any, tmp_path: Path
) -> None:
    disk = small_disk("192m")
    running, oracle = chaos()
    running.start()
    oracle.raise_for(0.5)
    disk.fill()
    for _ in range(150):
        disk.fill()
        oracle.raise_case()
        if storage_health(running).get("status") == "degraded":
            break
        time.sleep(0.1)
    health = storage_health(running)
    assert health["status"] == "degraded", health
    assert "not persisting" in health["message"]
    oracle.wait_until_told()
    oracle.sink.wait_for("storage_degraded", timeout_s=20)

    disk.resize("256m")
    wait_healed(running, oracle)
    running.kill()
    running.start()
    oracle.wait_until_told()
    oracle.check_repeats(at_most=oracle.cases)
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F35")
def test_a_start_on_a_full_disk_works_without_persisting_and_heals(
    small_disk: Any, chaos: Any, tmp_path: Path
) -> None:
    disk = small_disk("160m")
    running, oracle = chaos()
    disk.fill()
    running.start()
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    wait_degraded(running, oracle)

    disk.empty()
    wait_healed(running, oracle)
    running.kill()
    running.start()
    oracle.wait_until_told()
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F38")
@pytest.mark.parametrize("used_before", [False, True])
def test_a_start_on_a_read_only_disk_says_that_nothing_is_persisted(
    small_disk: Any, chaos: Any, used_before: bool
) -> None:
    disk = small_disk("192m")
    running, oracle = chaos(engines=0)
    if used_before:
        running.start()
        running.kill()
    disk.read_only()
    running.start()
    health = eventually(
        lambda: (h := storage_health(running)).get("status") == "degraded" and h,
        "health to say so",
    )
    assert "not persisting" in health["message"]
    oracle.sink.wait_for("storage_degraded")

    disk.read_only("rw")
    eventually(
        lambda: storage_health(running).get("status") == "healthy",
        "storage to heal",
        timeout_s=10,
    )
    eventually(lambda: answers_on_its_socket(running), "the control socket to be made")
    assert running.stop() == 0
    assert (running.data_dir / "state.db").stat().st_size > 0


@pytest.mark.requirement("F38", "P3")
def test_a_directory_that_turns_read_only_in_operation(
    small_disk: Any, chaos: Any, tmp_path: Path
) -> None:
    # SQLite and the tapes hold files open for writing, so the disk itself refuses to turn; a
    # read-only bind mount over the directory is what an operator's mistake looks like.
    disk = small_disk("192m")
    running, oracle = chaos()
    running.start()
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    with bound_read_only(disk.path):
        oracle.raise_for(1.0)
        oracle.wait_until_told()
        assert not has_ended(running)
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    eventually(lambda: storage_health(running).get("status") == "healthy", "storage to heal")
    running.kill()
    running.start()
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)
