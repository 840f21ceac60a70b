"""``tapewatch config show``."""

from __future__ import annotations

from typing import Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.telling import tell


def show(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what differs from the defaults.")
    ] = False,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
) -> int:
    """Show every effective setting and where its value comes from. Secrets are masked.

    Examples: tapewatch config show; tapewatch config show --changed --json
    """
    from tapewatch.cli.commands.run_daemon import flag_values
    from tapewatch.config.load import load_config
    from tapewatch.config.view import shown_settings

    loaded = load_config(config, flags=flag_values(data_dir=data_dir))
    rows = [row for row in shown_settings(loaded) if not changed or row.origin != "default"]
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
