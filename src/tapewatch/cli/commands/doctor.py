"""``tapewatch doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.output import Cell

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    network: Annotated[
        bool, typer.Option("--network", help="Connect to webhooks too; nothing is sent.")
    ] = False,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
) -> int:
    """Find what keeps Tapewatch from working, and say how to fix it.

    Examples:

    \b
      tapewatch doctor
      tapewatch doctor --network --json
    """
    from tapewatch.cli.diagnosis import Outcome, findings
    from tapewatch.cli.place import find_place
    from tapewatch.model.errors import ConfigError

    try:
        place = find_place(config, data_dir)
    except ConfigError:
        # A file that was named and is wrong: that is a finding, and the rest is worth a look.
        place = find_place(None, data_dir)
    found = list(findings(place, config, network=network))
    failed = any(f.outcome is Outcome.FAILED for f in found)
    if json_output:
        output.print_json(
            {
                "ok": not failed,
                "findings": [
                    {"name": f.name, "outcome": f.outcome, "found": f.found, "fix": f.fix}
                    for f in found
                ],
            }
        )
    else:
        output.table(
            ("CHECK", "RESULT", "FOUND", "FIX"),
            [(f.name, Cell(f.outcome, _STYLES.get(f.outcome, "")), f.found, f.fix) for f in found],
        )
    return exit_codes.FAILED if failed else exit_codes.OK
