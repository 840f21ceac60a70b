"""Death, stall and goodbye of real engines reach a real receiver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tapewatch.record import Recorder
from tapewatch.testing.daemon import eventually


def state_of(daemon: Any, name: str) -> str | None:
    _, body = daemon.get("/api/tapewatch/engines")
    for engine in (body or {}).get("engines", []):
        if engine["name"] == name:
            state: str = engine["state"]
            return state
    return None


@pytest.mark.requirement("P5", "P6", "F5", "S5-92", "S5-97")
def test_a_killed_engine_is_told_as_a_crash_and_its_return_resolves_it(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    first = engine()
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")

    first.kill()
    sink.wait_for("engine_crashed")
    assert "heartbeat_lapsed" not in sink.names(), "a crash is not a stall"

    engine()
    sink.wait_for("engine_crashed", "resolved")


@pytest.mark.requirement("P6", "F6", "F7", "S5-09", "S5-69")
def test_a_frozen_engine_is_stalled_not_crashed_and_thawing_resolves_it(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    alpha = engine()
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")

    alpha.kill(signal.SIGSTOP)
    began = time.monotonic()
    sink.wait_for("heartbeat_lapsed")
    assert time.monotonic() - began < 5
    assert state_of(running, "alpha") == "stalled"
    assert "engine_crashed" not in sink.names()

    alpha.kill(signal.SIGCONT)
    sink.wait_for("heartbeat_lapsed", "resolved")


def test_a_goodbye_is_no_crash_and_ends_the_engines_alerts(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    alpha = engine()
    alpha.tell("tick circuit_breaker_active 1")
    sink.wait_for("circuit_breaker_triggered")

    alpha.tell("stop")
    sink.wait_for("circuit_breaker_triggered", "resolved")
    eventually(lambda: state_of(running, "alpha") == "stopped", "the engine to be stopped")
    ended = running.alerts(active="false")
    assert [a["reason"] for a in ended if a["rule"] == "circuit_breaker_triggered"] == [
        "engine_stopped"
    ]
    assert "engine_crashed" not in sink.names()


@pytest.mark.requirement("F8")
def test_the_daemons_own_sleep_is_not_blamed_on_a_ticking_engine(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    alpha = engine()
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")

    os.kill(running.process.pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(running.process.pid, signal.SIGCONT)

    before = alpha.tell("tick sequence 0")
    eventually(
        lambda: running.get("/api/tapewatch/engines")[1]["engines"][0]["ticks"] >= before,
        "the backlog to be read",
    )
    time.sleep(0.5)
    assert sink.names() == []
    assert state_of(running, "alpha") == "running"


@pytest.mark.requirement("P6")
def test_an_engine_that_died_while_the_daemon_was_down_is_told_at_the_next_start(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    alpha = engine()
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")
    running.stop()

    alpha.kill()
    alpha.process.wait()
    running.start()

    sink.wait_for("engine_crashed")


def test_a_retired_engine_is_watched_no_more_and_its_alerts_end(
    daemon: Any, engine: Any, sink: Any
) -> None:
    running = daemon(sink.receiver()).start()
    alpha = engine()
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")
    tool = [sys.executable, "-m", "tapewatch", "retire", "alpha"]
    tool += ["--data-dir", str(running.data_dir)]

    refused = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "stop the engine first" in refused.stderr

    alpha.kill()
    sink.wait_for("engine_crashed")
    eventually(
        lambda: subprocess.run(tool, capture_output=True, check=False).returncode == 0,
        "the engine to be retired",
    )
    sink.wait_for("engine_crashed", "resolved")
    assert state_of(running, "alpha") is None

    running.stop()
    running.start()
    assert state_of(running, "alpha") is None, "it stays retired over a restart"


def test_a_recorder_closed_in_a_process_that_lives_on_is_a_goodbye(daemon: Any, sink: Any) -> None:
    running = daemon(sink.receiver()).start()
    recorder = Recorder("alpha", data_dir=running.data_dir, cadence_s=0.5)
    recorder.record_tick({"equity": 1.0})
    eventually(lambda: state_of(running, "alpha") == "running", "the engine to run")

    recorder.close()

    eventually(lambda: state_of(running, "alpha") == "stopped", "the engine to be stopped")
    time.sleep(2.5)
    assert sink.names() == [], "the silence after a goodbye is no stall"
