"""The types of single settings: each is read from text or a YAML value and says what it expects."""

from __future__ import annotations

import ipaddress
import math
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, time, tzinfo
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tapewatch.model.clock import SECOND
from tapewatch.model.duration import format_duration, parse_duration
from tapewatch.model.severity import AlertSeverity

T = TypeVar("T")

_SIZE = re.compile(r"(\d{1,18})\s*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?")
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
    "TB": 10**12,
    "TiB": 2**40,
}
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_URL = re.compile(r"https?://[^\s/@?#]+([/?#]\S*)?")
_MAX_PORT = 65535


def _schema(
    handler_type: type[Any],
    read: Callable[[Any], Any],
    write: Callable[[Any], Any],
    json_schema: JsonSchemaValue,
) -> CoreSchema:
    """Return the schema of a type that is read by one function and shown by another."""

    def reading(value: Any) -> Any:
        return value if type(value) is handler_type else read(value)

    return core_schema.no_info_plain_validator_function(
        reading,
        serialization=core_schema.plain_serializer_function_ser_schema(write),
        metadata={"pydantic_js_functions": [lambda _schema, _handler: dict(json_schema)]},
    )


class Duration(int):
    """A time span in nanoseconds, written like ``1h30m`` or as a bare number of seconds."""

    @property
    def ns(self) -> int:
        """The span in nanoseconds."""
        return int(self)

    @property
    def seconds(self) -> float:
        """The span in seconds."""
        return int(self) / SECOND

    def __str__(self) -> str:
        return format_duration(self)

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    @classmethod
    def read(cls, value: Any) -> Duration:
        """Return the duration that a setting means.

        Raises:
            ValueError: It is neither a Prometheus duration nor a number of seconds.
        """
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("expected a duration such as 1h30m, 15s or 250ms")
        if isinstance(value, int | float):
            if not 0 <= value <= 9e9:
                raise ValueError("expected a number of seconds from 0 to about 292y")
            return cls(round(value * SECOND))
        text = value.strip()
        if re.fullmatch(r"\d{1,10}(\.\d{1,9})?", text):
            return cls.read(float(text))
        try:
            return cls(parse_duration(text))
        except ValueError:
            raise ValueError("expected a duration such as 1h30m, 15s or 250ms") from None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _schema(
            cls,
            cls.read,
            str,
            {
                "anyOf": [
                    {
                        "type": "string",
                        "pattern": r"^(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
                    },
                    {"type": "number", "minimum": 0, "description": "seconds"},
                ]
            },
        )


def duration(text: str) -> Duration:
    """Return the duration that a default in the code states."""
    return Duration.read(text)


class Size(int):
    """A number of bytes, written like ``64MiB``, ``5GB`` or as a bare number."""

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            count, rest = divmod(int(self), _SIZE_UNITS[unit])
            if count and not rest:
                return f"{count}{unit}"
        return f"{int(self)}B"

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"

    @classmethod
    def read(cls, value: Any) -> Size:
        """Return the size that a setting means.

        Raises:
            ValueError: It is not a number of bytes.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError("expected a size such as 64MiB, 5GB or a number of bytes")
        return cls(int(match.group(1)) * _SIZE_UNITS[match.group(2) or "B"])

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _schema(
            cls,
            cls.read,
            str,
            {
                "anyOf": [
                    {"type": "string", "pattern": r"^\d+ ?(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?$"},
                    {"type": "integer", "minimum": 0, "description": "bytes"},
                ]
            },
        )


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a TCP port to listen on, written ``127.0.0.1:8090`` or ``[::1]:8090``."""

    host: str
    port: int
    """0 takes a free one."""

    @property
    def on_loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def read(cls, value: Any) -> ListenAddress:
        """Return the address that a setting means.

        Raises:
            ValueError: It is not a host and a port.
        """
        expected = "expected HOST:PORT such as 127.0.0.1:8090 or [::1]:8090"
        if not isinstance(value, str):
            raise ValueError(expected)
        host, separator, port = value.strip().rpartition(":")
        if not separator or not re.fullmatch(r"\d{1,5}", port) or int(port) > _MAX_PORT:
            raise ValueError(f"{expected}, with a port from 0 to {_MAX_PORT}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ValueError(f"{expected}; the address in brackets is not IPv6") from None
        elif not _HOST.fullmatch(host):
            raise ValueError(expected)
        return cls(host, int(port))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _schema(cls, cls.read, str, {"type": "string", "pattern": r"^.+:\d{1,5}$"})


@dataclass(frozen=True, slots=True, repr=False)
class SecretUrl:
    """An http or https address whose path and query may be a secret: only the host is shown."""

    text: str
    """The whole address. Hand it to nothing that shows it."""

    def __str__(self) -> str:
        parts = urlsplit(self.text)
        hidden = parts.path.strip("/") or parts.query
        return f"{parts.scheme}://{parts.netloc}" + ("/********" if hidden else "")

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    @classmethod
    def read(cls, value: Any) -> SecretUrl:
        """Return the address that a setting means.

        Raises:
            ValueError: It is none, or carries a user or password.
        """
        if not isinstance(value, str) or not _URL.fullmatch(value):
            raise ValueError("expected a URL such as https://host/path, without user or password")
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _schema(cls, cls.read, str, {"type": "string", "pattern": r"^https?://"})


def _severity(value: Any) -> AlertSeverity:
    if isinstance(value, AlertSeverity):
        return value
    if isinstance(value, str):
        try:
            return AlertSeverity.parse(value)
        except ValueError:
            pass
    raise ValueError("expected info, warning, critical or emergency")


def _zone_name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected an IANA time zone such as Europe/Berlin or UTC")
    zone(value)
    return value


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name. UTC needs no database.

    Raises:
        ValueError: The name is not in the system's time zone database.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = "" if zoneinfo.available_timezones() else "; this machine has no tzdata installed"
        raise ValueError(f"expected an IANA time zone such as Europe/Berlin or UTC{hint}") from None


def _path(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value.strip() and "\x00" not in value:
        return Path(value).expanduser()
    raise ValueError("expected a path")


def _time_of_day(value: Any) -> time:
    if isinstance(value, time):
        return value
    match = _TIME_OF_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a time of day such as 09:30")
    hour, minute, second = (int(part or 0) for part in match.groups())
    return time(hour, minute, second)


def _date(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("expected a date such as 2026-12-25") from None


def _weekday(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _WEEKDAYS:
        return value.lower()
    raise ValueError("expected one of mon, tue, wed, thu, fri, sat, sun")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return float(value)


def between(low: T, high: T) -> AfterValidator:
    """Return the check that a value lies in [low, high]."""

    def check(value: T) -> T:
        if not low <= value <= high:  # type: ignore[operator] # ordered by use
            raise ValueError(f"expected {low} to {high}")
        return value

    return AfterValidator(check)


def matching(pattern: str, expected: str) -> AfterValidator:
    """Return the check that a text matches a pattern as a whole."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict()]
Number = Annotated[float, BeforeValidator(_number, json_schema_input_type=float)]
Severity = Annotated[
    AlertSeverity,
    BeforeValidator(_severity, json_schema_input_type=str),
]
TimeZoneName = Annotated[str, BeforeValidator(_zone_name, json_schema_input_type=str)]
FilePath = Annotated[Path, BeforeValidator(_path, json_schema_input_type=str)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day, json_schema_input_type=str)]
Day = Annotated[date, BeforeValidator(_date, json_schema_input_type=str)]
Weekday = Annotated[str, BeforeValidator(_weekday, json_schema_input_type=str)]
Name = Annotated[
    str,
    Strict(),
    matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
        "a name of at most 64 letters, digits, '_', '.' and '-'",
    ),
]
