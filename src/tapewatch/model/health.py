"""The words for health. Unknown is never healthy."""

from __future__ import annotations

from enum import StrEnum


class HealthStatus(StrEnum):
    """The state of a component, engine or check."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    NOT_CONFIGURED = "not_configured"
    DISABLED = "disabled"

    @property
    def nagios_code(self) -> int:
        """The exit code of the Nagios convention: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
        return _NAGIOS[self]


_NAGIOS = {
    HealthStatus.HEALTHY: 0,
    HealthStatus.NOT_CONFIGURED: 0,
    HealthStatus.DISABLED: 0,
    HealthStatus.DEGRADED: 1,
    HealthStatus.UNHEALTHY: 2,
    HealthStatus.CRITICAL: 2,
    HealthStatus.UNKNOWN: 3,
}

_WORST_FIRST = (
    HealthStatus.CRITICAL,
    HealthStatus.UNHEALTHY,
    HealthStatus.UNKNOWN,
    HealthStatus.DEGRADED,
    HealthStatus.HEALTHY,
)


def worst(statuses: list[HealthStatus]) -> HealthStatus:
    """Return the status that speaks for all.

    Disabled and not configured parts have no say; nothing at all to judge is unknown.
    """
    for status in _WORST_FIRST:
        if status in statuses:
            return status
    return HealthStatus.UNKNOWN
