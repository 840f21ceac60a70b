"""Load a pack: what is specific to one kind of trading system, as data.

A pack is a folder with ``pack.yaml`` (metrics, settings, what belongs beside an alert),
``rules.yaml`` (a Prometheus rule file) and ``runbooks/``. Its settings rewrite numbers in its
rules, so the rules in force are plain rules with literals that any Prometheus can run.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tapewatch.config.yaml_document import MAX_BYTES, YamlDocument, YamlPath, read_yaml
from tapewatch.model.clock import SECOND
from tapewatch.model.errors import ConfigError, Problem, QueryError
from tapewatch.model.metric import MetricCatalogue, MetricDefinition, MetricType
from tapewatch.promql.ast import Expr, NumberLiteral
from tapewatch.promql.parser import parse
from tapewatch.rules.export import format_rules
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import AlertingRule, Rule, RuleGroup
from tapewatch.rules.rewrite import with_offset, with_threshold

BUILT_IN = Path(__file__).resolve().parent.parent / "packs"

_TOP_KEYS = ("pack", "description", "metrics", "settings", "alerts", "interval_only")
_METRIC_KEYS = ("name", "path", "type", "unit", "help", "aliases")
_SETTING_KEYS = ("name", "help", "unit", "default", "minimum", "maximum", "rewrites")
_REWRITE_KEYS = ("alert", "labels", "part", "sign")
_ALERT_KEYS = ("context",)


class RewrittenPart(StrEnum):
    """What of a rule a setting rewrites."""

    THRESHOLD = "threshold"
    """Every constant that the rule compares with and that equals the setting's default."""
    FOR = "for"
    """The rule's ``for``, in seconds."""
    OFFSET = "offset"
    """Every ``offset``, in seconds."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One place that a setting's value goes to."""

    alert: str
    labels: Mapping[str, str]
    """Only rules of this name that carry these labels."""
    part: RewrittenPart = RewrittenPart.THRESHOLD
    negative: bool = False
    """True: the rule compares with a negative number, however the setting is written."""

    def number(self, value: float) -> float:
        """Return what is written into the rule."""
        return -abs(value) if self.negative else value


@dataclass(frozen=True, slots=True)
class PackSetting:
    """A number of the pack that users may set."""

    name: str
    help: str
    unit: str
    default: float
    """Infinite where the rule is off until somebody sets it."""
    minimum: float
    maximum: float
    """Both ends are allowed; of settings with a sign the absolute value is judged."""
    rewrites: tuple[Rewrite, ...]
    value: float
    """The value in force."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack with its settings applied."""

    name: str
    description: str
    directory: Path
    catalogue: MetricCatalogue
    settings: tuple[PackSetting, ...]
    groups: tuple[RuleGroup, ...]
    warnings: tuple[Problem, ...] = ()
    """What is accepted in its rules and probably not meant."""

    @property
    def rules_text(self) -> str:
        """The rules in force as a Prometheus rule file."""
        return format_rules(self.groups)

    @property
    def thresholds(self) -> dict[str, float]:
        """Every setting's value in force, by name."""
        return {setting.name: setting.value for setting in self.settings}


def built_in_packs() -> list[str]:
    """Return the names of the packs that come with Tapewatch."""
    return sorted(path.parent.name for path in BUILT_IN.glob("*/pack.yaml"))


GivenProblem = Callable[[str, str], Problem]
"""Places a message about a given threshold, by the threshold's name."""


def _unplaced(_name: str, message: str) -> Problem:
    return Problem("", 0, 0, message)


def load_pack(
    name_or_directory: str | Path,
    thresholds: Mapping[str, float] | None = None,
    *,
    given_problem: GivenProblem = _unplaced,
) -> Pack:
    """Load a pack and apply settings.

    Args:
        name_or_directory: A built-in pack's name or a folder with a ``pack.yaml``.
        thresholds: Values by setting name; what is not named keeps its default.
        given_problem: Makes the problem of a threshold that is refused.

    Raises:
        ConfigError: With every problem found in the pack or in the values given.
    """
    directory = _find(name_or_directory)
    loader = _Loader(directory, dict(thresholds or {}), given_problem)
    pack = loader.load()
    if loader.problems:
        raise ConfigError(loader.problems)
    return pack


def _find(name_or_directory: str | Path) -> Path:
    text = str(name_or_directory)
    built_in = BUILT_IN / text
    if isinstance(name_or_directory, str) and "/" not in text and text not in (".", ".."):
        if (built_in / "pack.yaml").is_file():
            return built_in
        near = difflib.get_close_matches(text, built_in_packs(), 1, 0.6)
        if not Path(text).is_dir():
            hint = (
                f"did you mean {near[0]!r}?" if near else f"built-in: {', '.join(built_in_packs())}"
            )
            raise ConfigError([Problem("", 0, 0, f"there is no pack {text!r}; {hint}")])
    directory = Path(text)
    if not (directory / "pack.yaml").is_file():
        raise ConfigError(
            [Problem(text, 0, 0, "a pack is a folder with a pack.yaml; there is none here")]
        )
    return directory


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), 0, 0, f"is not UTF-8: {error.reason}")]) from None


class _Loader:
    def __init__(
        self, directory: Path, thresholds: dict[str, float], given_problem: GivenProblem
    ) -> None:
        self._directory = directory
        self._given = thresholds
        self._given_problem = given_problem
        path = directory / "pack.yaml"
        self.problems: list[Problem] = []
        self._document: YamlDocument = read_yaml(_read(path), str(path), self.problems)

    def load(self) -> Pack:
        top = self._mapping((), self._document.data, _TOP_KEYS, "pack.yaml")
        name = self._text(("pack",), top, "pack")
        catalogue = self._catalogue(top.get("metrics"))
        settings = self._settings(top.get("settings"))
        rules_path = self._directory / "rules.yaml"
        warnings: list[Problem] = []
        self._check_given(name, settings)
        try:
            groups = load_rules(
                _read(rules_path),
                str(rules_path),
                source=f"pack:{name}",
                unknown_on_vanish=True,
                warn=warnings.append,
            )
        except ConfigError as error:
            # Without its rules nothing can be said of what refers to them.
            raise ConfigError([*self.problems, *error.problems]) from None
        groups = self._apply(settings, groups)
        groups = self._add_context(top.get("alerts"), settings, groups)
        groups = self._interval_only(top.get("interval_only"), groups)
        self._check_runbooks(groups)
        return Pack(
            name=name,
            description=self._text(("description",), top, "description"),
            directory=self._directory,
            catalogue=catalogue,
            settings=tuple(settings),
            groups=tuple(groups),
            warnings=tuple(warnings),
        )

    # -- metrics ------------------------------------------------------------------------------

    def _catalogue(self, metrics: Any) -> MetricCatalogue:
        definitions: list[MetricDefinition] = []
        for path, item in self._items(("metrics",), metrics):
            metric = self._mapping(path, item, _METRIC_KEYS, "metric")
            kind = self._text((*path, "type"), metric, "type", "gauge")
            if kind not in set(MetricType):
                known = ", ".join(MetricType)
                self._note((*path, "type"), f"unknown type {kind!r}; expected one of {known}")
                continue
            aliases = metric.get("aliases") or []
            if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
                self._note((*path, "aliases"), "aliases must be a list of texts")
                continue
            definition = MetricDefinition(
                name=self._text((*path, "name"), metric, "name"),
                type=MetricType(kind),
                unit=self._text((*path, "unit"), metric, "unit", ""),
                help=self._text((*path, "help"), metric, "help"),
                path=self._text((*path, "path"), metric, "path", ""),
                aliases=tuple(aliases),
            )
            try:
                MetricCatalogue([*definitions, definition])
            except ValueError as error:
                self._note(path, str(error))
                continue
            definitions.append(definition)
        return MetricCatalogue(definitions)

    # -- settings -----------------------------------------------------------------------------

    def _settings(self, settings: Any) -> list[PackSetting]:
        read: list[PackSetting] = []
        for path, item in self._items(("settings",), settings):
            setting = self._mapping(path, item, _SETTING_KEYS, "setting")
            rewrites = [
                self._rewrite(at, rewrite)
                for at, rewrite in self._items((*path, "rewrites"), setting.get("rewrites"))
            ]
            name = self._text((*path, "name"), setting, "name")
            default = self._number((*path, "default"), setting, "default")
            read.append(
                PackSetting(
                    name=name,
                    help=self._text((*path, "help"), setting, "help"),
                    unit=self._text((*path, "unit"), setting, "unit", ""),
                    default=default,
                    minimum=self._number((*path, "minimum"), setting, "minimum", -math.inf),
                    maximum=self._number((*path, "maximum"), setting, "maximum", math.inf),
                    rewrites=tuple(rewrites),
                    value=float(self._given.get(name, default)),
                )
            )
        return read

    def _rewrite(self, path: YamlPath, item: Any) -> Rewrite:
        rewrite = self._mapping(path, item, _REWRITE_KEYS, "rewrite")
        labels = self._mapping((*path, "labels"), rewrite.get("labels") or {}, None, "labels")
        part = self._text((*path, "part"), rewrite, "part", RewrittenPart.THRESHOLD)
        if part not in set(RewrittenPart):
            known = ", ".join(RewrittenPart)
            self._note((*path, "part"), f"unknown part {part!r}; expected one of {known}")
            part = RewrittenPart.THRESHOLD
        sign = self._text((*path, "sign"), rewrite, "sign", "as given")
        if sign not in ("as given", "negative"):
            self._note((*path, "sign"), f"sign is 'negative' or left out, found {sign!r}")
        return Rewrite(
            alert=self._text((*path, "alert"), rewrite, "alert"),
            labels={name: str(value) for name, value in labels.items()},
            part=RewrittenPart(part),
            negative=sign == "negative",
        )

    def _check_given(self, pack: str, settings: list[PackSetting]) -> None:
        known = {setting.name: setting for setting in settings}
        for name, value in self._given.items():
            setting = known.get(name)
            if setting is None:
                near = difflib.get_close_matches(name, known, 1, 0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                message = f"pack {pack!r} has no threshold {name!r}; {hint}"
                self.problems.append(self._given_problem(name, message))
                continue
            judged = abs(value) if any(r.negative for r in setting.rewrites) else value
            # What is off by default may be said to be off.
            if value == setting.default:
                continue
            if not setting.minimum <= judged <= setting.maximum:
                unit = f" {setting.unit}" if setting.unit else ""
                message = (
                    f"threshold {name!r} of pack {pack!r} is {value:g}; expected "
                    f"{setting.minimum:g} to {setting.maximum:g}{unit}"
                )
                self.problems.append(self._given_problem(name, message))

    def _apply(self, settings: list[PackSetting], groups: list[RuleGroup]) -> list[RuleGroup]:
        for index, setting in enumerate(settings):
            for at, rewrite in enumerate(setting.rewrites):
                found = False
                changed: list[RuleGroup] = []
                for group in groups:
                    rules: list[Rule] = []
                    for rule in group.rules:
                        after = _rewritten(rule, rewrite, setting)
                        found = found or after is not None
                        rules.append(rule if after is None else after)
                    changed.append(replace(group, rules=tuple(rules)))
                groups = changed
                if not found:
                    self._note(
                        ("settings", index, "rewrites", at),
                        f"no rule {rewrite.alert!r} with these labels has this to rewrite: "
                        f"{rewrite.part}",
                    )
        return groups

    # -- what belongs beside alerts -----------------------------------------------------------

    def _add_context(
        self, alerts: Any, settings: list[PackSetting], groups: list[RuleGroup]
    ) -> list[RuleGroup]:
        contexts: dict[str, dict[str, Expr]] = {}
        for name, item in self._mapping(("alerts",), alerts or {}, None, "alerts").items():
            alert = self._mapping(("alerts", name), item, _ALERT_KEYS, f"alert {name!r}")
            where = ("alerts", name, "context")
            wanted = self._mapping(where, alert.get("context") or {}, None, "context")
            contexts[name] = {}
            for key, value in wanted.items():
                expr = self._context_value((*where, key), value, settings)
                if expr is not None:
                    contexts[name][key] = expr
        names = {r.name for g in groups for r in g.rules if isinstance(r, AlertingRule)}
        for name in contexts.keys() - names:
            self._note(("alerts", name), f"there is no alert {name!r} in rules.yaml", at_key=True)
        return [
            replace(
                group,
                rules=tuple(
                    replace(rule, context=contexts.get(rule.name, {}))
                    if isinstance(rule, AlertingRule)
                    else rule
                    for rule in group.rules
                ),
            )
            for group in groups
        ]

    def _context_value(
        self, path: YamlPath, value: Any, settings: list[PackSetting]
    ) -> Expr | None:
        if isinstance(value, dict):
            wanted = value.get("setting")
            for setting in settings:
                if setting.name == wanted:
                    rewrite = setting.rewrites[0] if setting.rewrites else None
                    number = rewrite.number(setting.value) if rewrite else setting.value
                    return NumberLiteral(number)
            self._note(path, f"there is no setting {wanted!r}")
            return None
        try:
            return parse(str(value))
        except QueryError as error:
            self._note(path, f"{error.message} in {value!r}")
            return None

    def _interval_only(self, names: Any, groups: list[RuleGroup]) -> list[RuleGroup]:
        wanted = {str(name): path for path, name in self._items(("interval_only",), names)}
        for name in wanted.keys() - {group.name for group in groups}:
            self._note(wanted[name], f"there is no rule group {name!r} in rules.yaml")
        return [
            replace(group, event_driven=False) if group.name in wanted else group
            for group in groups
        ]

    def _check_runbooks(self, groups: list[RuleGroup]) -> None:
        for group in groups:
            for rule in group.rules:
                url = rule.annotations.get("runbook_url") if isinstance(rule, AlertingRule) else ""
                if url and "://" not in url and not (self._directory / url).is_file():
                    path = str(self._directory / "rules.yaml")
                    message = f"alert {rule.name!r}: there is no runbook {url!r} in the pack"
                    self.problems.append(Problem(path, rule.line, 0, message))

    # -- plain values -------------------------------------------------------------------------

    def _mapping(
        self, path: YamlPath, value: Any, known: tuple[str, ...] | None, what: str
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._note(path, f"{what} must be a mapping")
            return {}
        for key in value:
            if known is not None and key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                self._note((*path, key), f"{what}: unknown key {key!r}; {hint}", at_key=True)
        return value

    def _items(self, path: YamlPath, value: Any) -> list[tuple[YamlPath, Any]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._note(path, f"{path[-1]} must be a list")
            return []
        return [((*path, index), item) for index, item in enumerate(value)]

    def _text(
        self, path: YamlPath, holder: Mapping[str, Any], key: str, default: str | None = None
    ) -> str:
        value = holder.get(key, default)
        if isinstance(value, str) and (value or default is not None):
            return value
        self._note(path, f"{key} must be text" if key in holder else f"{key} is missing")
        return ""

    def _number(
        self,
        path: YamlPath,
        holder: Mapping[str, Any],
        key: str,
        default: float | None = None,
    ) -> float:
        value = holder.get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self._note(path, f"{key} must be a number" if key in holder else f"{key} is missing")
        return 0.0

    def _note(self, path: YamlPath, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self._document.problem(path, message, at_key=at_key))


def _rewritten(rule: Rule, rewrite: Rewrite, setting: PackSetting) -> AlertingRule | None:
    """Return the rule with the setting's value in it; None if the rewrite is not for this rule."""
    if not isinstance(rule, AlertingRule) or rule.name != rewrite.alert:
        return None
    if any(rule.labels.get(name) != wanted for name, wanted in rewrite.labels.items()):
        return None
    number = rewrite.number(setting.value)
    if rewrite.part is RewrittenPart.FOR:
        return replace(rule, for_ns=round(number * SECOND))
    if rewrite.part is RewrittenPart.OFFSET:
        expr = with_offset(rule.expr, round(number * SECOND))
    else:
        expr = with_threshold(rule.expr, rewrite.number(setting.default), number)
    return None if expr is None else replace(rule, expr=expr)
