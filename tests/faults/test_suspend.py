"""The machine sleeps: everything stands still together and goes on together."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.conftest import FULL
from tests.faults.oracle import check_left_behind, engines_of
from tests.faults.test_wall_clock import WallClock, wait_deviation

HOUR = 3600
SLEEP_S = 360 if FULL else 5
"""At full length beyond the five minutes for which a sample answers queries."""


def with_engine_pack(running: Any) -> None:
    config = running.config_path.read_text()
    running.config_path.write_text(config.replace("packs: [self]", "packs: [self, engine]"))


def slept_s(running: Any) -> float:
    _, text = running.get("/metrics")
    for line in text.splitlines():
        if line.startswith("tapewatch_daemon_slept_seconds_total "):
            return float(line.split()[1])
    raise AssertionError("the daemon does not tell how long it slept")


@pytest.mark.chaos
@pytest.mark.timeout(3 * SLEEP_S + 120)
@pytest.mark.requirement("F50", "F8")
@pytest.mark.parametrize("rate", [50, 5_000], ids=["idle", "busy"])
def test_engines_and_daemon_frozen_together_lapse_nothing_and_lose_nothing(
    chaos: Any, tmp_path: Path, rate: int
) -> None:
    # At 5,000 ticks a second most freezes hit the daemon in the middle of a round.
    running, oracle = chaos(engines=2)
    with_engine_pack(running)
    running.start()
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    for each in oracle.engines:
        each.tell(f"rate {rate}")
    before = set(oracle.sink.names())
    processes = [running.process, *(each.process for each in oracle.engines)]
    rounds = 1 if FULL else 2
    for _ in range(rounds):
        random.shuffle(processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(SLEEP_S)
        for process in processes:
            process.send_signal(signal.SIGCONT)
        recorded = {each.name: each.tell("rate 50") for each in oracle.engines}
        eventually(
            lambda: all(e["ticks"] >= recorded[e["name"]] for e in engines_of(running)),  # noqa: B023
            "the ticks after the sleep to be read",
        )
        assert {e["state"] for e in engines_of(running)} == {"running"}
        for each in oracle.engines:
            each.tell(f"rate {rate}")
    eventually(
        lambda: slept_s(running) >= rounds * (SLEEP_S - 0.5), "the daemon to tell of its sleep"
    )
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.check_repeats(at_most=1)
    assert set(oracle.sink.names()) == before, "nothing lapsed, crashed or was lost"
    health = running.get("/health/detailed")[1]["checks"]
    assert {health[f"engine:{e.name}"]["status"] for e in oracle.engines} == {"healthy"}
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F50", "P6")
def test_an_engine_that_does_not_come_back_from_the_sleep_is_told(chaos: Any) -> None:
    running, oracle = chaos()
    with_engine_pack(running)
    running.start()
    alpha = oracle.engines[0]
    eventually(lambda: [e["state"] for e in engines_of(running)] == ["running"], "it to run")
    for pid in (alpha.process.pid, running.process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(running.process.pid, signal.SIGCONT)
    began = time.monotonic()
    oracle.sink.wait_for("heartbeat_lapsed")
    assert time.monotonic() - began < 5, "it is given its time anew, and no more"
    os.kill(alpha.process.pid, signal.SIGCONT)
    oracle.sink.wait_for("heartbeat_lapsed", "resolved")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the shim")
@pytest.mark.requirement("F50", "F47")
def test_a_suspend_seen_by_the_wall_clock_alone_is_a_clock_jump_and_no_lapse(
    daemon: Any, engine: Any, sink: Any, tmp_path: Path
) -> None:
    # CLOCK_MONOTONIC stands still while Linux is suspended: what a process sees on return is
    # CLOCK_REALTIME and CLOCK_BOOTTIME eight hours later.
    clock = WallClock(tmp_path)
    running = daemon(sink.receiver(), environ=clock.environ)
    running.start()
    alpha = engine()
    eventually(lambda: [e["state"] for e in engines_of(running)] == ["running"], "it to run")
    for pid in (running.process.pid, alpha.process.pid):
        os.kill(pid, signal.SIGSTOP)
    clock.jump(8 * HOUR)
    for pid in (running.process.pid, alpha.process.pid):
        os.kill(pid, signal.SIGCONT)
    wait_deviation(running, 8 * HOUR)
    sink.wait_for("clock_jump")
    alpha.tell("tick circuit_breaker_active 1")
    sink.wait_for("circuit_breaker_triggered")
    assert set(sink.names()) == {"clock_jump", "circuit_breaker_triggered"}
    ticks = alpha.tell("stop")
    eventually(lambda: engines_of(running)[0]["state"] == "stopped", "the goodbye")
    assert engines_of(running)[0]["ticks"] == ticks
    assert running.stop() == 0
    check_left_behind(tmp_path, running)
