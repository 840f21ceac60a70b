"""Packs are data: what is in them is checked, and settings rewrite plain rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tapewatch.config.packs import BUILT_IN, built_in_packs, load_pack
from tapewatch.model.errors import ConfigError
from tapewatch.model.metric import MetricType
from tapewatch.promql import format_expr, metric_names
from tapewatch.rules.model import AlertingRule

PACKS = ["engine", "self"]


def alerts(pack: Any) -> list[AlertingRule]:
    return [r for g in pack.groups for r in g.rules if isinstance(r, AlertingRule)]


def test_these_packs_come_with_tapewatch() -> None:
    assert built_in_packs() == PACKS


@pytest.mark.parametrize("name", PACKS)
def test_every_alert_has_severity_summary_description_and_runbook(name: str) -> None:
    pack = load_pack(name)
    for rule in alerts(pack):
        assert rule.labels["severity"] in ("info", "warning", "critical")
        assert {"summary", "description", "runbook_url"} <= rule.annotations.keys()
        runbook = (pack.directory / rule.annotations["runbook_url"]).read_text()
        assert rule.name in runbook
        for part in ("What it means", "Look at", "Do", "When it ends"):
            assert f"## {part}\n" in runbook
        assert rule.source == f"pack:{name}"


@pytest.mark.parametrize("name", PACKS)
def test_every_metric_in_a_rule_is_in_a_catalogue(name: str) -> None:
    known = {n for p in PACKS for n in load_pack(p).catalogue.definitions}
    for rule in alerts(load_pack(name)):
        assert (metric_names(rule.expr) or set()) - known == set(), rule.name
        for expr in rule.context.values():
            assert (metric_names(expr) or set()) - known == set(), rule.name


@pytest.mark.parametrize("name", PACKS)
def test_no_runbook_is_left_over(name: str) -> None:
    pack = load_pack(name)
    used = {rule.annotations["runbook_url"] for rule in alerts(pack)}
    there = {f"runbooks/{path.name}" for path in (pack.directory / "runbooks").iterdir()}
    assert there == used


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules_as_shipped_and_as_in_force(name: str, tmp_path: Path) -> None:
    in_force = tmp_path / "rules.yaml"
    thresholds = {"daily_loss_warning_pct": 2.5, "max_position_value": 5e5}
    in_force.write_text(load_pack(name, thresholds if name == "engine" else {}).rules_text)
    for path in (BUILT_IN / name / "rules.yaml", in_force):
        done = subprocess.run(
            ["promtool", "check", "rules", str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.requirement("S5-13", "S5-14", "S5-15", "S5-16", "S5-17", "S5-18", "S5-19")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("heartbeat.last_tick", "heartbeat_last_tick_timestamp_seconds"),
        ("heartbeat.uptime_seconds", "heartbeat_uptime_seconds"),
        ("positions.count", "positions_count"),
        ("positions.total_value", "positions_total_value"),
        ("positions.symbols", "positions_symbols"),
        ("pnl.daily", "pnl_daily"),
        ("pnl.unrealized", "pnl_unrealized"),
        ("pnl.realized", "pnl_realized"),
        ("risk.circuit_breaker_active", "risk_circuit_breaker_active"),
        ("risk.daily_loss_pct", "risk_daily_loss_pct"),
        ("risk.max_position_value", "risk_max_position_value"),
        ("sentiment.last_score", "sentiment_last_score"),
        ("sentiment.provider_errors_1h", "sentiment_provider_errors_1h"),
        ("sentiment.cache_hit_rate", "sentiment_cache_hit_rate"),
        ("connectivity.breeze_authenticated", "connectivity_breeze_authenticated"),
        ("connectivity.last_api_call", "connectivity_last_api_call_timestamp_seconds"),
        ("artifacts.teacher_model_age_hours", "artifacts_teacher_model_age_hours"),
        ("artifacts.student_model_age_hours", "artifacts_student_model_age_hours"),
        ("circuit_breaker_active", "risk_circuit_breaker_active"),
        ("sentiment_failures_1h", "sentiment_provider_errors_1h"),
        ("daily_loss_pct", "risk_daily_loss_pct"),
    ],
)
def test_the_whole_schema_and_its_flat_aliases_have_names(path: str, name: str) -> None:
    definition = load_pack("engine").catalogue.by_path(path)
    assert definition is not None
    assert definition.name == name
    assert definition.help


def test_own_counters_are_counters_by_type_and_name() -> None:
    for definition in load_pack("self").catalogue.definitions.values():
        is_counter = definition.type is MetricType.COUNTER
        assert is_counter == definition.name.endswith("_total")


@pytest.mark.requirement("S5-11", "S5-25")
def test_a_setting_rewrites_the_literal_and_nothing_else() -> None:
    rules = alerts(load_pack("engine", {"daily_loss_warning_pct": 3, "artifact_stale_hours": 6}))
    shown = [format_expr(r.expr) for r in rules if r.name == "daily_loss_high"]
    assert shown == ["risk_daily_loss_pct < -3", "risk_daily_loss_pct < -5"]
    (model,) = [format_expr(r.expr) for r in rules if r.name == "stale_teacher_model"]
    assert model.count("> 6") == 2
    assert "24" not in model
    text = load_pack("engine", {"max_position_value": 250000}).rules_text
    assert '"risk_max_position_value > 250000"' in text


def test_settings_say_what_is_in_force() -> None:
    pack = load_pack("engine", {"max_open_positions": 7})
    assert pack.thresholds["max_open_positions"] == 7
    assert pack.thresholds["daily_loss_critical_pct"] == 5
    for setting in pack.settings:
        assert setting.help.endswith(".")
        assert setting.rewrites


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"daily_los_warning_pct": 1}, "did you mean 'daily_loss_warning_pct'?"),
        ({"zzz": 1}, "has no threshold 'zzz'; known: daily_loss_warning_pct"),
        ({"daily_loss_warning_pct": 101}, "is 101; expected 0 to 100 percent"),
        ({"daily_loss_warning_pct": float("nan")}, "expected 0 to 100"),
        ({"max_open_positions": -1}, "is -1; expected 0 to"),
        ({"max_position_value": 1e300}, "expected 0 to 1e+15 currency"),
    ],
)
def test_a_threshold_that_cannot_be_is_named(thresholds: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pack("engine", thresholds)
    assert message in str(caught.value)


def test_an_unknown_pack_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'engine'"):
        load_pack("engin")
    with pytest.raises(ConfigError, match="built-in: "):
        load_pack("zzzzz")
    with pytest.raises(ConfigError, match="there is none here"):
        load_pack(str(tmp_path))


GOOD = """\
pack: mine
description: A pack of somebody.
metrics:
  - {name: spread_bps, path: book.spread, unit: bps, help: Spread.}
settings:
  - {name: max_spread, help: Most spread., default: 3, rewrites: [{alert: wide}]}
  - {name: patience, help: Time., default: 60, rewrites: [{alert: wide, part: for}]}
alerts:
  wide: {context: {limit: {setting: max_spread}, now: spread_bps}}
interval_only: [slow]
"""
RULES = """\
groups:
  - name: fast
    rules:
      - {alert: wide, expr: 3 < spread_bps, for: 1m}
  - name: slow
    rules:
      - {record: spread:max, expr: max(spread_bps)}
"""


def written(tmp_path: Path, pack: str = GOOD, rules: str = RULES) -> str:
    (tmp_path / "pack.yaml").write_text(pack)
    (tmp_path / "rules.yaml").write_text(rules)
    return str(tmp_path)


def test_a_pack_of_ones_own_is_a_folder(tmp_path: Path) -> None:
    pack = load_pack(written(tmp_path), {"max_spread": 8, "patience": 5})
    assert pack.name == "mine"
    (wide,) = alerts(pack)
    assert format_expr(wide.expr) == "8 < spread_bps"
    assert wide.for_ns == 5_000_000_000
    assert {k: format_expr(v) for k, v in wide.context.items()} == {
        "limit": "8", "now": "spread_bps",
    }  # fmt: skip
    assert [g.event_driven for g in pack.groups] == [True, False]
    assert all(g.unknown_on_vanish for g in pack.groups)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pack: mine\n", "", "pack.yaml:1:1: pack is missing"),
        ("description:", "descripton:", "unknown key 'descripton'; did you mean 'description'?"),
        ("unit: bps", "type: gage", "unknown type 'gage'; expected one of counter, gauge"),
        ("unit: bps", "aliases: spread", "aliases must be a list of texts"),
        ("unit: bps", "aliases: [book.spread]", "path 'book.spread' is claimed by"),
        ("help: Spread.", "hepl: x", "unknown key 'hepl'; did you mean 'help'?"),
        ("default: 3,", "default: three,", "default must be a number"),
        ("default: 3,", "", "default is missing"),
        ("default: 3,", "default: 4,", "no rule 'wide' with these labels has this to rewrite"),
        ("part: for", "part: offset", "has this to rewrite: offset"),
        ("part: for", "part: whole", "unknown part 'whole'; expected one of threshold, for"),
        ("part: for", "sign: positive", "sign is 'negative' or left out"),
        ("alert: wide, part", "alert: wider, part", "no rule 'wider'"),
        ("  wide: {", "  wider: {", "there is no alert 'wider' in rules.yaml"),
        ("setting: max_spread", "setting: x", "there is no setting 'x'"),
        ("now: spread_bps", "now: 'sum('", "in 'sum('"),
        ("interval_only: [slow]", "interval_only: [slwo]", "there is no rule group 'slwo'"),
        ("interval_only: [slow]", "interval_only: slow", "interval_only must be a list"),
        ("alerts:\n  wide:", "alerts: 5\nx:", "alerts must be a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pack_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load_pack(written(tmp_path, GOOD.replace(old, new)))
    assert message in str(caught.value)


def test_a_runbook_that_is_not_there_is_named(tmp_path: Path) -> None:
    rules = RULES.replace("for: 1m}", "for: 1m, annotations: {runbook_url: runbooks/x.md}}")
    with pytest.raises(ConfigError, match=r"there is no runbook 'runbooks/x\.md'"):
        load_pack(written(tmp_path, GOOD, rules))
    elsewhere = rules.replace("runbooks/x.md", "https://example.com/x")
    assert load_pack(written(tmp_path, GOOD, elsewhere)).name == "mine"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"rules\.yaml: cannot be read: No such file"):
        load_pack(str(tmp_path))
    (tmp_path / "rules.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_pack(str(tmp_path))


def test_the_reference_names_every_alert_and_setting_and_its_own_pack_loads(
    tmp_path: Path,
) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/engine-pack.md").read_text()
    pack = load_pack("engine")
    names = {rule.name for rule in alerts(pack)} | pack.thresholds.keys()
    assert sorted(name for name in names if f"`{name}`" not in page) == []
    blocks = page.split("```yaml\n")[1:]
    of_pack, of_rules = (b.split("```")[0] for b in blocks if b.startswith("# "))
    mine = load_pack(written(tmp_path, of_pack, of_rules), {"max_spread_bps": 40})
    assert format_expr(alerts(mine)[0].expr) == "spread_bps > 40"
