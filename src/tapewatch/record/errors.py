"""What the tape keeps of an error: its type, message and where it came from."""

from __future__ import annotations

from tapewatch.record.values import describe

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

MAX_PLACES = 10


def error_body(error: BaseException | str, context: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error record.

    Returns:
        ``type`` (class name; ``"message"`` for a text), ``message``, ``where`` (``file:line
        function``, innermost first, at most ten; source lines are never read) and ``context``.
    """
    if not isinstance(error, BaseException):
        return {"type": "message", "message": describe(error), "where": [], "context": context}
    return {
        "type": type(error).__qualname__,
        "message": describe(error),
        "where": _places(error.__traceback__),
        "context": context,
    }


def _places(traceback: TracebackType | None) -> list[str]:
    places: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        if len(places) > MAX_PLACES:
            del places[0]
        traceback = traceback.tb_next
    return places[::-1]
