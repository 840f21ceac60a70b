"""The error tree.

::

    TapewatchError            code, message, next step
    ├── ConfigError           a setting, rule file or pack is wrong; carries problems with places
    ├── QueryError            a PromQL text or its evaluation is refused; carries line and column
    ├── TapeError             a tape file cannot be used
    ├── StorageError          the state or sample store cannot be used
    ├── DirectoryInUseError   another daemon holds the data directory
    └── DeliveryError         a receiver did not take a notification; knows if it is permanent

Low layers raise, edges translate. The ``code`` is stable and documented; the text is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class TapewatchError(Exception):
    """Root of every error that Tapewatch raises on purpose."""

    code = "internal"

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file that a person wrote."""

    path: str
    """The file, as the person named it."""
    line: int
    """1-based; 0 when the place is not known."""
    column: int
    """1-based; 0 when the place is not known."""
    message: str

    def __str__(self) -> str:
        place = self.path
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        return f"{place}: {self.message}" if place else self.message


class ConfigError(TapewatchError):
    """A setting, rule file or pack is wrong. Holds every problem found in one pass."""

    code = "config_invalid"

    def __init__(self, problems: Sequence[Problem], *, next_step: str = "") -> None:
        super().__init__("\n".join(str(p) for p in problems), next_step=next_step)
        self.problems = tuple(problems)


class QueryError(TapewatchError):
    """A PromQL text or its evaluation is refused."""

    code = "bad_query"

    def __init__(
        self, message: str, *, position: int | None = None, line: int = 0, column: int = 0
    ) -> None:
        super().__init__(message)
        self.position = position
        """0-based character offset in the query text, when known."""
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" if self.line else self.message


class QueryExecutionError(QueryError):
    """The query is well formed, but these data do not allow an answer."""

    code = "execution"


class QueryLimitError(QueryError):
    """The query needs more time, samples or points than it may use."""

    code = "query_limit"


class TapeError(TapewatchError):
    """A tape file cannot be used."""

    code = "tape_unusable"


class StorageFailure(StrEnum):
    """Why a store could not be used: decides whether waiting, room or a person helps."""

    FULL = "full"
    LOCKED = "locked"
    IO = "io"
    CORRUPT = "corrupt"
    READONLY = "readonly"
    OTHER = "other"


class StorageError(TapewatchError):
    """The state or sample store cannot be used."""

    code = "storage_unusable"

    def __init__(
        self,
        message: str,
        *,
        reason: StorageFailure = StorageFailure.OTHER,
        next_step: str = "",
    ) -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class DirectoryInUseError(TapewatchError):
    """Another daemon holds the data directory."""

    code = "directory_in_use"


class DeliveryError(TapewatchError):
    """A receiver did not take a notification."""

    code = "delivery_failed"

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        retry_after_s: float | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.answered = answered
        """True when the receiver answered with an error, False when it was out of reach."""
        self.retry_after_s = retry_after_s
        """Seconds that the receiver asked us to wait, when it did."""
