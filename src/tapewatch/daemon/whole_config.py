"""Configuration, packs and rule files, checked as one: a person hears of everything at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tapewatch.config.load import ExaminedConfig, FlagValue, LoadedConfig, examine_config
from tapewatch.config.model import WebhookReceiverSettings
from tapewatch.daemon.rule_set import RuleSet, load_rule_set
from tapewatch.model.errors import ConfigError, Problem
from tapewatch.notify.webhook import WebhookSettings


def load_whole(
    path: Path | None = None,
    *,
    flags: Sequence[FlagValue] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[LoadedConfig, RuleSet]:
    """Load the configuration and every pack and rule file that it names.

    Args:
        path: The configuration file; None looks for it.
        flags: What the command line says.
        environ: The environment; None takes the process's own.

    Raises:
        ConfigError: With every problem in all of them, each with its place.
    """
    return _checked(examine_config(path, flags=flags, environ=environ))


def load_whole_again(config: LoadedConfig) -> tuple[LoadedConfig, RuleSet]:
    """Load everything again from the places of a configuration.

    Raises:
        ConfigError: With every problem; the configuration given stays as it is.
    """
    return _checked(config.examine_again())


def _checked(examined: ExaminedConfig) -> tuple[LoadedConfig, RuleSet]:
    config = examined.config
    problems = list(examined.problems)
    rules: RuleSet | None = None
    if config is not None:
        problems += _receiver_problems(config)
        try:
            rules = load_rule_set(config)
        except ConfigError as error:
            problems += error.problems
    if problems or config is None or rules is None:
        # The configuration's own problems first, each file from its top.
        own = str(config.path) if config is not None and config.path is not None else ""
        problems.sort(key=lambda p: (p.path != own, p.path, p.line, p.column))
        raise ConfigError(problems, next_step=examined.next_step)
    return config, rules


def _receiver_problems(config: LoadedConfig) -> list[Problem]:
    """Return what a webhook's receiver would refuse of its settings."""
    problems = []
    for index, receiver in enumerate(config.settings.receivers):
        if isinstance(receiver, WebhookReceiverSettings) and receiver.url is not None:
            try:
                WebhookSettings(config.webhook_url(receiver), config.webhook_secret(receiver))
            except ValueError as error:
                message = f'receiver "{receiver.name}": url: {error}'
                problems.append(config.problem(("receivers", index, "url"), message))
    return problems
