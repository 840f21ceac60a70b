"""The rules in force, and how what is wrong with them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.config.load import load_config
from tapewatch.daemon.rule_set import load_rule_set
from tapewatch.model.errors import ConfigError

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
        f"{path}:8:5: rules[0]: no file matches 'missing/*.yaml'; "
        f"looked for {tmp_path}/missing/*.yaml"
    )
