"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file. Default: $TAPEWATCH_CONFIG, else "
        "~/.config/tapewatch/tapewatch.yaml, else /etc/tapewatch/tapewatch.yaml.",
        show_default=False,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Data directory. Default: $TAPEWATCH_DATA_DIR, else what the configuration says.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="TAPEWATCH_URL",
        help="Ask the daemon at this address instead of the one of the data directory.",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="TAPEWATCH_TOKEN_FILE",
        help="File with the token that the address asks for.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
