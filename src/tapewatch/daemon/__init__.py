"""The composition root: builds every part of the daemon and runs them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapewatch.config.load import LoadedConfig
    from tapewatch.daemon.rule_set import RuleSet


def run_daemon(config: LoadedConfig, rules: RuleSet | None = None) -> int:
    """Run the daemon until it is told to stop; return the exit code.

    Args:
        config: What is in force.
        rules: Its packs and rule files, if they are loaded already.

    Raises:
        TapewatchError: It cannot start; the message says why and what to do.
    """
    from tapewatch.daemon.app import run

    return run(config, rules)
