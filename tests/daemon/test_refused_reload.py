"""A reload that is refused is seen by itself, whatever rules are in force."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually


def told(running: Any, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tapewatch", *command, "--data-dir", str(running.data_dir)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "400"},
    )


@pytest.mark.requirement("S2-100", "F61")
def test_a_refused_reload_shows_in_status_and_health_until_one_is_taken(daemon: Any) -> None:
    running = daemon("packs: []\n").start()
    assert told(running, "health", "configuration").returncode == 0
    good = running.config_path.read_text()
    running.config_path.write_text(good + "rules: [missing.yaml]\nwizards: 7\n")
    line = good.count("\n") + 1
    running.process.send_signal(signal.SIGHUP)

    def detailed() -> Any:
        return running.get("/health/detailed")[1]["checks"]["configuration"]

    eventually(lambda: detailed()["status"] == "degraded", "the refusal in health")
    check = detailed()
    place = f"{running.config_path}:{line}:9: rules: no file matches 'missing.yaml'"
    assert place in check["message"]
    assert "the earlier configuration stays in force" in check["message"]
    assert "(and 1 more)" in check["message"]
    assert len(check["details"]["problems"]) == 2
    for command in ("status", "health"):
        done = told(running, command)
        assert done.returncode == 1, done
        assert place in done.stdout.splitlines()[0]
    assert place in running.get("/status")[1]["configuration"]

    running.config_path.write_text(good)
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: detailed()["status"] == "healthy", "the refusal to be over")
    assert told(running, "health", "configuration").returncode == 0
    assert running.stop() == 0
