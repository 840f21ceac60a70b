"""The functions that annotation templates may call: those of Prometheus that need no query."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import re2

from tapewatch.model.clock import SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.rules.go_format import Value, format_value, sprintf

_LARGE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_LARGE_BINARY = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL = ("", "m", "u", "n", "p", "f", "a", "z", "y")


class TemplateError(Exception):
    """A template cannot be expanded."""


def number(value: Value) -> float:
    """Return a number, or a text that is one.

    Raises:
        TemplateError: It is neither.
    """
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(str(value))
    except ValueError:
        raise TemplateError(f"expected a number, found {format_value(value)!r}") from None


def humanize(value: Value) -> str:
    """Return four significant digits with a metric prefix.

    >>> humanize(1234567.0)
    '1.235M'
    """
    v = number(value)
    if v == 0 or not math.isfinite(v):
        return f"{v:.4g}" if math.isfinite(v) else format_value(v)
    prefix = 0
    if abs(v) >= 1:
        while abs(v) >= 1000 and prefix < len(_LARGE) - 1:
            v, prefix = v / 1000, prefix + 1
        return f"{v:.4g}{_LARGE[prefix]}"
    while abs(v) < 1 and prefix < len(_SMALL) - 1:
        v, prefix = v * 1000, prefix + 1
    return f"{v:.4g}{_SMALL[prefix]}"


def humanize1024(value: Value) -> str:
    """Return four significant digits with a binary prefix."""
    v = number(value)
    if abs(v) <= 1 or not math.isfinite(v):
        return f"{v:.4g}" if math.isfinite(v) else format_value(v)
    prefix = 0
    while abs(v) >= 1024 and prefix < len(_LARGE_BINARY) - 1:
        v, prefix = v / 1024, prefix + 1
    return f"{v:.4g}{_LARGE_BINARY[prefix]}"


def humanize_duration(value: Value) -> str:
    """Return seconds as days, hours, minutes and seconds.

    >>> humanize_duration(93784.0)
    '1d 2h 3m 4s'
    """
    v = number(value)
    if not math.isfinite(v):
        return format_value(v)
    if v == 0:
        return "0s"
    if abs(v) < 1:
        prefix = 0
        while abs(v) < 1 and prefix < len(_SMALL) - 1:
            v, prefix = v * 1000, prefix + 1
        return f"{v:.4g}{_SMALL[prefix]}s"
    sign, v = ("-", -v) if v < 0 else ("", v)
    minutes, seconds = divmod(int(v), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{v:.4g}s"


def humanize_percentage(value: Value) -> str:
    """Return a ratio as a percentage."""
    return f"{number(value) * 100:.4g}%"


def humanize_timestamp(value: Value) -> str:
    """Return Unix seconds as a time in UTC."""
    v = number(value)
    try:
        moment = datetime.fromtimestamp(math.floor(v), UTC)
    except (ValueError, OverflowError, OSError):
        raise TemplateError(f"{format_value(v)} is not a time") from None
    nanos = f".{round((v - math.floor(v)) * SECOND):09d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{nanos} +0000 UTC"


def _strip_port(value: Value) -> str:
    host, colon, port = str(value).rpartition(":")
    return host.strip("[]") if colon and port.isdigit() else str(value)


def _strip_domain(value: Value) -> str:
    host, colon, port = str(value).partition(":")
    return host.split(".", 1)[0] + colon + port


def _match(pattern: Value, text: Value) -> bool:
    return bool(_regex(pattern).search(str(text)))


def _replace_all(pattern: Value, replacement: Value, text: Value) -> str:
    # Go writes a group as $1 or ${1}; a name runs as far as it can, so $1x is the group "1x".
    group = re2.compile(r"\$(?:\{(\w+)\}|(\w+))")

    def expand(match: Any) -> str:
        def one(reference: Any) -> str:
            name = reference.group(1) or reference.group(2)
            try:
                return match.group(int(name) if name.isdigit() else name) or ""
            except (IndexError, KeyError):
                return ""

        return str(group.sub(one, str(replacement)))

    return str(_regex(pattern).sub(expand, str(text)))


def _regex(pattern: Value) -> Any:
    try:
        return re2.compile(str(pattern))
    except re2.error as error:
        raise TemplateError(f"bad regular expression {str(pattern)!r}: {error}") from None


def _equal(first: Value, *others: Value) -> bool:
    return any(_comparable(first) == _comparable(other) for other in others)


def _comparable(value: Value) -> Any:
    return float(value) if isinstance(value, int | float) else value


def _ordered(name: str, test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(a: Value, b: Value) -> bool:
        x, y = _comparable(a), _comparable(b)
        if type(x) is not type(y) or not isinstance(x, float | str):
            raise TemplateError(
                f"{name} cannot compare {format_value(a)!r} with {format_value(b)!r}"
            )
        return test(x, y)

    return compare


def is_true(value: Value) -> bool:
    """Return whether ``if`` takes the branch: everything but zero and empty values."""
    return bool(value)


def _and(*values: Value) -> Value:
    return next((v for v in values if not is_true(v)), values[-1])


def _or(*values: Value) -> Value:
    return next((v for v in values if is_true(v)), values[-1])


def _index(container: Value, key: Value) -> str:
    if not isinstance(container, dict):
        raise TemplateError(f"index needs labels, found {format_value(container)!r}")
    return container.get(str(key), "")


def _parse_duration(text: Value) -> float:
    try:
        return parse_duration(str(text)) / SECOND
    except ValueError as error:
        raise TemplateError(str(error)) from None


FUNCTIONS: dict[str, tuple[Callable[..., Value], int, int | None]] = {
    "humanize": (humanize, 1, 1),
    "humanize1024": (humanize1024, 1, 1),
    "humanizeDuration": (humanize_duration, 1, 1),
    "humanizePercentage": (humanize_percentage, 1, 1),
    "humanizeTimestamp": (humanize_timestamp, 1, 1),
    "printf": (lambda text, *values: sprintf(str(text), values), 1, None),
    "print": (lambda *values: "".join(map(format_value, values)), 0, None),
    "println": (lambda *values: " ".join(map(format_value, values)) + "\n", 0, None),
    "title": (lambda text: str(text).title(), 1, 1),
    "toUpper": (lambda text: str(text).upper(), 1, 1),
    "toLower": (lambda text: str(text).lower(), 1, 1),
    "stripPort": (_strip_port, 1, 1),
    "stripDomain": (_strip_domain, 1, 1),
    "match": (_match, 2, 2),
    "reReplaceAll": (_replace_all, 3, 3),
    "parseDuration": (_parse_duration, 1, 1),
    "eq": (_equal, 2, None),
    "ne": (lambda a, b: not _equal(a, b), 2, 2),
    "lt": (_ordered("lt", lambda a, b: a < b), 2, 2),
    "le": (_ordered("le", lambda a, b: a <= b), 2, 2),
    "gt": (_ordered("gt", lambda a, b: a > b), 2, 2),
    "ge": (_ordered("ge", lambda a, b: a >= b), 2, 2),
    "and": (_and, 1, None),
    "or": (_or, 1, None),
    "not": (lambda value: not is_true(value), 1, 1),
    "len": (lambda value: len(value) if isinstance(value, str | dict) else 0, 1, 1),
    "index": (_index, 2, 2),
    "urlquery": (lambda text: quote_plus(str(text)), 1, 1),
}
"""Name to function, fewest and most arguments (None: any number)."""

UNSUPPORTED = frozenset(
    (
        "query", "first", "label", "value", "strvalue", "sortByLabel", "graphLink", "tableLink",
        "args", "tmpl", "safeHtml", "externalURL", "pathPrefix", "toTime", "html", "js", "slice",
        "call", "now", "toDuration",
    )
)  # fmt: skip
"""Functions of Prometheus that are left out: a rule file with them loads, its text stays raw."""
