"""The labels and annotations of an alert, expanded from a rule's templates."""

from __future__ import annotations

from collections.abc import Mapping

from tapewatch.model.labels import Labels
from tapewatch.rules.model import ALERT_NAME, AlertingRule
from tapewatch.rules.template import Template, parse_template
from tapewatch.rules.template_functions import TemplateError

MAX_KNOWN = 100_000
"""Results whose alert labels are remembered."""


class AlertTexts:
    """The parsed templates of one rule."""

    def __init__(self, rule: AlertingRule) -> None:
        self._rule = rule
        self._labels = {name: parse_template(text) for name, text in rule.labels.items()}
        self._annotations = {n: parse_template(text) for n, text in rule.annotations.items()}
        plain = {n: t.text for n, t in self._labels.items() if t.is_plain}
        self._plain_labels = {**plain, ALERT_NAME: rule.name}
        self._label_templates = {n: t for n, t in self._labels.items() if not t.is_plain}
        self._known: dict[Labels, Labels] = {}

    @property
    def plain_labels(self) -> Mapping[str, str]:
        """The labels that every alert of the rule has, ``alertname`` included."""
        return self._plain_labels

    @property
    def labels_use_value(self) -> bool:
        """True when an alert's identity may depend on its value."""
        return any(t.uses_value for t in self._label_templates.values())

    def labels(self, row: Labels, value: float) -> Labels:
        """Return the labels of the alert that a result row raises."""
        known = self._known.get(row)
        if known is not None:
            return known
        named = row.without_name()
        shown = row.as_dict()
        expanded = {n: _expand(t, shown, value) for n, t in self._label_templates.items()}
        labels = named.merged({**expanded, **self._plain_labels})
        if not self.labels_use_value:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[row] = labels
        return labels

    def annotations(self, row: Labels, value: float) -> dict[str, str]:
        """Return the annotations; a template that fails gives its own text and the reason."""
        shown = row.as_dict()
        return {name: _expand(t, shown, value) for name, t in self._annotations.items()}


def _expand(template: Template, labels: Mapping[str, str], value: float) -> str:
    try:
        return template.expand(labels, value)
    except TemplateError as error:
        return f"{template.text} (template error: {error})"
