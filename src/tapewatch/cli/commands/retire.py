"""``tapewatch retire``."""

from __future__ import annotations

from typing import Annotated

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.place import find_place
from tapewatch.model.errors import TapewatchError
from tapewatch.model.terminal import escape_controls


def retire(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="The engine's name.")],
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Forget an engine that will not come back.

    Its alerts resolve with that reason. A new run of the same name is watched again.

    Examples:

    \b
      tapewatch retire momentum
    """
    place = find_place(config, data_dir, url, token_file)
    from tapewatch.cli.client import connect, retire_path

    client = connect(place)
    if client is None:
        raise TapewatchError(
            f"no daemon runs for {place.data_dir}, so nobody watches an engine there",
            next_step="start it with: tapewatch run",
        )
    with client:
        answer = client.post(retire_path(engine), {})
    if json_output:
        output.print_json(answer)
    else:
        output.line(f"{escape_controls(engine, 80)}: retired")
    return exit_codes.OK
