"""``tapewatch status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapewatch.cli import options, output
from tapewatch.cli.output import Cell, severity_cell, state_cell
from tapewatch.cli.verdict import alert_status, answered, counted, health_status, together, word
from tapewatch.model.health import HealthStatus
from tapewatch.model.terminal import escape_controls

if TYPE_CHECKING:
    from tapewatch.cli.place import Place

_SHOWN = 1000


def status(
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the first line alone.")
    ] = False,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Show engines and active alerts.

    0 nothing above INFO, 1 a warning, 2 a critical or emergency alert, 3 nobody knows. Without a
    running daemon the last saved state is shown, and the answer is never 0.

    Examples:

    \b
      tapewatch status
      tapewatch status --json | jq '.alerts[].rule'
    """

    def work() -> int:
        from tapewatch.cli.place import find_place

        report = _look(find_place(config, data_dir, url, token_file))
        verdict = _verdict(report)
        if json_output:
            output.print_json({"status": verdict, "exit_code": verdict.nagios_code, **report})
        else:
            output.line(_first_line(report, verdict))
            if not quiet:
                _tables(report)
        return verdict.nagios_code

    return answered(work, json_output=json_output)


def _look(place: Place) -> dict[str, Any]:
    from tapewatch.cli.client import connect

    client = connect(place)
    if client is None:
        from tapewatch.cli.persisted import Persisted

        with Persisted(place) as saved:
            return saved.status()
    with client:
        health = client.get("/health", accept=(503,))
        active = {"active": "true", "limit": str(_SHOWN)}
        return {
            "running": True,
            "source": client.where,
            "health": health.get("status"),
            "message": health.get("message", ""),
            "engines": client.get("/api/tapewatch/engines")["engines"],
            "alerts": client.get("/api/tapewatch/alerts", active)["alerts"],
        }


def _verdict(report: Mapping[str, Any]) -> HealthStatus:
    said = [alert_status(alert) for alert in report["alerts"]]
    said.append(health_status(report["health"]) if report["running"] else HealthStatus.UNKNOWN)
    return together(said)


def _first_line(report: Mapping[str, Any], verdict: HealthStatus) -> str:
    levels = Counter(str(alert.get("severity")) for alert in report["alerts"])
    states = Counter(str(engine.get("state")) for engine in report["engines"])
    parts = [counted(len(report["alerts"]), "active alert")]
    if levels:
        parts[0] += " (" + ", ".join(f"{n} {level}" for level, n in sorted(levels.items())) + ")"
    engines = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    parts.append(f"engines: {engines or 'none seen'}")
    if report["message"]:
        parts.append(str(report["message"]))
    figures = f"alerts={len(report['alerts'])} engines={len(report['engines'])}"
    return escape_controls(f"TAPEWATCH {word(verdict)} - {'; '.join(parts)} | {figures}")


def _tables(report: Mapping[str, Any]) -> None:
    if report["engines"]:
        output.line()
        output.table(
            ("ENGINE", "STATE", "LAST TICK", "TICKS/S", "TICKS", "POSITIONS", "DAILY P&L"),
            [_engine_row(engine) for engine in report["engines"]],
        )
    if report["alerts"]:
        output.line()
        output.table(
            ("SEVERITY", "STATE", "RULE", "SINCE", "MESSAGE", "ID"),
            [_alert_row(alert) for alert in report["alerts"]],
        )


def _engine_row(engine: Mapping[str, Any]) -> list[str | Cell]:
    age = engine.get("last_tick_age_seconds")
    return [
        str(engine.get("name", "")),
        state_cell(str(engine.get("state", "unknown"))),
        f"{age:.1f} s ago" if isinstance(age, int | float) else "-",
        number(engine.get("tick_rate"), 1),
        number(engine.get("ticks"), 0),
        number(engine.get("positions"), 0),
        number(engine.get("daily_pnl"), 2),
    ]


def _alert_row(alert: Mapping[str, Any]) -> list[str | Cell]:
    state = str(alert.get("state", ""))
    if alert.get("acknowledged") is True:
        state += ", taken"
    return [
        severity_cell(str(alert.get("severity", ""))),
        state,
        str(alert.get("rule", "")),
        str(alert.get("fired_at") or alert.get("started_at") or "")[:19].replace("T", " "),
        str(alert.get("message", "")),
        str(alert.get("id", "")),
    ]


def number(value: Any, digits: int) -> str:
    """Return a number for a table; what is not known is a dash, never a zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:,.{digits}f}"
