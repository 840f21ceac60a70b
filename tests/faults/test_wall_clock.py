"""Somebody sets the machine's clock, while the daemon runs and between two runs."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.conftest import FULL
from tests.faults.oracle import check_left_behind, engines_of

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the shim")

HOUR, DAY = 3600, 86400
YEAR = 365 * DAY
RULES = """
groups:
  - name: clock
    rules:
      - {alert: losing, expr: pnl_daily < 0, labels: {severity: critical}}
"""
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *shift;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_SHIFT");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) shift = at;
}

static long long moved(void) { return shift ? *shift : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ||
                    clock == CLOCK_BOOTTIME))
        now->tv_sec += moved();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return result;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


class WallClock:
    """The wall clock that a process with this environment sees."""

    def __init__(self, directory: Path) -> None:
        source, library = directory / "shim.c", directory / "shim.so"
        source.write_text(SHIM)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True
        )
        self._shift = directory / "shift"
        self._shift.write_bytes(bytes(8))
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._shift)}

    def jump(self, seconds: int) -> None:
        """Set the clock so far from the true time, at once."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


def wait_deviation(running: Any, seconds: float) -> None:
    def shown() -> bool:
        check = running.get("/health/detailed")[1]["checks"]["clock"]
        if seconds == 0:
            return bool(check["status"] == "healthy")
        found = check.get("details", {}).get("deviation_seconds", 0)
        return bool(check["status"] == "degraded") and abs(found - seconds) < 2.5

    eventually(shown, f"health to show {seconds:+} s", timeout_s=5)


@pytest.mark.requirement("F47", "S5-69")
def test_a_clock_that_is_set_changes_no_judgement_and_is_shown(
    daemon: Any, engine: Any, sink: Any, clock: WallClock, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    cooldowns = "alerts: {cooldowns: {critical: 0s, warning: 0s}}\n"
    running = daemon(
        sink.receiver() + f"rules: [{tmp_path}/rules.yaml]\n" + cooldowns, environ=clock.environ
    )
    running.start()
    alpha = engine(rate=50, cadence=0.02)
    eventually(lambda: [e["state"] for e in engines_of(running)] == ["running"], "it to run")
    jumps = (HOUR, -DAY, 10 * YEAR, -int(time.time()) + 1000, 3, 0)
    for told, jump in enumerate(jumps, 1):
        clock.jump(jump)
        wait_deviation(running, jump)
        alpha.tell("tick pnl_daily -1")
        eventually(lambda: sink.names().count("losing") == told, f"alert {told} at {jump:+} s")  # noqa: B023
        alpha.tell("tick pnl_daily 1")
        eventually(
            lambda: sink.names("resolved").count("losing") == told,  # noqa: B023
            f"its end at {jump:+} s",
        )
        assert engines_of(running)[0]["state"] == "running"
    assert set(sink.names()) <= {"losing", "clock_jump"}, "no storm of lapses"
    sink.wait_for("clock_jump")

    began = time.monotonic()
    alpha.kill(signal.SIGSTOP)
    sink.wait_for("heartbeat_lapsed")
    assert time.monotonic() - began < 5
    alpha.kill(signal.SIGCONT)
    ticks = alpha.tell("stop")
    eventually(lambda: engines_of(running)[0]["state"] == "stopped", "the goodbye")
    assert engines_of(running)[0]["ticks"] == ticks
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F49", "F47", "P2")
@pytest.mark.parametrize("jump", [-HOUR, -DAY, HOUR] if FULL else [-DAY, HOUR])
def test_a_clock_set_between_two_runs_tells_nothing_twice_and_keeps_the_order(
    chaos: Any, clock: WallClock, tmp_path: Path, jump: int
) -> None:
    running, oracle = chaos(environ=clock.environ)
    running.start()
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    ids = {a["id"]: a["started_at"] for a in running.alerts()}
    running.kill()

    clock.jump(jump)
    oracle.raise_case()
    running.start()
    oracle.raise_for(0.3)
    oracle.wait_until_told()
    oracle.check_repeats(at_most=1)
    again = {a["id"]: a["started_at"] for a in running.alerts()}
    assert ids.items() <= again.items(), "known alerts keep their identity and time"
    fresh = [at for key, at in again.items() if key not in ids]
    assert min(fresh) > max(ids.values()), "what came later is dated later"
    assert "heartbeat_lapsed" not in oracle.sink.names()
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)
