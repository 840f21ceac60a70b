"""The engine as a process: it obeys its control pipe, reports evidence, and dies as told."""

from __future__ import annotations

import http.client
import io
import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tapewatch.demo.children import EngineChild
from tapewatch.demo.control import CommandPipe, ReportPipe
from tapewatch.demo.engine import main, read_script
from tapewatch.demo.ledger import Notice
from tapewatch.demo.sink import AlertSink

WAIT_S = 20.0


class Started:
    """An engine process with what it reported."""

    def __init__(self, folder: Path) -> None:
        self.reports: queue.Queue[dict[str, Any]] = queue.Queue()
        self.child = EngineChild(folder, folder / "demo", 5.0, self.reports.put)

    def await_report(self, key: str, value: object = None) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while True:
            report = self.reports.get(timeout=max(0.01, deadline - time.monotonic()))
            if key in report and value in (None, report[key]):
                return report


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.child.stop()


def test_a_fault_on_the_pipe_is_reported_with_the_time_of_its_first_tick(started: Started) -> None:
    started.await_report("status")
    before = time.monotonic_ns()
    started.child.send({"inject": "broker_session"})
    report = started.await_report("evidence")
    assert report["evidence"] == "broker_session_lost"
    assert before < report["mono_ns"] < time.monotonic_ns()


def test_a_hung_loop_says_when_its_last_tick_was_and_is_freed_by_healing(started: Started) -> None:
    started.await_report("status")
    started.child.send({"inject": "engine_stall"})
    hung = started.await_report("evidence", "loop_hung")
    assert hung["mono_ns"] < time.monotonic_ns()
    # While hung it obeys nothing but healing: the broker's fault comes too late to be heard.
    started.child.send({"inject": "broker_session"})
    started.child.send({"heal": "engine_stall"})
    started.await_report("status")


def test_an_unknown_fault_is_refused_and_trading_goes_on(started: Started) -> None:
    started.child.send({"inject": "earthquake"})
    assert started.await_report("refused")["refused"] == {"inject": "earthquake"}
    started.await_report("status")


def test_a_clean_stop_leaves_a_closed_tape_and_exit_code_zero(tmp_path: Path) -> None:
    started = Started(tmp_path)
    started.await_report("status")
    assert started.child.stop() == 0
    assert [file.suffix for file in (tmp_path / "tapes").iterdir()].count(".tape") == 1


def test_a_killed_engine_is_gone_at_once(tmp_path: Path) -> None:
    started = Started(tmp_path)
    started.await_report("status")
    started.child.kill()
    assert started.child.process.returncode == -9
    assert started.child.stop() == -9


def test_the_engine_ends_when_the_runner_that_commands_it_is_gone(started: Started) -> None:
    started.await_report("status")
    stdin = started.child.process.stdin
    assert stdin is not None
    stdin.close()
    assert started.child.process.wait(WAIT_S) == 0


def test_a_fault_script_is_played_without_a_runner(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        '[{"at": 0.2, "fault": "broker_session", "seconds": 0.2},'
        ' {"at": 0.5, "fault": "engine_stall", "seconds": 0.1},'
        ' {"at": 0.9, "fault": "crash", "seconds": 0}]'
    )
    done = subprocess.run(
        [sys.executable, "-m", "tapewatch.demo.engine", "--script", script, "--data-dir", tmp_path],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert "broker_session_lost" in [report.get("evidence") for report in reports]


@pytest.mark.parametrize(
    "text", ['[{"at": 1}]', '[{"at": 1, "fault": "flood", "seconds": 1}]', "[3]"]
)
def test_a_wrong_script_entry_is_named_with_the_faults_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry 0: .* expected .* broker_session"):
        read_script(text)


def test_a_script_that_cannot_be_read_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.json"
    assert main(["--data-dir", str(tmp_path), "--script", str(missing)]) == 1
    assert "none.json" in capsys.readouterr().err


def test_commands_are_read_line_by_line_however_they_are_cut() -> None:
    reading, writing = os.pipe()
    try:
        pipe = CommandPipe(reading)
        os.write(writing, b'{"a": 1}\nnot json\n[1]\n{"b"')
        assert pipe.wait(1.0) == [{"a": 1}]
        assert pipe.wait(0.0) == []
        os.write(writing, b": 2}\n")
        assert pipe.wait(1.0) == [{"b": 2}]
    finally:
        os.close(writing)
    assert pipe.wait(1.0) == []
    assert pipe.closed
    assert pipe.wait(1.0) == []
    os.close(reading)


def test_a_report_reader_that_went_away_does_not_stop_the_engine() -> None:
    stream = io.StringIO()
    pipe = ReportPipe(stream)
    pipe.send({"a": 1})
    assert stream.getvalue() == '{"a": 1}\n'
    stream.close()
    pipe.send({"a": 2})
    assert pipe.broken


def test_the_sink_stamps_alerts_and_refuses_what_is_none() -> None:
    taken: queue.Queue[Notice] = queue.Queue()
    sink = AlertSink(taken.put)
    sink.start()
    try:
        host = sink.url.removeprefix("http://").removesuffix("/alerts")
        connection = http.client.HTTPConnection(host, timeout=WAIT_S)
        payload = {"alerts": [{"status": "firing", "labels": {"alertname": "x"}}]}
        for body, status in ((json.dumps(payload), 200), ("{}", 400)):
            connection.request("POST", "/alerts", body)
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()
        notice = taken.get(timeout=WAIT_S)
        assert notice.alert == "x"
        assert notice.received_ns <= time.monotonic_ns()
    finally:
        sink.close()
