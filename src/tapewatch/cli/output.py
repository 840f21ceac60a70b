"""What commands print: JSON for programs, tables for people, nothing that a terminal obeys."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tapewatch.model.json_line import to_json_line
from tapewatch.model.terminal import escape_controls

MAX_CELL = 240
"""Columns that one cell may take: a label of a megabyte must not fill the screen."""
SEVERITY_STYLES = {
    "EMERGENCY": "bold white on red",
    "CRITICAL": "bold red",
    "WARNING": "yellow",
    "INFO": "cyan",
}
STATE_STYLES = {
    "healthy": "green",
    "ok": "green",
    "running": "green",
    "degraded": "yellow",
    "warning": "yellow",
    "stalled": "bold red",
    "crashed": "bold red",
    "unhealthy": "bold red",
    "critical": "bold red",
    "failed": "bold red",
    "never_started": "bold red",
    "unknown": "magenta",
}
_ANSI = {
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "magenta": "35",
    "bold red": "1;31",
    "bold white on red": "1;37;41",
    "dim": "2",
    "bold": "1",
}
_WRITE_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    style: str = ""


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether people read this stream."""
    return (stream or sys.stdout).isatty()


def in_colour(stream: TextIO | None = None) -> bool:
    """Return whether to colour: on a terminal that can, unless ``NO_COLOR`` is set."""
    return (
        is_terminal(stream)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "") not in ("", "dumb")
    )


def is_write_failure(error: OSError) -> bool:
    """Return whether this is standard output refusing what was printed (a full disk)."""
    return error.filename is None and error.errno in _WRITE_FAILURES


def line(text: str = "") -> None:
    """Print one line. Text from outside must have been escaped."""
    sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Print a value as one line of strict JSON."""
    line(to_json_line(value))


def coloured(text: str, style: str) -> str:
    """Return the text in a style when standard output shows colours."""
    code = _ANSI.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and in_colour() else text


def state_cell(state: str) -> Cell:
    """Return a cell for a health status or the state of an engine."""
    return Cell(state, STATE_STYLES.get(state, ""))


def severity_cell(severity: str) -> Cell:
    """Return a cell for a severity in capitals."""
    return Cell(severity, SEVERITY_STYLES.get(severity, ""))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> None:
    """Print a table: drawn on a terminal, plain aligned columns elsewhere."""
    cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in rows]
    if is_terminal():
        _rich_table(columns, cells)
    else:
        _plain_table(columns, cells)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    shown = [list(columns)] + [[escape_controls(c.text, MAX_CELL) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(columns))]
    for row in shown:
        line("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: square brackets in a message are not markup.
        drawn.add_row(*(Text(escape_controls(c.text, MAX_CELL), c.style) for c in row))
    Console(no_color=not in_colour(), highlight=False).print(drawn)


def quoted(text: str) -> str:
    """Return a text as a PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def safe_cell(text: str) -> str:
    """Return a text for a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
