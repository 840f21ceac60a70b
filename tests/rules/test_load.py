"""Rule files: the whole Prometheus format, and every mistake with its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.errors import ConfigError, Problem
from tapewatch.model.severity import AlertSeverity
from tapewatch.promql import format_expr
from tapewatch.rules.export import format_rules
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import AlertingRule, RecordingRule

WHOLE = """\
groups:
  - name: risk
    interval: 30s
    query_offset: 1m
    limit: 10
    labels: {team: desk, severity: info}
    rules:
      - record: job:pnl:sum
        expr: sum by (job) (pnl)
        labels: {kind: sum}
      - alert: Loss
        expr: |
          pnl
            < -5
        for: 5m
        keep_firing_for: 1m30s
        labels: {severity: critical, level: 1, on: yes}
        annotations:
          summary: 'Loss {{ $value | printf "%.2f" }}'
  - name: empty
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_rules(text, "r.yaml")
    return [str(p) for p in caught.value.problems]


def of_rule(lines: str) -> list[str]:
    """Return the problems of one rule, given by the lines of its mapping."""
    body = "".join(f"      {line}\n" for line in lines.strip().splitlines())
    return problems("groups:\n  - name: g\n    rules:\n    -\n" + body)


def test_the_whole_format_is_read() -> None:
    risk, empty = load_rules(WHOLE, "r.yaml")
    assert (risk.name, risk.interval_ns, risk.query_offset_ns, risk.limit) == (
        "risk", 30 * SECOND, MINUTE, 10,
    )  # fmt: skip
    assert not risk.event_driven
    assert empty.rules == ()
    assert empty.event_driven
    record, alert = risk.rules
    assert isinstance(record, RecordingRule)
    assert record.labels == {"team": "desk", "severity": "info", "kind": "sum"}
    assert isinstance(alert, AlertingRule)
    assert format_expr(alert.expr) == "pnl < -5"
    assert (alert.for_ns, alert.keep_firing_for_ns) == (5 * MINUTE, 90 * SECOND)
    assert alert.labels == {"team": "desk", "severity": "critical", "level": "1", "on": "yes"}
    assert alert.severity is AlertSeverity.CRITICAL
    assert (alert.source, alert.line) == ("r.yaml", 11)


def test_labels_and_durations_are_taken_as_they_are_written() -> None:
    text = WHOLE.replace("level: 1", "level: 007")
    rule = load_rules(text, "r.yaml")[0].rules[1]
    assert rule.labels["level"] == "007"


def test_a_file_without_groups_has_no_rules() -> None:
    assert load_rules("", "r.yaml") == []
    assert load_rules("groups:\n", "r.yaml") == []


def test_a_severity_that_is_missing_or_unknown_counts_as_warning() -> None:
    for labels in ("{}", "{severity: page}", "{severity: '{{ $value }}'}"):
        text = f"groups: [{{name: g, rules: [{{alert: A, expr: x, labels: {labels}}}]}}]"
        rule = load_rules(text, "r.yaml")[0].rules[0]
        assert isinstance(rule, AlertingRule)
        assert rule.severity is AlertSeverity.WARNING


@pytest.mark.requirement("T16")
def test_all_problems_are_reported_in_one_pass_with_their_places() -> None:
    text = """\
groups:
  - name: g
    intervall: 5s
    rules:
      - alert: Slow
        expr: max_over_tme(x[5m]) > 3
        for: 5 minutes
      - alrt: Typo
        expr: x
      - record: a-b
        expr: x
        for: 5m
  - name: g
extra: 1
"""
    assert problems(text) == [
        "r.yaml:3:5: group 'g': unknown key 'intervall'; did you mean 'interval'?",
        "r.yaml:6:15: alert 'Slow': in expr: unknown function with name \"max_over_tme\"; "
        'did you mean "max_over_time"?',
        "r.yaml:7:14: alert 'Slow': for is not a duration: '5 minutes'; write it like 1h30m, 15s "
        "or 250ms",
        "r.yaml:8:9: rule: unknown key 'alrt'; did you mean 'alert'?",
        "r.yaml:8:9: a rule needs the key alert or the key record with a name",
        "r.yaml:10:17: 'a-b' is no metric name; expected letters, digits, _ and :, no digit first",
        "r.yaml:12:9: record 'a-b': for belongs to alerts; remove it",
        "r.yaml:13:11: group name 'g' is used twice, first on line 2; rename one",
        "r.yaml:14:1: rule file: unknown key 'extra'; known are groups",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "r.yaml:1:1: expected a mapping with the key groups, found a list"),
        ("groups: 5", "r.yaml:1:9: groups must be a list, found 5"),
        ("groups: [5]", "r.yaml:1:10: expected a rule group (a mapping), found 5"),
        ("groups: [{rules: []}]", "r.yaml:1:10: a rule group needs a name"),
        (
            "groups: [{name: [a]}]",
            "r.yaml:1:17: name must be text, found a list",
        ),
        (
            "groups: [{name: g, limit: -1}]",
            "r.yaml:1:27: group 'g': limit must be a whole number from 0",
        ),
        ("groups: [{name: g, rules: {}}]", "r.yaml:1:27: rules must be a list, found a mapping"),
        (
            "groups: [{name: g, rules: [null]}]",
            "r.yaml:1:28: expected a rule (a mapping), found nothing",
        ),
    ],
)
def test_wrong_shapes_are_named(text: str, expected: str) -> None:
    assert expected in problems(text)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("alert: A", "alert 'A': expr is missing"),
        ("alert: A\nexpr:", "alert 'A': expr is missing"),
        ("alert: A\nexpr: {}", "expr must be text, found a mapping"),
        ("alert: A\nrecord: b\nexpr: x", "a rule has either record or alert, found both"),
        ("alert: A\nexpr: x[5m]", "expr gives a range vector; expected an instant vector"),
        ("alert: A\nexpr: x\nlabels: [a]", "labels must be a mapping, found a list"),
        ("alert: A\nexpr: x\nlabels: {__name__: y}", "'__name__' may not be a label name"),
        ("alert: A\nexpr: x\nlabels: {a-b: y}", "'a-b' may not be a label name"),
        ("alert: A\nexpr: x\nlabels: {a: '{{ $value'}", "labels 'a': an action is not closed"),
        ("alert: A\nexpr: x\nannotations: {a: '{{ end }}'}", "unexpected {{end}}"),
        ("alert: A\nexpr: x\nannotations: {1a: b}", "'1a' may not be an annotation name"),
        ("record: r\nexpr: x\nannotations: {a: b}", "annotations belongs to alerts; remove it"),
        ("record: r\nexpr: (x", "record 'r': "),
    ],
)
def test_wrong_rules_are_named(rule: str, expected: str) -> None:
    assert any(expected in problem for problem in of_rule(rule))


def test_a_place_inside_a_block_of_promql_is_a_place_in_the_file() -> None:
    (problem,) = of_rule("alert: A\nexpr: |\n  sum(x)\n  + foo(y)")
    assert problem.startswith("r.yaml:8:11: alert 'A': in expr: unknown function")


def test_too_many_groups_or_rules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapewatch.rules.load.MAX_RULES", 2)
    assert any("more than 2 rules" in p for p in problems(
        "groups: [{name: a, rules: [{record: a, expr: x}, {record: b, expr: x}]}, "
        "{name: b, rules: [{record: a, expr: x}]}]"
    ))  # fmt: skip
    monkeypatch.setattr("tapewatch.rules.load.MAX_GROUPS", 1)
    assert any("at most 1" in p for p in problems("groups: [{name: a}, {name: b}]"))


def test_what_is_exported_reads_back_as_the_same_rules() -> None:
    groups = load_rules(WHOLE, "r.yaml")
    again = load_rules(format_rules(groups), "r.yaml")
    assert [g.rules for g in again] == [g.rules for g in groups]
    assert [(g.name, g.interval_ns, g.query_offset_ns, g.limit) for g in again] == [
        (g.name, g.interval_ns, g.query_offset_ns, g.limit) for g in groups
    ]
    assert format_rules([]) == "groups: []\n"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_what_is_exported(tmp_path: Path) -> None:
    # Debian's promtool is older than query_offset and group labels.
    text = WHOLE.replace("    query_offset: 1m\n", "").replace(
        "    labels: {team: desk, severity: info}\n", ""
    )
    path = tmp_path / "rules.yaml"
    path.write_text(format_rules(load_rules(text, "r.yaml")))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_page_shows_a_file_that_loads_and_names_every_key_and_function() -> None:
    from tapewatch.rules.load import _GROUP_KEYS, _RULE_KEYS
    from tapewatch.rules.template_functions import FUNCTIONS

    page = (Path(__file__).parents[2] / "docs/reference/rule-files.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert len(load_rules(example, "example.yaml")[0].rules) == 2
    words = {*_GROUP_KEYS, *_RULE_KEYS, *FUNCTIONS}
    assert sorted(word for word in words if f"`{word}`" not in page) == []


def warnings(rule: str, group: str = "") -> list[str]:
    heard: list[Problem] = []
    text = f"groups:\n  - name: g\n{group}    rules:\n      - {rule}\n"
    load_rules(text, "r.yaml", warn=heard.append)
    return [str(each) for each in heard]


def test_an_unknown_severity_counts_as_a_warning_and_is_warned_of_in_its_place() -> None:
    assert warnings("{alert: A, expr: x > 1, labels: {severity: page}}") == [
        "r.yaml:4:52: alert 'A': unknown severity 'page'; expected one of info, warning, critical, "
        "emergency; it counts as warning"
    ]


def test_an_unknown_severity_of_a_group_is_warned_of_where_the_group_says_it() -> None:
    (warning,) = warnings("{alert: A, expr: x > 1}", "    labels: {severity: high}\n")
    assert warning.startswith("r.yaml:3:24: alert 'A': unknown severity 'high'")


@pytest.mark.parametrize(
    "rule",
    [
        "{alert: A, expr: x > 1}",
        "{alert: A, expr: x > 1, labels: {severity: Critical}}",
        "{alert: A, expr: x > 1, labels: {severity: '{{ $labels.level }}'}}",
        "{record: a, expr: x, labels: {severity: page}}",
    ],
)
def test_a_known_a_missing_and_a_templated_severity_are_no_reason_to_warn(rule: str) -> None:
    assert warnings(rule) == []
