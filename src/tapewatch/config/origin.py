"""Where the value of a setting came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from tapewatch.config.shape import Path
from tapewatch.model.errors import Problem


class OriginKind(IntEnum):
    """The places that are looked at. A higher number wins over a lower one."""

    DEFAULT = 0
    FILE = 1
    SECRET_FILE = 2
    ENVIRONMENT = 3
    FLAG = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """The place that gave a value."""

    kind: OriginKind
    name: str = ""
    """The flag, the environment variable or the file."""
    line: int = 0
    """1-based line in the configuration file; 0 elsewhere."""
    column: int = 0

    def __str__(self) -> str:
        match self.kind:
            case OriginKind.FLAG:
                return f"flag {self.name}"
            case OriginKind.ENVIRONMENT:
                return f"environment {self.name}"
            case OriginKind.SECRET_FILE:
                return f"secret file {self.name}"
            case OriginKind.FILE:
                return f"{self.name}:{self.line}"
            case OriginKind.DEFAULT:
                return "default"


DEFAULT = Origin(OriginKind.DEFAULT)


def nearest_origin(origins: Mapping[Path, Origin], path: Path) -> Origin:
    """Return where the value at a path came from: given itself, or as part of a whole."""
    while path:
        if path in origins:
            return origins[path]
        path = path[:-1]
    return DEFAULT


def problem_at(origin: Origin, message: str) -> Problem:
    """Return a problem with a value, placed where the value was given."""
    if origin.kind is OriginKind.FILE:
        return Problem(origin.name, origin.line, origin.column, message)
    if origin.kind is OriginKind.DEFAULT:
        return Problem("", 0, 0, message)
    return Problem("", 0, 0, f"{origin}: {message}")
