"""Signals, a second daemon, and too few file descriptors or bytes of memory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.oracle import check_left_behind, has_ended


@pytest.mark.requirement("F13")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_within_ten_seconds_and_loses_nothing(
    chaos: Any, tmp_path: Path, number: signal.Signals
) -> None:
    running, oracle = chaos()
    running.start()
    oracle.raise_for(0.5)
    began = time.monotonic()
    assert running.kill(number) == 0
    assert time.monotonic() - began < 10
    oracle.raise_case()
    running.start()
    oracle.wait_until_told()
    oracle.check_repeats(at_most=0)
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F13")
def test_a_receiver_that_hangs_does_not_hold_up_the_stop(chaos: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        running, oracle = chaos()
        config = running.config_path.read_text()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        running.config_path.write_text(
            config.replace(
                "receivers: [", f"receivers: [{{name: deaf, kind: webhook, url: '{url}'}}, "
            )
        )
        running.start()
        oracle.raise_case()
        oracle.wait_until_told()
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 10


@pytest.mark.requirement("F13")
def test_a_second_interrupt_does_not_wait(chaos: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        running, oracle = chaos()
        config = running.config_path.read_text()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        running.config_path.write_text(
            config.replace(
                "receivers: [", f"receivers: [{{name: deaf, kind: webhook, url: '{url}'}}, "
            )
        )
        running.start()
        oracle.raise_case()
        oracle.wait_until_told()
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        assert running.kill(signal.SIGINT) == 130
        assert time.monotonic() - began < 1
        running.config_path.write_text(config)
        running.start()
        oracle.raise_case()
        oracle.wait_until_told()
        oracle.check_ticks(running)


@pytest.mark.requirement("F13")
def test_hangup_reloads_and_a_broken_pipe_is_nothing(chaos: Any, tmp_path: Path) -> None:
    running, oracle = chaos()
    running.start()
    rules = tmp_path / "rules.yaml"
    rules.write_text(rules.read_text().replace("chaos_event", "renamed_event"))
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(line["event"] == "reloaded" for line in running.log_lines()), "a reload")
    for _ in range(3):
        running.process.send_signal(signal.SIGPIPE)
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    oracle.raise_case()
    oracle.sink.wait_for("renamed_event")
    assert running.stop() == 0


@pytest.mark.requirement("F13")
def test_a_log_whose_reader_went_away_ends_nothing(chaos: Any) -> None:
    running, oracle = chaos()
    reader, writer = os.pipe()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TAPEWATCH_")}
    command = [sys.executable, "-m", "tapewatch", "run", "--config", str(running.config_path)]
    running.process = subprocess.Popen(command, stdout=writer, stderr=writer, env=environ)
    os.close(writer)
    try:
        running.wait_ready()
    finally:
        os.close(reader)
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    assert not has_ended(running)
    oracle.check_ticks(running)
    assert running.stop() == 0


@pytest.mark.requirement("F12")
def test_a_second_daemon_is_refused_with_the_first_ones_pid_and_a_dead_one_blocks_nobody(
    chaos: Any, daemon: Any
) -> None:
    running, oracle = chaos()
    running.start()
    config = running.config_path.read_text()
    second = daemon()
    second.config_path.write_text(config.replace(str(running.port), str(second.port)))
    second.log_path = second.directory / "second.log"
    second.start(ready=False)
    assert second.process.wait(20) == 1
    said = second.log_tail()
    assert f"pid {running.process.pid}" in said
    assert "Traceback" not in said

    running.config_path.write_text(config)
    running.kill()
    assert (running.data_dir / "daemon.lock").read_text().strip().isdigit()
    running.start()
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.check_ticks(running)


@pytest.mark.requirement("F10")
def test_without_file_descriptors_it_works_on_without_a_busy_loop_and_recovers(
    chaos: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    running.start()
    oracle.raise_case()
    oracle.wait_until_told()
    process = psutil.Process(running.process.pid)
    before = process.num_fds()
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (20, limits[1]))
    clients = []
    try:
        for _ in range(30):
            client = socket.socket()
            client.settimeout(0.5)
            client.connect(("127.0.0.1", running.port))
            clients.append(client)
        during = {oracle.raise_case() for _ in range(10)}
        used = process.cpu_times()
        began = time.monotonic()
        time.sleep(4)
        now = process.cpu_times()
        share = (now.user + now.system - used.user - used.system) / (time.monotonic() - began)
        print(f"{share:.1%} of a core with {process.num_fds()} descriptors")
        healed_at = datetime.now(UTC)
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        for client in clients:
            client.close()
    assert share < 0.20
    eventually(lambda: running.get("/readyz")[0] == 200, "it to answer again", timeout_s=10)
    oracle.raise_case()
    oracle.wait_until_told(timeout_s=30)
    raised = {
        a["labels"]["case"]
        for a in running.alerts()
        if "case" in a["labels"] and datetime.fromisoformat(a["fired_at"]) < healed_at
    }
    assert during <= raised, "engines were read and rules evaluated all the time"
    eventually(lambda: process.num_fds() <= before + 5, "the descriptors to be closed")
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)
    said = [line for line in running.log_lines() if line["event"] == "connections_not_accepted"]
    assert 1 <= len(said) <= 3
    assert "Too many open files" in said[0]["reason"]


@pytest.mark.requirement("F9", "P1", "P3")
def test_without_memory_it_goes_on_or_fails_loudly_and_loses_nothing(
    chaos: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    running.start()
    oracle.raise_case()
    oracle.wait_until_told()
    process = psutil.Process(running.process.pid)
    limits = resource.prlimit(process.pid, resource.RLIMIT_AS)
    # Every larger allocation fails from here on: MemoryError wherever it happens to hit.
    resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().vms, limits[1]))
    oracle.engines[0].tell("rate 20000")
    until = time.monotonic() + 4
    while time.monotonic() < until and not has_ended(running):
        oracle.raise_case()
        running.get("/metrics", timeout_s=1)
    oracle.engines[0].tell("rate 100")
    if has_ended(running):
        assert running.process.returncode != 0
        print(f"ended with {running.process.returncode}")
        running.start()
    else:
        resource.prlimit(process.pid, resource.RLIMIT_AS, limits)
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.check_ticks(running)
    assert running.stop() == 0


@pytest.mark.requirement("F9")
def test_an_out_of_memory_kill_is_a_crash_like_any_other(chaos: Any, tmp_path: Path) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"tapewatch-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    try:
        running, oracle = chaos()
        running.start()
        oracle.raise_case()
        oracle.wait_until_told()
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
        (group / "cgroup.procs").write_text(str(running.process.pid))
        # The pages that it has are charged elsewhere; a much smaller group kills it surely.
        (group / "memory.limit_in_bytes").write_text(str(1 << 20))
        until = time.monotonic() + 15
        while not has_ended(running) and time.monotonic() < until:
            oracle.raise_case()
            running.get("/metrics", timeout_s=1)
        if not has_ended(running):
            pytest.skip("this kernel did not kill the process over its limit")
        assert running.process.returncode == -signal.SIGKILL
        running.start()
        oracle.wait_until_told()
        # It starves for a while before it is killed, and cannot note what it has sent.
        oracle.check_repeats(at_most=oracle.cases)
        oracle.check_ticks(running)
        assert running.stop() == 0
        check_left_behind(tmp_path, running)
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text().strip(), "an empty group")
        group.rmdir()
