"""Rules and rule groups as they are evaluated: frozen, with parsed expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapewatch.model.clock import SECOND
from tapewatch.model.severity import AlertSeverity
from tapewatch.promql.ast import Expr

DEFAULT_INTERVAL_NS = 15 * SECOND
ALERT_NAME = "alertname"
SEVERITY = "severity"


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """Stores the result of an expression as new series."""

    name: str
    """The metric name of the result."""
    expr: Expr
    labels: Mapping[str, str] = field(default_factory=dict)
    """Set on every result series; they win over the result's own labels."""
    source: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)
    """1-based line of the rule in its file; 0 when it has none."""


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """Turns each element of its expression's result into an alert."""

    name: str
    expr: Expr
    for_ns: int = 0
    """How long the condition must hold before the alert fires."""
    keep_firing_for_ns: int = 0
    """How long the alert goes on firing after the condition cleared."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label templates of the alert; they win over the labels of the result."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotation templates."""
    context: Mapping[str, Expr] = field(default_factory=dict)
    """Related values to look up when the alert changes, by the name they get in its context."""
    source: str = field(default="", compare=False)
    """Where the rule comes from: ``pack:engine`` or the rule file."""
    line: int = field(default=0, compare=False)

    @property
    def severity(self) -> AlertSeverity:
        """The label ``severity``; WARNING where it is missing, a template or an unknown word."""
        return severity_of(self.labels)

    def same_condition(self, other: AlertingRule) -> bool:
        """Return True when the rules differ in nothing but texts for people."""
        return (
            self.name == other.name
            and self.expr == other.expr
            and self.for_ns == other.for_ns
            and self.keep_firing_for_ns == other.keep_firing_for_ns
            and self.labels == other.labels
        )


Rule = RecordingRule | AlertingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated in order, with one timestamp."""

    name: str
    rules: tuple[Rule, ...]
    interval_ns: int = DEFAULT_INTERVAL_NS
    query_offset_ns: int = 0
    """How far in the past the expressions are evaluated; such groups run at the interval only."""
    limit: int = 0
    """Most alerts or series one rule may produce; 0 is no limit."""
    source: str = ""
    """``pack:engine`` or the rule file."""
    event_driven: bool = True
    """False evaluates at the interval only, as Prometheus does."""
    unknown_on_vanish: bool = False
    """True makes a firing alert unknown, not resolved, when the series that fed it vanish."""


def severity_of(labels: Mapping[str, str]) -> AlertSeverity:
    """Return the severity that alert labels name; WARNING where they name none."""
    try:
        return AlertSeverity.parse(labels.get(SEVERITY, ""))
    except ValueError:
        return AlertSeverity.WARNING
