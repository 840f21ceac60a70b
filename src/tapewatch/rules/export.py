"""Write rule groups as a Prometheus rule file, with the numbers that are in force."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from tapewatch.model.duration import format_duration
from tapewatch.promql.printer import format_expr
from tapewatch.rules.model import AlertingRule, Rule, RuleGroup


def format_rules(groups: Iterable[RuleGroup]) -> str:
    """Return YAML that Prometheus, promtool and ``load_rules`` read."""
    lines = ["groups:"]
    for group in groups:
        lines.append(f"  - name: {_text(group.name)}")
        lines.append(f"    interval: {format_duration(group.interval_ns)}")
        if group.query_offset_ns:
            lines.append(f"    query_offset: {format_duration(group.query_offset_ns)}")
        if group.limit:
            lines.append(f"    limit: {group.limit}")
        lines.append("    rules:")
        for rule in group.rules:
            lines += _rule(rule)
    if len(lines) == 1:
        return "groups: []\n"
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    alerting = isinstance(rule, AlertingRule)
    yield f"      - {'alert' if alerting else 'record'}: {_text(rule.name)}"
    yield f"        expr: {_text(format_expr(rule.expr))}"
    if isinstance(rule, AlertingRule):
        if rule.for_ns:
            yield f"        for: {format_duration(rule.for_ns)}"
        if rule.keep_firing_for_ns:
            yield f"        keep_firing_for: {format_duration(rule.keep_firing_for_ns)}"
    yield from _mapping("labels", rule.labels)
    if isinstance(rule, AlertingRule):
        yield from _mapping("annotations", rule.annotations)


def _mapping(name: str, texts: Mapping[str, str]) -> Iterator[str]:
    if texts:
        yield f"        {name}:"
        for key, value in texts.items():
            yield f"          {key}: {_text(value)}"


def _text(value: str) -> str:
    # A JSON string is a YAML string, whatever it holds.
    return json.dumps(value, ensure_ascii=False)
