"""One event as one line: JSON for programs, text for people, secrets in neither."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType
from typing import Any

from tapewatch.model.json_line import to_json_line
from tapewatch.model.terminal import escape_controls

MASK = "********"
DEFAULT_COMPONENT = "monitoring"
_FIRST = ("timestamp", "level", "event", "component")
_SECRET_KEY = re.compile(
    r"(^|_)(token|secret|password|passwd|authorization|cookie|api_?key|credentials?)($|_)",
    re.IGNORECASE,
)
_MAX_DEPTH = 6
_MAX_TEXT = 16_384
"""Characters of one value: a log line is no place for a dump."""
_SHORTEST_SECRET = 8
"""Shorter secrets are only masked by their key: replacing 'a' everywhere helps nobody."""
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

Event = MutableMapping[str, Any]


class Masking:
    """Takes known secrets out of everything that is logged, wherever they stand."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        # The longest first: a secret may hold another one.
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len)[::-1]

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def value(self, key: str, value: Any, depth: int = 0) -> Any:
        """Return a JSON value without secrets; whatever it is, it never raises."""
        if _SECRET_KEY.search(key) and not isinstance(value, bool | int | float | None):
            return MASK
        if value is None or isinstance(value, bool | int | float):
            return value.value if isinstance(value, Enum) else value
        if isinstance(value, Enum):
            return self.value(key, value.value, depth)
        if isinstance(value, str):
            return self.text(value[:_MAX_TEXT])
        if depth < _MAX_DEPTH and isinstance(value, Mapping):
            return {str(k): self.value(str(k), v, depth + 1) for k, v in value.items()}
        if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self.value("", item, depth + 1) for item in value]
        try:
            return self.text(str(value)[:_MAX_TEXT])
        except Exception as error:
            return f"<{type(value).__name__}: {type(error).__name__}>"


def prepare(event: Event, masking: Masking) -> dict[str, Any]:
    """Return the event as JSON values in a fixed order, its exception as text."""
    trouble = event.pop("exc_info", None)
    fields = {str(key): masking.value(str(key), value) for key, value in event.items()}
    text = _exception(trouble)
    if text:
        fields["exception"] = masking.text(text[-_MAX_TEXT:])
    fields.setdefault("timestamp", stamp(datetime.now(UTC)))
    fields.setdefault("component", DEFAULT_COMPONENT)
    return {key: fields.pop(key) for key in _FIRST if key in fields} | fields


def stamp(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def json_line(fields: Mapping[str, Any]) -> str:
    """Return prepared fields as one line of strict JSON."""
    return to_json_line(fields)


def console_line(fields: Mapping[str, Any], *, colours: bool) -> str:
    """Return prepared fields as one line for people; controls are shown, never obeyed."""
    rest = dict(fields)
    time_text = str(rest.pop("timestamp", ""))[11:19]
    level = str(rest.pop("level", "info"))
    event = escape_controls(str(rest.pop("event", "")))
    component = escape_controls(str(rest.pop("component", "")))
    shown = " ".join(f"{escape_controls(key)}={_shown(value)}" for key, value in rest.items())
    word = f"{level:<8}"
    if colours:
        word = f"\x1b[{_COLOURS.get(level, '0')}m{word}\x1b[0m"
        event = f"\x1b[1m{event}\x1b[0m"
    return f"{time_text} {word} {component}: {event}  {shown}".rstrip()


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else to_json_line(value)
    text = escape_controls(text)
    return f'"{text}"' if not text or " " in text else text


def _exception(trouble: Any) -> str:
    if isinstance(trouble, BaseException):
        return "".join(traceback.format_exception(trouble))
    if isinstance(trouble, tuple) and isinstance(trouble[1], BaseException):
        trace = trouble[2] if isinstance(trouble[2], TracebackType) else None
        return "".join(traceback.format_exception(trouble[0], trouble[1], trace))
    return ""
