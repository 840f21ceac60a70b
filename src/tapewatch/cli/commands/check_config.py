"""``tapewatch check-config``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.telling import failure, tell
from tapewatch.cli.verdict import counted
from tapewatch.model.errors import ConfigError
from tapewatch.model.terminal import escape_controls

if TYPE_CHECKING:
    from tapewatch.config.load import FlagValue


def check_config(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="The file; default: the one run would use.", show_default=False
        ),
    ] = None,
    json_output: options.Json = False,
    config: options.Config = None,
) -> int:
    """Check configuration, rule files and packs.

    The daemon runs the same code. Every problem is shown in one pass with file, line and column.

    Examples:

    \b
      tapewatch check-config
      tapewatch check-config ./tapewatch.yaml --json
    """
    return check_and_tell(file or config, flags=(), json_output=json_output)


def check_and_tell(path: Path | None, *, flags: Sequence[FlagValue], json_output: bool) -> int:
    """Check, print what was found, and return the exit code."""
    from tapewatch.daemon.whole_config import load_whole

    try:
        loaded, rules = load_whole(path, flags=flags)
    except ConfigError as error:
        if not json_output:
            raise
        output.print_json({"ok": False, **failure(error, exit_codes.FAILED)})
        return exit_codes.FAILED
    where = str(loaded.path) if loaded.path is not None else "defaults (no configuration file)"
    counts = {
        "packs": len(rules.packs),
        "rule_files": len(rules.files),
        "groups": len(rules.groups),
        "rules": sum(len(group.rules) for group in rules.groups),
        "receivers": len(loaded.settings.receivers),
    }
    warnings = [*loaded.warnings, *map(str, rules.warnings)]
    if json_output:
        output.print_json({"ok": True, "path": where, "warnings": warnings, **counts})
        return exit_codes.OK
    for warning in warnings:
        tell(f"warning: {warning}")
    told = ", ".join(counted(n, noun[:-1].replace("_", " ")) for noun, n in counts.items())
    output.line(f"OK: {escape_controls(where)}: {told}")
    return exit_codes.OK
