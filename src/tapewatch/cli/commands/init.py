"""``tapewatch init``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tapewatch.cli import exit_codes, output
from tapewatch.model.errors import TapewatchError


def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Where to write it; - is standard output. "
            "Default: ~/.config/tapewatch/tapewatch.yaml, which every command finds by itself.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Write a commented starter configuration. An existing file is never overwritten.

    Examples:

    \b
      tapewatch init
      tapewatch init ./tapewatch.yaml
      tapewatch init -
    """
    from tapewatch.config.load import user_config
    from tapewatch.config.starter import starter_text

    text = starter_text()
    if path is not None and str(path) == "-":
        sys.stdout.write(text)
        return exit_codes.OK
    target = path or user_config(os.environ)
    if target is None:
        raise TapewatchError("there is no home directory", next_step="name a file")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise TapewatchError(
            f"{target} exists and is left as it is",
            next_step=f"check it with: tapewatch check-config {target}",
        ) from None
    except OSError as error:
        raise TapewatchError(f"cannot write {target}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    output.line(f"wrote {target}")
    output.line(f"next: tapewatch run{'' if path is None else f' --config {target}'}")
    return exit_codes.OK
