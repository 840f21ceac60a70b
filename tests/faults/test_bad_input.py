"""Wrong settings and rules: the error names its place, and what is in force stays in force."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.oracle import RULES

BAD_CONFIGS = {
    "an unknown key": ("wizards: 7\n", ("tapewatch.yaml:3", "wizards")),
    "a key given twice": ("timezone: UTC\ntimezone: UTC\n", ("tapewatch.yaml:4", "timezone")),
    "a wrong type": ("storage: {max_series: many}\n", ("tapewatch.yaml:3", "max_series", "many")),
    "a list instead of a mapping": ("storage: [1, 2]\n", ("tapewatch.yaml:3", "storage")),
    "a missing rule file": ("rules: [nowhere.yaml]\n", ("nowhere.yaml",)),
    "no YAML": ("receivers: [}\n", ("tapewatch.yaml:3",)),
}
BAD_RULES = {
    "bad PromQL": (RULES.replace("chaos_signal > 0", "sum(chaos_signal"), ("bad.yaml:6",)),
    "an unknown field": (RULES.replace("labels:", "lables:"), ("bad.yaml:7", "lables")),
    "a field given twice": (
        RULES.replace("        labels:", "        expr: 'x'\n        labels:"),
        ("bad.yaml:7", "expr"),
    ),
    "half a file": (RULES[: len(RULES) // 2] + "{", ("bad.yaml",)),
}


def start_and_end(running: Any) -> str:
    """Start a daemon that is not to start; return what it said."""
    running.start(ready=False)
    assert running.process.wait(30) not in (0, -signal.SIGKILL)
    said: str = running.log_path.read_text()
    assert "Traceback" not in said
    running.log_path.unlink()
    return said


@pytest.mark.requirement("S5-86")
def test_a_daemon_that_cannot_start_says_where_what_and_what_next(
    daemon: Any, tmp_path: Path
) -> None:
    running = daemon()
    for name, (text, expected) in BAD_CONFIGS.items():
        running.write_config(text)
        said = start_and_end(running)
        for word in expected:
            assert word in said, f"{name}: {said}"
    for name, (text, expected) in BAD_RULES.items():
        (tmp_path / "bad.yaml").write_text(text)
        running.write_config(f"rules: [{tmp_path}/bad.yaml]\n")
        said = start_and_end(running)
        for word in expected:
            assert word in said, f"{name}: {said}"

    running.write_config("")
    with socket.create_server(("127.0.0.1", running.port)):
        said = start_and_end(running)
    assert f"127.0.0.1:{running.port}" in said
    assert f"pid {os.getpid()}" in said
    assert "--listen" in said


@pytest.mark.requirement("S5-86")
@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_a_directory_that_may_not_be_written_is_named(daemon: Any, tmp_path: Path) -> None:
    running = daemon()
    running.data_dir = Path("/proc/tapewatch")
    running.write_config("")
    said = start_and_end(running)
    assert "/proc/tapewatch" in said
    assert "--data-dir" in said


def post_reload(running: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    here = Path.cwd()
    os.chdir(running.data_dir)
    try:
        connection.sock.connect("tapewatch.sock")
    finally:
        os.chdir(here)
    connection.request(
        "POST",
        "/-/reload",
        body="{}",
        headers={"Content-Type": "application/json", "X-Tapewatch": "1"},
    )
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.requirement("F61", "S5-86")
def test_a_refused_reload_leaves_everything_in_force(chaos: Any, tmp_path: Path) -> None:
    running, oracle = chaos()
    running.start()
    first = oracle.raise_case()
    oracle.wait_until_told()
    config = running.config_path.read_text()
    rules = tmp_path / "rules.yaml"

    def refused_by_post(expected: tuple[str, ...], name: str) -> None:
        status, body = post_reload(running)
        assert status in (400, 409, 422, 500), f"{name}: {status} {body}"
        for word in expected:
            assert word in body, f"{name}: {body}"

    for name, (text, _) in BAD_CONFIGS.items():
        running.config_path.write_text(config + text)
        # The places are further down now.
        refused_by_post((), name)
    running.config_path.write_text(config)
    for name, (text, expected) in BAD_RULES.items():
        rules.write_text(text)
        refused_by_post(tuple(word.replace("bad.yaml", "rules.yaml") for word in expected), name)
    rules.unlink()
    refused_by_post(("rules.yaml",), "a rule file that is gone")
    running.config_path.unlink()
    refused_by_post((), "a configuration that is gone")

    refusals = len([line for line in running.log_lines() if line["event"] == "reload_refused"])
    running.config_path.write_text(config + "wizards: 7\n")
    running.process.send_signal(signal.SIGHUP)
    eventually(
        lambda: len([x for x in running.log_lines() if x["event"] == "reload_refused"]) > refusals,
        "the refusal of the hangup's reload",
    )
    oracle.sink.wait_for("config_reload_failed", timeout_s=30)
    _, metrics = running.get("/metrics")
    assert "tapewatch_config_reload_successful 0" in metrics

    oracle.raise_case()
    oracle.wait_until_told()
    running.config_path.write_text(config)
    rules.write_text(RULES)
    status, body = post_reload(running)
    assert status == 200, body
    assert json.loads(body)["status"] == "reloaded"
    oracle.sink.wait_for("config_reload_failed", "resolved", timeout_s=30)
    oracle.check_repeats(at_most=0)
    assert first in {a["labels"].get("case") for a in running.alerts(active="true")}
    oracle.check_ticks(running)
    assert running.stop() == 0


def test_a_severity_that_nobody_knows_is_said_in_the_log_at_the_start_and_at_a_reload(
    chaos: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    rules = tmp_path / "rules.yaml"
    rules.write_text(rules.read_text().replace("severity: critical", "severity: page"))

    def doubtful() -> list[str]:
        return [x["problem"] for x in running.log_lines() if x["event"] == "rule_doubtful"]

    running.start()
    assert len(doubtful()) == 1
    assert "unknown severity 'page'" in doubtful()[0]
    assert post_reload(running)[0] == 200
    eventually(lambda: len(doubtful()) == 2, "the reload to say it again")
    oracle.raise_case()
    oracle.wait_until_told()
    assert {alert["severity"] for alert in running.alerts()} == {"WARNING"}


@pytest.mark.requirement("S5-86")
def test_check_config_finds_what_a_start_would(daemon: Any, tmp_path: Path) -> None:
    running = daemon()
    text = "wizards: 7\ntimezone: 12\nstorage: {max_series: many}\n"
    running.write_config(text)
    done = subprocess.run(
        [sys.executable, "-m", "tapewatch", "check-config", "--config", str(running.config_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for word in ("wizards", "timezone", "max_series", ":3:", ":5:"):
        assert word in said, said
