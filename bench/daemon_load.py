"""What the daemon carries and costs: 50,000 ticks a second without loss, and idleness."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.report import Figure, report
from tapewatch.testing.daemon import DaemonProcess, eventually

BENCH = "daemon_load"
RATE = 50_000
FIELDS = 15

ENGINE = """
import sys, time
from tapewatch.record import Recorder
rate, seconds, fields = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
recorder = Recorder("load", cadence_s=1.0)
tick = {f"field_{i}": float(i) for i in range(fields)}
record = recorder.record_tick
start = time.perf_counter()
done = 0
while (now := time.perf_counter() - start) < seconds:
    due = int(now * rate)
    for n in range(done, due):
        tick["field_0"] = n
        tick["field_3"] = n * 0.25
        record(tick)
    done = due
    time.sleep(0.001)
print(done, flush=True)
input()
"""


def ticks_read(daemon: DaemonProcess, name: str) -> tuple[int, int]:
    """Return ticks read and records lost or dropped of an engine."""
    _, body = daemon.get("/status", timeout_s=30)
    for engine in (body or {}).get("engines", []):
        if engine["name"] == name:
            return int(engine["ticks"]), int(engine.get("lost", 0))
    return 0, 0


def main() -> int:
    """Measure load, then idleness, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=RATE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        with DaemonProcess(Path(directory) / "idle", "receivers: []\n") as daemon:
            assert daemon.process is not None
            process = psutil.Process(daemon.process.pid)
            time.sleep(2)
            idle_cpu, idle_rss = _cost(process, options.idle_seconds)
        with DaemonProcess(Path(directory) / "load", "receivers: []\n") as daemon:
            assert daemon.process is not None
            process = psutil.Process(daemon.process.pid)
            engine = subprocess.Popen(
                [
                    *(sys.executable, "-c", ENGINE),
                    *(str(options.rate), str(options.seconds), str(FIELDS)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TAPEWATCH_DATA_DIR": str(daemon.data_dir)},
            )
            busy = _spent(process)
            began = time.monotonic()
            assert engine.stdout is not None
            sent = int(engine.stdout.readline())
            elapsed = time.monotonic() - began
            caught_up = time.monotonic()
            eventually(
                lambda: sum(ticks_read(daemon, "load")) >= sent,
                f"{sent} ticks to be read",
                timeout_s=60,
            )
            lag = time.monotonic() - caught_up
            load_cpu = (_spent(process) - busy) / (elapsed + lag)
            read, lost = ticks_read(daemon, "load")
            rss = process.memory_info().rss / 1e6
            engine.communicate("\n")
    held = report(
        [
            Figure(BENCH, "ticks recorded", sent / elapsed, "ticks/s"),
            Figure(BENCH, "ticks not read", float(sent - read), "ticks", limit=0),
            Figure(BENCH, "records lost", float(lost), "records", limit=0),
            Figure(BENCH, "time behind at the end", lag, "s"),
            Figure(BENCH, "processor under load", load_cpu * 100, "% of a core"),
            Figure(BENCH, "memory under load", rss, "MB"),
            Figure(BENCH, "processor idle", idle_cpu * 100, "% of a core", limit=1),
            Figure(BENCH, "memory idle", idle_rss / 1e6, "MB", limit=100),
        ]
    )
    return 0 if held and sent / elapsed >= options.rate * 0.98 else 1


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cost(process: psutil.Process, seconds: float) -> tuple[float, float]:
    before = _spent(process)
    time.sleep(seconds)
    return (_spent(process) - before) / seconds, float(process.memory_info().rss)


if __name__ == "__main__":
    sys.exit(main())
