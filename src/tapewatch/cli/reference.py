"""The reference page of the command line, made from the commands' own help.

``python -m tapewatch.cli.reference > docs/reference/cli.md`` writes it anew; a test holds the page
in step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from tapewatch.cli.main import application
from tapewatch.cli.telling import PROGRAM

_WIDTH = 96
_INTRODUCTION = """\
# The command line

This page is made from the commands by `python -m tapewatch.cli.reference`; a test holds it in step.

Every command asks the running daemon over its Unix socket in the data directory, else over TCP.
When none runs, `status`, `health`, `tail`, `metrics` and `query` read what the last one saved, and
say so: what nobody watches is never called healthy.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | done; for `status` and `health`: OK |
| 1 | failed; for `status` and `health`: WARNING |
| 2 | for `status` and `health` alone: CRITICAL |
| 3 | for `status` and `health` alone: UNKNOWN, also when the look itself failed |
| 64 | wrong usage |
| 130 | ended by Ctrl-C |
| 141 | the reader of the output went away |

`status` and `health` begin with one line in the form of Nagios plugins, figures behind a `|`.

## Output

Tables are drawn on a terminal and plain elsewhere; `NO_COLOR` turns colours off. Text from
engines, rules and receivers is shown with its control characters escaped. `--json` prints one
exact JSON document for programs, `tail --json` the lines of the alert files as they are. A command
that fails prints an object with `error` (a code), `exit_code`, `message` and `next_step` instead,
for a wrong configuration also `problems`; wrong usage is told on standard error alone.
Everything that is not the answer goes to standard error.

## Environment

| Variable | Meaning |
|---|---|
| `TAPEWATCH_CONFIG` | the configuration file |
| `TAPEWATCH_DATA_DIR` | the data directory, for recorders, daemon and commands alike |
| `TAPEWATCH_URL`, `TAPEWATCH_TOKEN_FILE` | as `--url` and `--token-file` |
| `NO_COLOR` | no colours |

Every setting has a variable as well, see [the configuration](configuration.md).
"""


def reference_text() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for name, text in helps():
        parts.append(f"\n## `{name}`\n\n```text\n{text}\n```\n")
    return "".join(parts)


def helps() -> Iterator[tuple[str, str]]:
    """Yield every command's full name and help text, groups before their commands."""
    yield from _helps(typer.main.get_command(application()), PROGRAM, None)


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    settings = {**command.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = command.context_class(
        command, info_name=name.rsplit(" ", 1)[-1], parent=parent, **settings
    )
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    yield name, "\n".join(lines).strip()
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, f"{name} {inner_name}", context)


if __name__ == "__main__":
    sys.stdout.write(reference_text())
