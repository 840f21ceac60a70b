"""The alert book in the state store: one value for each family, so that one change costs one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapewatch.alerts.book import AlertBook

FRAME = "alert_book"
FAMILY = "alert_book/"


def book_changes(book: AlertBook) -> dict[str, Any]:
    """Return the values to be stored since this was last asked; None for families that ended."""
    changes: dict[str, Any] = {
        FAMILY + name: family for name, family in book.take_changes().items()
    }
    changes[FRAME] = book.frame()
    return changes


def saved_book(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the stored book in the form that ``AlertBook.from_saved`` reads; None without one."""
    frame = values.get(FRAME)
    if frame is None:
        return None
    families = [value for name, value in values.items() if name.startswith(FAMILY)]
    return {**frame, "families": families}
