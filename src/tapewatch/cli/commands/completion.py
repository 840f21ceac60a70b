"""``tapewatch completion``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tapewatch.cli import exit_codes, output


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")],
) -> int:
    """Print the completion script of a shell.

    Examples:

    \b
      eval "$(tapewatch completion bash)"
      tapewatch completion fish > ~/.config/fish/completions/tapewatch.fish
    """
    from typer import completion as typer_completion

    script: str = typer_completion.get_completion_script(  # type: ignore[attr-defined]
        prog_name="tapewatch", complete_var="_TAPEWATCH_COMPLETE", shell=shell.value
    )
    output.line(script)
    return exit_codes.OK
