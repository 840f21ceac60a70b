"""A refused reload: the daemon goes on with what it had, and says so until one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from tapewatch.alerts.record import format_time
from tapewatch.model.errors import ConfigError, Problem
from tapewatch.model.health import HealthStatus
from tapewatch.web.facade import HealthView

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RefusedReload:
    """When the last reload was refused, and for what."""

    at_ns: int
    problems: tuple[Problem, ...]
    next_step: str = ""

    @classmethod
    def of(cls, error: ConfigError, at_ns: int) -> RefusedReload:
        """Return what a reload's failure says."""
        return cls(at_ns, error.problems, error.next_step)

    @property
    def reason(self) -> str:
        """One line: the first problem with its place, and how many more there are."""
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"{self.problems[0] if self.problems else 'unknown'}{more}"

    def sentence(self, zone: tzinfo) -> str:
        """Return what a person is told."""
        return (
            f"the reload of {format_time(self.at_ns, zone)} was refused, the earlier "
            f"configuration stays in force: {self.reason}"
        )


def configuration_health(refused: RefusedReload | None, zone: tzinfo) -> HealthView:
    """Return what the configuration in force says about health."""
    if refused is None:
        return HealthView(status=HealthStatus.HEALTHY, message="as the files say")
    return HealthView(
        status=HealthStatus.DEGRADED,
        message=refused.sentence(zone),
        details={
            "refused_at": format_time(refused.at_ns, zone),
            "problems": [str(problem) for problem in refused.problems[:_SHOWN]],
            "next_step": refused.next_step or "correct it and reload; tapewatch check-config",
        },
    )
