"""One look finds everything: a type error hides no missing file, a bad rule no bad reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.daemon.whole_config import load_whole, load_whole_again
from tapewatch.model.errors import ConfigError

WRONG = """\
timezone: 12
timezone: UTC
storage:
  max_series: many
listen: 0.0.0.0:8090
web:
  auth_token_file: /nonexistent/token
receivers:
  - {name: ops, kind: webhok}
  - {name: meta, kind: webhook, url: "http://169.254.169.254/latest"}
engines:
  - {name: momentum}
  - {name: momentum}
packs:
  - [engine]
  - nosuch
  - name: engine
    thresholds: {daily_loss_warning_pct: 900}
rules:
  - 7
  - missing.yaml
  - broken.yaml
"""
BROKEN = """\
groups:
- name: g
  rules:
  - alert: A
    alert: A
    expr: sum(
"""


def said(path: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_whole(path, environ={"HOME": "/nonexistent", **environ})
    return [str(p).replace(f"{path.parent}/", "") for p in caught.value.problems]


@pytest.mark.requirement("S5-86")
def test_every_problem_of_settings_packs_and_rule_files_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text(WRONG)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    expected = (
        ("tapewatch.yaml:2:1: ", "duplicate key 'timezone'"),
        ("tapewatch.yaml:1:11: ", "timezone: found the number 12"),
        ("tapewatch.yaml:4:15: ", "storage.max_series: found"),
        ("tapewatch.yaml:7:20: ", "/nonexistent/token does not exist"),
        ("tapewatch.yaml:9:23: ", 'did you mean "webhook"?'),
        ("tapewatch.yaml:10:38: ", 'receiver "meta": url: '),
        ("tapewatch.yaml:13:5: ", 'the name "momentum" is taken by engines[0]'),
        ("tapewatch.yaml:15:5: ", "packs[0]"),
        ("tapewatch.yaml:16:5: ", "there is no pack 'nosuch'"),
        ("tapewatch.yaml:18:42: ", "'daily_loss_warning_pct' of pack 'engine' is 900"),
        ("tapewatch.yaml:20:5: ", "rules[0]: found the number 7"),
        ("tapewatch.yaml:21:5: ", "no file matches 'missing.yaml'"),
        ("broken.yaml:5:5: ", "duplicate key 'alert'"),
        ("broken.yaml:6:", "alert 'A': "),
    )
    found = said(path)
    for place, words in expected:
        assert any(f.startswith(place) and words in f for f in found), (place, words, found)
    assert len(found) == len(expected), found


def test_what_was_refused_is_no_ground_for_a_second_complaint(tmp_path: Path) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text("listen: 0.0.0.0:1\nweb: {auth_token_file: 5}\n")
    assert len(said(path)) == 1  # and not that there is no token
    path.write_text("receivers:\n  - {name: ops, kind: webhook, url: 5}\n")
    assert len(said(path)) == 1  # and not that it needs a url


def test_a_wrong_flag_or_variable_hides_no_missing_rule_file(tmp_path: Path) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text("rules: [missing.yaml]\n")
    rule, variable = said(path, TAPEWATCH_STORAGE__MAX_SERIES="many")
    assert "TAPEWATCH_STORAGE__MAX_SERIES" in variable
    assert rule.startswith("tapewatch.yaml:1:9: rules: no file matches")


def test_a_pack_s_wrong_rules_hide_no_wrong_threshold(tmp_path: Path) -> None:
    pack = tmp_path / "mine"
    pack.mkdir()
    (pack / "pack.yaml").write_text("pack: mine\ndescription: d\nwizards: 1\n")
    (pack / "rules.yaml").write_text(BROKEN)
    path = tmp_path / "tapewatch.yaml"
    path.write_text("packs:\n  - {name: ./mine, thresholds: {zzz: 3}}\n")
    found = said(path)
    for words in ("unknown key 'wizards'", "no threshold 'zzz'", "duplicate key", "alert 'A'"):
        assert any(words in f for f in found), (words, found)


def test_a_file_that_is_no_yaml_or_gone_is_one_problem_with_its_next_step(tmp_path: Path) -> None:
    path = tmp_path / "tapewatch.yaml"
    path.write_text("rules: [\n")
    assert len(said(path)) == 1
    path.write_text("packs: []\n")
    config, _ = load_whole(path, environ={"HOME": "/nonexistent"})
    path.unlink()
    with pytest.raises(ConfigError, match="is gone") as caught:
        load_whole_again(config)
    assert caught.value.next_step == "put it back, or restart without it"
