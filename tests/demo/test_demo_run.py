"""The main job from outside: every fault of the demo is told in time, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tapewatch.demo.faults import Fault
from tapewatch.demo.timetable import SCENARIOS

COMMAND = [sys.executable, "-m", "tapewatch", "demo", "--json"]


@pytest.mark.timeout(150)
@pytest.mark.requirement("S5-92", "S5-93", "S5-97", "S5-98", "S5-82", "S5-83")
def test_every_fault_raises_its_alerts_and_each_resolves(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "40", "--data-dir", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["missing"] == []
    assert summary["unexpected"] == []
    assert done.returncode == 0
    assert [fault["fault"] for fault in summary["faults"]] == list(Fault)
    alerts = [alert for fault in summary["faults"] for alert in fault["alerts"]]
    assert [a["alert"] for a in alerts] == [e.alert for s in SCENARIOS for e in s.expected]
    assert [a["alert"] for a in alerts if not a["resolved"]] == []
    # Two busy cores and other tests: an order of magnitude above what an idle machine shows.
    assert 0.0 < summary["latency_ms"]["p50"] < 250.0
    files = tmp_path.glob("logs/alerts/*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {e.alert for s in SCENARIOS for e in s.expected} <= {line["rule"] for line in lines}
    assert list(tmp_path.glob("data/monitoring/metrics_*.json"))


@pytest.mark.timeout(90)
def test_ctrl_c_ends_every_process_and_prints_the_summary(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--data-dir", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "faults follow" in line:
                break
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["missing"] == []
    assert [child for child in children if child.is_running()] == []


@pytest.mark.timeout(90)
def test_when_the_demo_itself_is_killed_nothing_of_it_stays_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--data-dir", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "faults follow" in line:
                break
        children = psutil.Process(process.pid).children()
    finally:
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
