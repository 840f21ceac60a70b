"""Show where in a query the trouble is, with a caret under the place."""

from __future__ import annotations

import re

from tapewatch.model.errors import QueryError, TapewatchError
from tapewatch.model.terminal import escape_controls

_PLACE = re.compile(r"(?:^|[ :])(\d{1,5}):(\d{1,6}): ")


class BadQueryError(TapewatchError):
    """A query that cannot be evaluated, with its text and the place in it."""

    code = "bad_query"


def query_error(text: str, error: QueryError) -> BadQueryError:
    """Return the error of a query with the place shown below its text."""
    return _with_caret(text, error.message, error.line, error.column)


def refused_query(text: str, message: str) -> BadQueryError:
    """Return the error of a query that the daemon refused; a place is read from its message."""
    match = _PLACE.search(message)
    if match is None or not _is_inside(text, int(match[1]), int(match[2])):
        return BadQueryError(message)
    return _with_caret(text, message[match.end() :], int(match[1]), int(match[2]))


def _is_inside(text: str, line: int, column: int) -> bool:
    lines = text.split("\n")
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


def _with_caret(text: str, message: str, line: int, column: int) -> BadQueryError:
    if not _is_inside(text, line, column):
        return BadQueryError(message)
    source = text.split("\n")[line - 1]
    # Escapes are longer than what they stand for: the caret goes below the shown text.
    before = escape_controls(source[: column - 1])
    shown = f"  {escape_controls(source)}\n  {' ' * len(before)}^"
    return BadQueryError(f"line {line}, column {column}: {message}\n{shown}")
