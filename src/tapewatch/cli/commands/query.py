"""``tapewatch query``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.place import find_place
from tapewatch.cli.sparkline import sparkline
from tapewatch.cli.telling import tell
from tapewatch.cli.when import moment, span
from tapewatch.model.clock import SECOND
from tapewatch.model.terminal import escape_controls

_POINTS = 60
_SPARKS = 40


def query(
    expr: Annotated[str, typer.Argument(metavar="EXPR", help="PromQL.")],
    at: Annotated[
        str | None,
        typer.Option("--time", metavar="WHEN", help="Evaluate there.", show_default=False),
    ] = None,
    range_text: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="DURATION",
            help="Evaluate at every step of the time before --time (or now).",
            show_default=False,
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            "--step",
            metavar="DURATION",
            help=f"Step of --range. Default: {_POINTS} points.",
            show_default=False,
        ),
    ] = None,
    json_output: options.Json = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Evaluate PromQL, live or over what the last daemon saved.

    Examples:

    \b
      tapewatch query 'pnl_daily'
      tapewatch query 'max by (engine) (pnl_daily)' --range 1h --step 1m
    """
    place = find_place(config, data_dir, url, token_file)
    now_ns = time.time_ns()
    at_s = moment(at, now_ns, place.zone, "--time") / SECOND if at is not None else None
    length_s = span(range_text, "--range") / SECOND if range_text is not None else None
    step_s = span(step, "--step") / SECOND if step is not None else None
    if step_s is not None and length_s is None:
        raise typer.BadParameter("--step needs --range")
    answer = _ask(expr, place, at_s, length_s, step_s)
    if json_output:
        output.print_json(answer)
        return exit_codes.OK
    for kind in ("warnings", "infos"):
        for text in answer.get(kind, ()):
            tell(f"{kind[:-1]}: {text}")
    _show(answer["data"], place.zone)
    return exit_codes.OK


def _ask(
    expr: str, place: Any, at_s: float | None, length_s: float | None, step_s: float | None
) -> dict[str, Any]:
    from tapewatch.cli.caret import query_error, refused_query
    from tapewatch.cli.client import RefusedError
    from tapewatch.cli.source import open_source
    from tapewatch.model.errors import QueryError
    from tapewatch.promql import parse

    try:
        parse(expr)
        with open_source(place) as source:
            if length_s is None:
                return source.query(expr, at_s)
            end = at_s if at_s is not None else source.latest_s()
            return source.query_range(expr, end - length_s, end, step_s or length_s / _POINTS)
    except QueryError as error:
        raise query_error(expr, error) from None
    except RefusedError as error:
        if error.kind not in ("bad_data", "execution", "timeout"):
            raise
        raise refused_query(expr, error.message) from None


def _show(data: Mapping[str, Any], zone: tzinfo) -> None:
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        output.line(escape_controls(str(result[1])))
    elif not result:
        tell("no series matches")
    elif kind == "vector":
        output.table(
            ("SERIES", "VALUE", "TIME"),
            [
                (series_name(item["metric"]), item["value"][1], clock(item["value"][0], zone))
                for item in result
            ],
        )
    else:
        _show_matrix(result, zone)


def _show_matrix(result: Sequence[Mapping[str, Any]], zone: tzinfo) -> None:
    columns = ["SERIES", "POINTS", "FIRST", "LAST", "MIN", "MAX", "LAST AT"]
    drawn = output.is_terminal()
    rows: list[list[str | output.Cell]] = []
    for item in result:
        values = [float(point[1]) for point in item["values"]]
        row: list[str | output.Cell] = [
            series_name(item["metric"]),
            str(len(values)),
            figure(values[0]),
            figure(values[-1]),
            figure(min(values)),
            figure(max(values)),
            clock(item["values"][-1][0], zone),
        ]
        trend = output.Cell(sparkline(thinned(values, _SPARKS)), bars=True)
        rows.append([*row, trend] if drawn else row)
    output.table([*columns, "TREND"] if drawn else columns, rows)


def series_name(metric: Mapping[str, str]) -> str:
    """Return a label set as PromQL writes it."""
    from tapewatch.model.labels import Labels

    return str(Labels(metric)) or "{}"


def figure(value: float) -> str:
    """Return a number with as many digits as it needs and no more than people read."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.2f}"


def clock(seconds: float, zone: tzinfo) -> str:
    """Return Unix seconds as local time."""
    try:
        return datetime.fromtimestamp(seconds, zone or UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def thinned(values: Sequence[float], count: int) -> list[float]:
    """Return at most so many of the values, evenly spread, the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[(i + 1) * len(values) // count - 1] for i in range(count)]
