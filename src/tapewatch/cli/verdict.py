"""One word and one exit code for what alerts and checks say together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tapewatch.cli import exit_codes
from tapewatch.cli.output import print_json
from tapewatch.cli.telling import failure, tell_error
from tapewatch.model.errors import TapewatchError
from tapewatch.model.health import HealthStatus, worst
from tapewatch.model.severity import AlertSeverity

_WORDS = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}
_OF_SEVERITY = {
    AlertSeverity.INFO: HealthStatus.HEALTHY,
    AlertSeverity.WARNING: HealthStatus.DEGRADED,
    AlertSeverity.CRITICAL: HealthStatus.CRITICAL,
    AlertSeverity.EMERGENCY: HealthStatus.CRITICAL,
}


def alert_status(record: Mapping[str, Any]) -> HealthStatus:
    """Return what one active alert says; an alert that cannot be read says unknown."""
    try:
        return _OF_SEVERITY[AlertSeverity.parse(str(record.get("severity", "")))]
    except ValueError:
        return HealthStatus.UNKNOWN


def health_status(value: Any) -> HealthStatus:
    """Return the status that an answer states; anything that is none is unknown."""
    try:
        return HealthStatus(str(value))
    except ValueError:
        return HealthStatus.UNKNOWN


def together(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """Return the status that speaks for all; nothing at all to judge is unknown."""
    return worst(list(statuses))


def word(status: HealthStatus) -> str:
    """Return the word of the Nagios convention for a status."""
    return _WORDS[status.nagios_code]


def counted(count: int, noun: str) -> str:
    """Return ``1 alert`` or ``2 alerts``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def answered(work: Callable[[], int], *, json_output: bool) -> int:
    """Run a command of the Nagios convention: when it fails, the answer is UNKNOWN.

    1 would mean WARNING there, and a failed look is no warning about what was looked at.
    """
    try:
        return work()
    except TapewatchError as error:
        tell_error(error)
        if json_output:
            said = failure(error, exit_codes.UNKNOWN)
            print_json({"status": HealthStatus.UNKNOWN, **said})
        return exit_codes.UNKNOWN
