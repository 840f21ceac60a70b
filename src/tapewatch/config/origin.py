"""Where the value of a setting came from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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
