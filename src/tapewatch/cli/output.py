"""What commands print: JSON for programs, tables for people, nothing that a terminal obeys."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from tapewatch.model.json_line import to_json_line
from tapewatch.model.terminal import escape_controls

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

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
_UNBROKEN = 20
"""Up to here a cell stays in one line: a number or a time that is broken cannot be read."""
_LEAST_BARS = 8
_BETWEEN = 3
"""Columns between two columns of a table."""
_WRITE_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    style: str = ""
    bars: bool = False
    """A sparkline: narrowed by leaving bars out, never broken into lines."""


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

    # Text, not str: square brackets in a message are not markup.
    shown = [[Text(escape_controls(c.text, MAX_CELL), c.style) for c in row] for row in rows]
    longest = [max([len(c), *(len(row[i]) for row in shown)]) for i, c in enumerate(columns)]
    bars = [any(row[i].bars for row in rows) for i in range(len(columns))]
    console = Console(no_color=not in_colour(), highlight=False)
    least = [_LEAST_BARS if b else min(w, _UNBROKEN) for w, b in zip(longest, bars, strict=True)]
    room = console.width - _BETWEEN * len(columns)
    if sum(least) > room:
        _rich_blocks(console, columns, shown)
        return
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column, length, is_bars in zip(columns, longest, bars, strict=True):
        drawn.add_column(column, overflow="fold", no_wrap=is_bars or length <= _UNBROKEN)
    taken = sum(w if b or w <= _UNBROKEN else _UNBROKEN for w, b in zip(longest, bars, strict=True))
    for row, cells in zip(shown, rows, strict=True):
        drawn.add_row(
            *(
                _narrowed(text, len(text) - max(taken - room, 0)) if cell.bars else text
                for text, cell in zip(row, cells, strict=True)
            )
        )
    console.print(drawn)


def _rich_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Print a line for each cell, on a terminal too narrow for a table."""
    widest = max(map(len, columns))
    for row in rows:
        console.print()
        for column, text in zip(columns, row, strict=True):
            console.print(column.ljust(widest), style="bold", end="  ")
            console.print(text)


def _narrowed(bars: Text, width: int) -> Text:
    """Return the newest bar of each of so many equal parts."""
    count = min(max(width, _LEAST_BARS), len(bars))
    plain = bars.plain
    picked = (plain[(i + 1) * len(plain) // count - 1] for i in range(count))
    return bars.__class__("".join(picked), bars.style)


def quoted(text: str) -> str:
    """Return a text as a PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def safe_cell(text: str) -> str:
    """Return a text for a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
