"""``tapewatch health``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from tapewatch.cli import options, output
from tapewatch.cli.output import state_cell
from tapewatch.cli.telling import NotThereError
from tapewatch.cli.verdict import answered, counted, health_status, together, word
from tapewatch.model.health import HealthStatus
from tapewatch.model.terminal import escape_controls

if TYPE_CHECKING:
    from tapewatch.cli.client import DaemonClient
    from tapewatch.cli.place import Place

Checks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    running: bool
    message: str
    checks: Checks
    said: HealthStatus
    """What the checks come to."""


def health(
    service: Annotated[
        str | None,
        typer.Argument(metavar="SERVICE", help="One check alone.", show_default=False),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the first line alone.")
    ] = False,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Check models, broker, circuit breaker, engines, daemon.

    Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Without a running daemon the last saved
    values are judged with their age, and the answer is never 0.

    Examples:

    \b
      tapewatch health
      tapewatch health --quiet
      tapewatch health engine:momentum --json
    """

    def work() -> int:
        from tapewatch.cli.place import find_place

        report = _look(find_place(config, data_dir, url, token_file), service)
        if json_output:
            output.print_json(
                {
                    "status": report.said,
                    "exit_code": report.said.nagios_code,
                    "running": report.running,
                    "message": report.message,
                    "checks": report.checks,
                }
            )
        else:
            _show(report, quiet=quiet)
        return report.said.nagios_code

    return answered(work, json_output=json_output)


def _look(place: Place, service: str | None) -> Report:
    from tapewatch.cli.client import connect
    from tapewatch.cli.trading_checks import trading_checks

    client = connect(place)
    if client is None:
        from tapewatch.cli.persisted import Persisted

        with Persisted(place) as saved:
            view = saved.health()
            checks = {**view["checks"], **trading_checks(saved, place, running=False)}
        return _report(False, view, checks, service, [HealthStatus.UNKNOWN])
    with client:
        view = client.get("/health/detailed", accept=(503,))
        ours = trading_checks(client, place, running=True)
        checks = {**view.get("checks", {}), **ours}
        if service is not None and service not in checks:
            checks |= _service(client, service)
    # The daemon has weighed its own checks; what we found ourselves comes on top.
    said = [health_status(view.get("status"))]
    return _report(True, view, checks, service, said + _statuses(ours))


def _report(
    running: bool,
    view: Mapping[str, Any],
    checks: Checks,
    service: str | None,
    said: list[HealthStatus],
) -> Report:
    if service is None:
        whole = together(said if running else said + _statuses(checks))
        return Report(running, str(view.get("message", "")), checks, whole)
    if service not in checks:
        raise NotThereError(
            f'no check is called "{service}"', next_step="tapewatch health lists the checks"
        )
    one = checks[service]
    status = health_status(one.get("status"))
    verdict = status if running else together([status, HealthStatus.UNKNOWN])
    return Report(running, str(one.get("message", "")), {service: one}, verdict)


def _service(client: DaemonClient, name: str) -> dict[str, Any]:
    """Return a service that the daemon knows by a shorter name than its check's."""
    from tapewatch.cli.client import RefusedError

    try:
        return {name: client.get(f"/health/service/{quote(name, safe='')}", accept=(503,))}
    except RefusedError as error:
        if error.status != 404:
            raise
        return {}


def _statuses(checks: Checks) -> list[HealthStatus]:
    return [health_status(check.get("status")) for check in checks.values()]


def _show(report: Report, *, quiet: bool) -> None:
    states = Counter(str(status) for status in _statuses(report.checks))
    summary = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    figures = " ".join(f"{state}={n}" for state, n in sorted(states.items()))
    message = report.message or counted(len(report.checks), "check")
    text = f"TAPEWATCH {word(report.said)} - {message}" + (f" ({summary})" if summary else "")
    output.line(escape_controls(f"{text} | {figures}" if figures else text))
    if report.checks and not quiet:
        output.line()
        output.table(
            ("CHECK", "STATUS", "MESSAGE"),
            [
                (name, state_cell(health_status(c.get("status"))), str(c.get("message", "")))
                for name, c in sorted(report.checks.items())
            ],
        )
