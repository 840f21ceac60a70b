"""``tapewatch config show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.telling import tell
from tapewatch.model.errors import ConfigError

if TYPE_CHECKING:
    from tapewatch.config.load import LoadedConfig
    from tapewatch.config.view import ShownSetting


def show(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what differs from the defaults.")
    ] = False,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
) -> int:
    """Show every effective setting and where its value comes from. Secrets are masked.

    Examples:

    \b
      tapewatch config show
      tapewatch config show --changed --json
    """
    from tapewatch.cli.commands.run_daemon import flag_values
    from tapewatch.config.load import load_config
    from tapewatch.config.view import shown_settings

    loaded = load_config(config, flags=flag_values(data_dir=data_dir))
    rows = shown_settings(loaded)
    if changed:
        rows = [row for row in rows if row.origin != "default"]
    else:
        rows += _pack_defaults(loaded)
    if json_output:
        output.print_json(
            {
                "path": str(loaded.path) if loaded.path is not None else None,
                "settings": [
                    {"setting": r.name, "value": r.value, "origin": r.origin} for r in rows
                ],
                "warnings": list(loaded.warnings),
            }
        )
        return exit_codes.OK
    for warning in loaded.warnings:
        tell(f"warning: {warning}")
    output.table(("SETTING", "VALUE", "ORIGIN"), [(r.name, r.text, r.origin) for r in rows])
    return exit_codes.OK


def _pack_defaults(loaded: LoadedConfig) -> list[ShownSetting]:
    """Return the thresholds that the packs bring and nobody has set."""
    from tapewatch.config.view import ShownSetting
    from tapewatch.daemon.rule_set import load_rule_set

    try:
        packs = load_rule_set(loaded).packs
    except ConfigError:
        tell("the rules have problems; tapewatch check-config shows them")
        return []
    return [
        ShownSetting(f"packs[{index}].thresholds.{name}", value, f"default of pack {pack.name}")
        for index, pack in enumerate(packs)
        for name, value in pack.thresholds.items()
        if name not in loaded.settings.packs[index].thresholds
    ]
