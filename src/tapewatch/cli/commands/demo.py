"""``tapewatch demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from tapewatch.cli import exit_codes, options
from tapewatch.cli.telling import tell


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            min=1,
            metavar="N",
            help="End after N seconds with a summary. Default: run until Ctrl-C.",
            show_default=False,
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on the last line.")
    ] = False,
    speed: Annotated[
        float,
        typer.Option(
            "--speed", metavar="FACTOR", min=0.05, max=50, help="How fast market time passes."
        ),
    ] = 1.0,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where the page is served. Default: 127.0.0.1:8090, or a free port.",
            show_default=False,
        ),
    ] = None,
    data_dir: options.DataDir = None,
    open_page: Annotated[
        bool, typer.Option("--page/--no-page", help="Open the page in a browser.")
    ] = True,
) -> int:
    """Watch a paper-trading engine over recorded market data.

    Faults are injected by a timetable, and the time until each alert is measured.

    Examples:

    \b
      tapewatch demo
      tapewatch demo --seconds 40 --json
    """
    try:
        from tapewatch.demo.runner import run_demo
    except ModuleNotFoundError as error:
        tell(f"the demo needs the package {error.name}; run: pip install 'tapewatch[demo]'")
        return exit_codes.FAILED
    return run_demo(
        seconds=seconds,
        json_output=json_output,
        speed=speed,
        listen=listen,
        data_dir=data_dir,
        open_page=open_page and not json_output,
    )
