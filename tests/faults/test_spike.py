"""A hundred times the usual load: bounded, right or marked stale, and the urgent comes through."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.conftest import FULL
from tests.faults.oracle import check_left_behind, engines_of

USUAL, SPIKE = 500, 50_000
SPIKE_S = 60 if FULL else 6
MAX_GROWTH = 250 << 20
"""What memory may grow by: the head's cap of samples and what a flush of them takes."""
BEHIND_S = 2.0


def engine_named(running: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in engines_of(running) if e["name"] == name)
    return found


def written_at(running: Any) -> float:
    """Return the stamp inside the newest tick that is shown, Unix seconds."""
    _, body = running.get("/api/v1/query?query=written_at%7Bengine%3D%22spiky%22%7D")
    (found,) = body["data"]["result"]
    return float(found["value"][1])


def metric(running: Any, start: str) -> float:
    _, text = running.get("/metrics")
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))


@pytest.fixture
def watched(daemon: Any, engine: Any, sink: Any) -> Any:
    """Return a daemon with the packs, an engine that will spike and one that goes on quietly."""
    cooldowns = "alerts: {cooldowns: {critical: 0s, warning: 0s}}\n"
    running = daemon(sink.receiver() + "packs: [engine, self]\n" + cooldowns).start()
    spiky, quiet = engine("spiky", rate=USUAL, cadence=0.5), engine("quiet", rate=5, cadence=0.5)
    eventually(
        lambda: {e["state"] for e in engines_of(running)} == {"running"}, "both engines to run"
    )
    return running, spiky, quiet


@pytest.mark.chaos
@pytest.mark.timeout(SPIKE_S + 120)
@pytest.mark.requirement("F52", "P1")
def test_a_spike_is_read_whole_shown_right_and_delays_no_alert(
    watched: Any, sink: Any, tmp_path: Path
) -> None:
    running, spiky, _ = watched
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    highest, wrong, alerts = before, [], 0
    first = spiky.tell(f"rate {SPIKE}")
    began = time.monotonic()
    while time.monotonic() - began < SPIKE_S:
        # 1. A value that is shown is the present one, or its engine's age says that it is not.
        behind = time.time() - written_at(running)
        age = engine_named(running, "spiky")["last_tick_age_seconds"]
        if behind > BEHIND_S and age < behind - BEHIND_S:
            wrong.append((behind, age))
        # 2. The circuit breaker is told in time, and so is its end.
        for value, status in ((1, "firing"), (0, "resolved")):
            asked = time.monotonic()
            spiky.tell(f"tick circuit_breaker_active {value}")
            eventually(
                lambda: sink.names(status).count("circuit_breaker_triggered") == alerts + 1,  # noqa: B023
                f"circuit breaker number {alerts + 1} to be told {status}",
                timeout_s=5,
            )
            assert time.monotonic() - asked < 5
        alerts += 1
        # 3. Memory stays bounded.
        highest = max(highest, process.memory_info().rss)
        time.sleep(0.5)
    recorded = spiky.tell(f"rate {USUAL}")
    took = time.monotonic() - began
    print(f"{(recorded - first) / took:,.0f} ticks/s, +{(highest - before) >> 20} MB, {alerts=}")
    if (recorded - first) / took < SPIKE * 0.5:
        pytest.skip("this machine is too busy to make the spike")
    assert not wrong, "(seconds behind, age shown)"
    assert highest - before < MAX_GROWTH
    eventually(lambda: engine_named(running, "spiky")["ticks"] >= recorded, "all to be read")
    assert engine_named(running, "spiky")["lost"] == 0
    assert {e["state"] for e in engines_of(running)} == {"running"}
    assert set(sink.names()) == {"circuit_breaker_triggered"}
    ticks = spiky.tell("stop")
    eventually(lambda: engine_named(running, "spiky")["state"] == "stopped", "the goodbye")
    assert engine_named(running, "spiky")["ticks"] == ticks
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F52", "P1", "F8", "S5-28")
def test_what_a_spike_overwrites_is_counted_and_the_urgent_is_what_stays(
    daemon: Any, engine: Any, sink: Any, tmp_path: Path
) -> None:
    # A ring far smaller than the spike, and a daemon that does not read for a while: ticks must
    # go, the oldest first. Events, the heartbeat and the newest state must not.
    running = daemon(sink.receiver() + "packs: [engine, self]\n").start()
    spiky = engine("spiky", rate=USUAL, cadence=0.5, frame_bytes=1 << 20)
    eventually(lambda: [e["state"] for e in engines_of(running)] == ["running"], "it to run")
    running.process.send_signal(signal.SIGSTOP)
    spiky.tell(f"rate {SPIKE}")
    spiky.tell("error")
    time.sleep(1.5)
    spiky.tell("tick circuit_breaker_active 1")
    recorded = spiky.tell(f"rate {USUAL}")
    running.process.send_signal(signal.SIGCONT)

    sink.wait_for("circuit_breaker_triggered", timeout_s=5)
    sink.wait_for("frames_lost", timeout_s=20)

    def read_and_lost() -> int:
        shown = engine_named(running, "spiky")
        return int(shown["ticks"] + shown["lost"])

    eventually(lambda: read_and_lost() >= recorded, "every tick to be read or counted")
    assert engine_named(running, "spiky")["state"] == "running"
    assert set(sink.names()) == {"circuit_breaker_triggered", "frames_lost"}
    assert time.time() - written_at(running) < BEHIND_S
    lost = metric(running, 'tapewatch_engine_frames_lost_total{engine="spiky"')
    assert lost > 0
    assert metric(running, 'tapewatch_engine_errors_total{engine="spiky"') == 1
    assert metric(running, 'tapewatch_engine_events_lost_total{engine="spiky"') == 0
    ticks = spiky.tell("stop")
    eventually(lambda: engine_named(running, "spiky")["state"] == "stopped", "the goodbye")
    assert read_and_lost() == ticks, "read or counted as lost, each once"
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F52", "F5", "P6")
def test_an_engine_that_dies_behind_a_long_backlog_is_told_as_a_crash(
    daemon: Any, engine: Any, sink: Any
) -> None:
    # What is left to read takes more than the round in which the death is seen.
    running = daemon(sink.receiver() + "packs: [engine]\n").start()
    spiky = engine("spiky", rate=USUAL, cadence=0.5)
    eventually(lambda: [e["state"] for e in engines_of(running)] == ["running"], "it to run")
    running.process.send_signal(signal.SIGSTOP)
    spiky.tell(f"rate {2 * SPIKE}")
    time.sleep(3)
    recorded = spiky.tell(f"rate {USUAL}")
    spiky.kill()
    spiky.process.wait()
    running.process.send_signal(signal.SIGCONT)
    sink.wait_for("engine_crashed", timeout_s=10)
    assert "heartbeat_lapsed" not in sink.names()

    def read_and_lost() -> int:
        shown = engine_named(running, "spiky")
        return int(shown["ticks"] + shown["lost"])

    eventually(lambda: read_and_lost() >= recorded, "every tick to be read or counted")
