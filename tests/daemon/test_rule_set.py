"""The rules in force, and how what is wrong with them is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tapewatch.config.load import load_config
from tapewatch.daemon.rule_set import load_rule_set
from tapewatch.model.errors import ConfigError
from tapewatch.record import Recorder
from tapewatch.testing.daemon import eventually

WRONG = """\
packs:
  - name: engine
    thresholds:
      daily_loss_warning_pct: 900
      zzz: 3
  - nosuch
rules:
  - missing/*.yaml
"""


def test_packs_thresholds_and_rule_files_that_cannot_be_are_told_with_their_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_rule_set(load_config(path, environ={"HOME": "/nonexistent"}))

    high, unknown, pack, rule = (str(problem) for problem in caught.value.problems)
    assert high == (
        f"{path}:4:31: threshold 'daily_loss_warning_pct' of pack 'engine' is 900; "
        "expected 0 to 100 percent"
    )
    assert unknown.startswith(f"{path}:5:12: pack 'engine' has no threshold 'zzz'; known: ")
    assert pack == f"{path}:6:5: there is no pack 'nosuch'; built-in: engine, self"
    assert rule == (
        f"{path}:8:5: rules: no file matches 'missing/*.yaml'; looked for {tmp_path}/missing/*.yaml"
    )


@pytest.mark.server("promtool")
def test_everything_on_metrics_is_described_with_an_alert_firing_and_no_pack_of_our_own(
    daemon: Any,
) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    running = daemon("packs: [engine]\n").start()
    with Recorder("alpha", data_dir=running.data_dir) as recorder:
        recorder.record_tick({"risk": {"circuit_breaker_active": True}, "own_figure": 3.0})
        eventually(lambda: running.alerts(active="true"), "the alert to fire")
        eventually(lambda: "ALERTS{" in running.get("/metrics")[1], "the alert on /metrics")
        _, exposed = running.get("/metrics")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "own_figure{" in exposed
