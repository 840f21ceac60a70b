"""Tell people what went wrong, on standard error, with nothing that a terminal obeys."""

from __future__ import annotations

import sys
from typing import Any

from tapewatch.model.errors import ConfigError, TapewatchError
from tapewatch.model.terminal import escape_controls

PROGRAM = "tapewatch"


class NotThereError(TapewatchError):
    """Nothing has the name that was asked for."""

    code = "not_found"


def failure(error: TapewatchError, exit_code: int) -> dict[str, Any]:
    """Return a failure for programs: with ``--json`` it is what is on standard output."""
    out: dict[str, Any] = {
        "error": error.code,
        "exit_code": exit_code,
        "message": error.message,
        "next_step": error.next_step,
    }
    if isinstance(error, ConfigError):
        out["problems"] = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message}
            for p in error.problems
        ]
    return out


def tell(text: str) -> None:
    """Print one line or several, the first after the program's name."""
    lines = [escape_controls(part) for part in text.split("\n")]
    sys.stderr.write(f"{PROGRAM}: " + "\n".join(lines) + "\n")


def tell_error(error: TapewatchError) -> None:
    """Print what is wrong and the next step; of a configuration every problem in its line."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            sys.stderr.write(escape_controls(str(problem)) + "\n")
        count = len(error.problems)
        tell(f"error: {count} problem{'' if count == 1 else 's'} in the configuration")
    else:
        tell(f"error: {error.message}")
    if error.next_step:
        tell(f"next: {error.next_step}")
