"""``tapewatch ack``."""

from __future__ import annotations

import getpass
from collections import Counter
from typing import Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.place import find_place
from tapewatch.model.errors import TapewatchError
from tapewatch.model.terminal import escape_controls


def ack(
    alert: Annotated[
        str, typer.Argument(metavar="ALERT", help="An alert's id, or a rule for all its alerts.")
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="NAME", help="Who takes it. Default: you.", show_default=False
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What is being done.")] = "",
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Take an alert, so that everybody knows who has it.

    Reminders end; the alert itself stays until it resolves. Taken again without a note, it keeps
    the one it has.

    Examples:

    \b
      tapewatch ack heartbeat_lapsed --note "restarting the engine"
      tapewatch ack 0a1b2c3d4e5f6071-18a --by maria
    """
    place = find_place(config, data_dir, url, token_file)
    from tapewatch.cli.client import alert_path, connect

    client = connect(place)
    if client is None:
        raise TapewatchError(
            f"no daemon runs for {place.data_dir}, so nobody can write down who has the alert",
            next_step="start it with: tapewatch run",
        )
    with client:
        answer = client.post(alert_path(alert), {"by": by or _me(), "note": note})
    if json_output:
        output.print_json(answer)
    else:
        counts = Counter(str(record.get("rule", alert)) for record in answer.get("alerts", ()))
        for rule, count in counts.items():
            taken = "taken" if count == 1 else f"{count} alerts taken"
            output.line(
                f"{escape_controls(rule, 80)}: {taken} by {escape_controls(by or _me(), 80)}"
            )
    return exit_codes.OK


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"
