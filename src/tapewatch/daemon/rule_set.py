"""The rules in force: those of the packs and those of rule files, checked as one."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tapewatch.config.load import LoadedConfig
from tapewatch.config.origin import problem_at
from tapewatch.config.packs import Pack, load_pack
from tapewatch.ingest.flatten import flatten
from tapewatch.ingest.naming import metric_name
from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.errors import ConfigError, Problem
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue
from tapewatch.promql import QueryEngine
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import RuleGroup
from tapewatch.series.head import Head

MAX_RULE_FILE_BYTES = 1 << 20
_OWN = "self"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that is evaluated."""

    packs: tuple[Pack, ...]
    files: tuple[Path, ...]
    groups: tuple[RuleGroup, ...]
    """Of the packs first, in the order of the configuration."""
    catalogue: MetricCatalogue
    warnings: tuple[Problem, ...] = ()
    """What is accepted in packs and rule files and probably not meant."""


def load_rule_set(config: LoadedConfig) -> RuleSet:
    """Load packs and rule files.

    Raises:
        ConfigError: With the problems of all of them.
    """
    problems: list[Problem] = []
    packs: list[Pack] = []
    for index, settings in enumerate(config.settings.packs):
        place = ("packs", index)
        try:
            packs.append(
                load_pack(
                    _pack_place(settings.name, config),
                    settings.thresholds,
                    given_problem=partial(_threshold_problem, config, place),
                )
            )
        except ConfigError as error:
            # What is said of no file is said of the name in the configuration.
            named = problem_at(config.origin((*place, "name")), "")
            problems += [
                p if p.path else replace(named, message=named.message + p.message)
                for p in error.problems
            ]
    files = _rule_files(config, problems)
    warnings = [warning for pack in packs for warning in pack.warnings]
    groups = [group for pack in packs for group in pack.groups]
    for path in files:
        try:
            groups += load_rules(_read(path), str(path), warn=warnings.append)
        except ConfigError as error:
            problems += error.problems
    # What the daemon says of itself is described even where its own rules are left out.
    described = packs if any(pack.name == _OWN for pack in packs) else [load_pack(_OWN), *packs]
    definitions = [d for pack in described for d in pack.catalogue.definitions.values()]
    try:
        catalogue = MetricCatalogue({d.name: d for d in definitions}.values())
    except ValueError as error:
        problems.append(problem_at(config.origin(("packs",)), f"packs: {error}"))
        catalogue = MetricCatalogue()
    if problems:
        raise ConfigError(problems)
    return RuleSet(tuple(packs), tuple(files), tuple(groups), catalogue, tuple(warnings))


def evaluate_once(
    rules: RuleSet, engine: str, metrics: Mapping[str, Any], now_ns: int
) -> list[Alert]:
    """Return the alerts whose condition these metrics meet, pending ones included.

    A view over a head that holds nothing but this tick; nothing is remembered.
    """
    head = Head()
    labels = Labels({"engine": engine})
    flat = flatten(metrics)
    values = {
        **{metric_name(path, rules.catalogue): value for path, value in flat.numbers.items()},
        **{
            metric_name(path, rules.catalogue, is_time=True): value
            for path, value in flat.times.items()
        },
    }
    evaluator = RuleEvaluator(rules.groups, QueryEngine(head), started_ns=now_ns)
    # What an engine that has just ticked looks like to the rules about its life.
    values |= {"tapewatch_engine_up": 1.0}
    for name, value in values.items():
        if value == value:  # noqa: PLR0124 - NaN is no value
            head.append(labels.with_(__name__=name), now_ns, value)
    instant = np.array([now_ns], dtype=np.int64)
    evaluator.on_arrival(dict.fromkeys(values, instant), now_ns)
    return [alert for alert in evaluator.active() if alert.state is not AlertState.RESOLVED]


def _threshold_problem(
    config: LoadedConfig, place: tuple[str, int], name: str, message: str
) -> Problem:
    return problem_at(config.origin((*place, "thresholds", name)), message)


def _pack_place(name: str, config: LoadedConfig) -> str:
    return str(config.beside_file(Path(name))) if "/" in name else name


def _rule_files(config: LoadedConfig, problems: list[Problem]) -> Sequence[Path]:
    found: dict[Path, None] = {}
    for index, pattern in enumerate(config.settings.rules):
        # Patterns may be absolute, which Path.glob does not take.
        place = str(config.beside_file(Path(pattern)))
        matches = sorted(glob.glob(place, recursive=True))  # noqa: PTH207
        if not matches:
            message = f"rules: no file matches {pattern!r}; looked for {place}"
            problems.append(problem_at(config.origin(("rules", index)), message))
        found |= dict.fromkeys(Path(match) for match in matches)
    return list(found)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RULE_FILE_BYTES + 1)
        return raw.decode("utf-8")
    except OSError as error:
        message = f"the rule file cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = "the rule file is not UTF-8 text"
    raise ConfigError([Problem(str(path), 0, 0, message)])
