"""Read Prometheus rule files: the whole format, every problem in one pass, each with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tapewatch.config.yaml_document import YamlDocument, YamlPath, read_yaml
from tapewatch.model.duration import parse_duration
from tapewatch.model.errors import ConfigError, Problem, QueryError
from tapewatch.model.labels import METRIC_NAME
from tapewatch.model.severity import AlertSeverity
from tapewatch.promql.ast import Expr, ValueType
from tapewatch.promql.parser import parse
from tapewatch.rules.model import (
    DEFAULT_INTERVAL_NS,
    SEVERITY,
    AlertingRule,
    RecordingRule,
    Rule,
    RuleGroup,
)
from tapewatch.rules.template import TemplateSyntaxError, parse_template

MAX_GROUPS = 1_000
MAX_RULES = 10_000
"""In one file."""

_GROUP_KEYS = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE_KEYS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ABSENT = object()


def load_rules(
    text: str,
    path: str,
    *,
    source: str = "",
    default_interval_ns: int = DEFAULT_INTERVAL_NS,
    event_driven: bool = True,
    unknown_on_vanish: bool = False,
    warn: Callable[[Problem], None] | None = None,
) -> list[RuleGroup]:
    """Parse a rule file.

    Args:
        text: Its content.
        path: Its name for error messages.
        source: What the rules say they come from; the path if empty.
        default_interval_ns: Interval of groups that name none.
        event_driven: False for groups that are evaluated at their interval only.
        unknown_on_vanish: True for groups whose firing alerts become unknown when the series
            that fed them vanish; False is Prometheus's behaviour.
        warn: Hears of what is accepted and probably not meant.

    Raises:
        ConfigError: With every problem found and its line and column.
    """
    problems: list[Problem] = []
    document = read_yaml(text, path, problems)
    loader = _Loader(document, source or path, default_interval_ns, event_driven, unknown_on_vanish)
    loader.problems = problems
    groups = loader.load()
    if loader.problems:
        raise ConfigError(sorted(loader.problems, key=lambda p: (p.line, p.column)))
    if warn is not None:
        for warning in loader.warnings:
            warn(warning)
    return groups


class _Loader:
    def __init__(
        self,
        document: YamlDocument,
        source: str,
        default_interval_ns: int,
        event_driven: bool,
        unknown_on_vanish: bool,
    ) -> None:
        self._document = document
        self._source = source
        self._default_interval_ns = default_interval_ns
        self._event_driven = event_driven
        self._unknown_on_vanish = unknown_on_vanish
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def load(self) -> list[RuleGroup]:
        top = self._document.data
        if top is None:
            return []
        if not isinstance(top, dict):
            self._note((), f"expected a mapping with the key groups, found {_kind(top)}")
            return []
        self._check_keys((), top, ("groups",), "rule file")
        groups = self._items(("groups",), top.get("groups"), MAX_GROUPS, "groups")
        loaded: list[RuleGroup] = []
        names: dict[str, int] = {}
        rules = 0
        for path, group in groups:
            read = self._group(path, group)
            if read is None:
                continue
            rules += len(read.rules)
            if read.name in names:
                self._note(
                    (*path, "name"),
                    f"group name {read.name!r} is used twice, first on line {names[read.name]}; "
                    "rename one",
                )
            names.setdefault(read.name, self._document.position((*path, "name"))[0])
            loaded.append(read)
        if rules > MAX_RULES:
            self._note(("groups",), f"more than {MAX_RULES} rules; split the file")
        return loaded

    def _group(self, path: YamlPath, group: Any) -> RuleGroup | None:
        if not isinstance(group, dict):
            self._note(path, f"expected a rule group (a mapping), found {_kind(group)}")
            return None
        name = self._text((*path, "name"), group, "name") or ""
        what = f"group {name!r}" if name else "rule group"
        self._check_keys(path, group, _GROUP_KEYS, what)
        if not name:
            self._note(path, "a rule group needs a name", at_key="name" in group)
        interval = self._duration((*path, "interval"), group, "interval", what)
        offset = self._duration((*path, "query_offset"), group, "query_offset", what)
        limit = group.get("limit") or 0
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            self._note((*path, "limit"), f"{what}: limit must be a whole number from 0")
            limit = 0
        labels = self._labels((*path, "labels"), group.get("labels"), what)
        rules = [
            read
            for at, rule in self._items((*path, "rules"), group.get("rules"), MAX_RULES, "rules")
            if (read := self._rule(at, rule, labels)) is not None
        ]
        return RuleGroup(
            name=name,
            rules=tuple(rules),
            interval_ns=interval or self._default_interval_ns,
            query_offset_ns=offset,
            limit=limit,
            source=self._source,
            event_driven=self._event_driven and not offset,
            unknown_on_vanish=self._unknown_on_vanish,
        )

    def _rule(self, path: YamlPath, rule: Any, group_labels: Mapping[str, str]) -> Rule | None:
        if not isinstance(rule, dict):
            self._note(path, f"expected a rule (a mapping), found {_kind(rule)}")
            return None
        record = self._text((*path, "record"), rule, "record")
        alert = self._text((*path, "alert"), rule, "alert")
        what = f"alert {alert!r}" if alert else f"record {record!r}" if record else "rule"
        self._check_keys(path, rule, _RULE_KEYS, what)
        if record and alert:
            self._note((*path, "alert"), "a rule has either record or alert, found both", True)
        if not record and not alert:
            self._note(path, "a rule needs the key alert or the key record with a name")
        expr = self._expr((*path, "expr"), rule, what)
        labels = {**group_labels, **self._labels((*path, "labels"), rule.get("labels"), what)}
        line = self._document.position(path)[0]
        if record and not alert:
            return self._recording(path, rule, record, expr, labels, line)
        self._check_templates((*path, "labels"), labels, what)
        self._check_severity(path, rule, labels, what)
        annotations = self._annotations((*path, "annotations"), rule.get("annotations"), what)
        for_ns = self._duration((*path, "for"), rule, "for", what)
        keep_ns = self._duration((*path, "keep_firing_for"), rule, "keep_firing_for", what)
        if expr is None or not alert:
            return None
        return AlertingRule(
            name=alert,
            expr=expr,
            for_ns=for_ns,
            keep_firing_for_ns=keep_ns,
            labels=labels,
            annotations=annotations,
            source=self._source,
            line=line,
        )

    def _recording(
        self,
        path: YamlPath,
        rule: dict[str, Any],
        name: str,
        expr: Expr | None,
        labels: Mapping[str, str],
        line: int,
    ) -> RecordingRule | None:
        if not _METRIC_NAME.fullmatch(name):
            self._note(
                (*path, "record"),
                f"{name!r} is no metric name; expected letters, digits, _ and :, no digit first",
            )
        for key in ("for", "keep_firing_for", "annotations"):
            if key in rule:
                self._note(
                    (*path, key), f"record {name!r}: {key} belongs to alerts; remove it", True
                )
        if expr is None:
            return None
        return RecordingRule(name=name, expr=expr, labels=labels, source=self._source, line=line)

    def _expr(self, path: YamlPath, rule: dict[str, Any], what: str) -> Expr | None:
        text = self._text(path, rule, "expr")
        if not text:
            if "expr" not in rule or text is not None:
                self._note(path[:-1] if "expr" not in rule else path, f"{what}: expr is missing")
            return None
        try:
            expr = parse(text)
        except QueryError as error:
            line, column = self._document.inner_position(path, error.line or 1, error.column or 1)
            found = error.message.removeprefix("parse error: ")
            self.problems.append(
                Problem(self._document.path, line, column, f"{what}: in expr: {found}")
            )
            return None
        if expr.type not in (ValueType.VECTOR, ValueType.SCALAR):
            self._note(
                path,
                f"{what}: expr gives a {expr.type.words}; expected an instant vector or a scalar",
            )
            return None
        return expr

    def _labels(self, path: YamlPath, labels: Any, what: str) -> dict[str, str]:
        read = self._text_map(path, labels, what, "labels")
        for name in list(read):
            if name == METRIC_NAME or not _LABEL_NAME.fullmatch(name):
                self._note(
                    (*path, name),
                    f"{what}: {name!r} may not be a label name; expected letters, digits and _, "
                    "no digit first",
                    True,
                )
                del read[name]
        return read

    def _annotations(self, path: YamlPath, annotations: Any, what: str) -> dict[str, str]:
        read = self._text_map(path, annotations, what, "annotations")
        for name in read:
            if not _LABEL_NAME.fullmatch(name):
                self._note((*path, name), f"{what}: {name!r} may not be an annotation name", True)
        self._check_templates(path, read, what)
        return read

    def _check_templates(self, path: YamlPath, texts: Mapping[str, str], what: str) -> None:
        for name, text in texts.items():
            try:
                parse_template(text)
            except TemplateSyntaxError as error:
                self._note((*path, name), f"{what}: {path[-1]} {name!r}: {error}")

    def _check_severity(
        self, path: YamlPath, rule: dict[str, Any], labels: Mapping[str, str], what: str
    ) -> None:
        word = labels.get(SEVERITY)
        if word is None or "{{" in word:
            return
        try:
            AlertSeverity.parse(word)
        except ValueError as error:
            # The file is right for Prometheus, where any word is as good as another.
            own = SEVERITY in (rule.get("labels") or {})
            holder = path if own else path[:2]
            message = f"{what}: {error}; it counts as {AlertSeverity.WARNING.label}"
            self.warnings.append(self._document.problem((*holder, "labels", SEVERITY), message))

    def _text_map(self, path: YamlPath, value: Any, what: str, key: str) -> dict[str, str]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._note(path, f"{what}: {key} must be a mapping, found {_kind(value)}")
            return {}
        read = {}
        for name in value:
            text = self._text((*path, name), value, name)
            if text is not None:
                read[name] = text
        return read

    def _text(self, path: YamlPath, holder: dict[str, Any], key: str) -> str | None:
        """Return a scalar as it was written: ``severity: 1`` is the text "1"; None if absent."""
        value = holder.get(key, _ABSENT)
        if value is _ABSENT:
            return None
        if isinstance(value, dict | list):
            self._note(path, f"{key} must be text, found {_kind(value)}")
            return None
        return "" if value is None else self._document.text(path)

    def _duration(self, path: YamlPath, holder: dict[str, Any], key: str, what: str) -> int:
        text = self._text(path, holder, key)
        if not text:
            return 0
        try:
            return parse_duration(text)
        except ValueError as error:
            self._note(path, f"{what}: {key} is {error}")
            return 0

    def _items(
        self, path: YamlPath, value: Any, most: int, key: str
    ) -> Iterable[tuple[YamlPath, Any]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._note(path, f"{key} must be a list, found {_kind(value)}")
            return []
        if len(value) > most:
            self._note(path, f"{len(value)} {key}; at most {most} are accepted, split the file")
        return [((*path, i), item) for i, item in enumerate(value[:most])]

    def _check_keys(
        self, path: YamlPath, holder: dict[str, Any], known: tuple[str, ...], what: str
    ) -> None:
        for key in holder:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self._note((*path, key), f"{what}: unknown key {key!r}; {hint}", True)

    def _note(self, path: YamlPath, message: str, at_key: bool = False) -> None:
        self.problems.append(self._document.problem(path, message, at_key=at_key))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"{value!r}"
