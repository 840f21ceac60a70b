"""``tapewatch metrics FIELD``."""

from __future__ import annotations

import csv
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.commands.query import clock, figure
from tapewatch.cli.place import Place, find_place
from tapewatch.cli.source import SeriesSource, open_source
from tapewatch.cli.sparkline import sparkline
from tapewatch.cli.telling import NotThereError, tell
from tapewatch.cli.when import span
from tapewatch.model.clock import SECOND
from tapewatch.model.duration import format_duration
from tapewatch.model.labels import METRIC_NAME, Labels

HELP = """Look at metrics of the recent past, or export them.

tapewatch metrics FIELD shows one metric, tapewatch metrics alone lists all.
"""
_SPARKS = 40
_METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:.]*"


class Aggregate(StrEnum):
    """What becomes of the samples in a window."""

    MIN = "min"
    MAX = "max"
    AVG = "avg"
    COUNT = "count"


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def show(
    field: Annotated[
        str | None,
        typer.Argument(
            metavar="FIELD",
            help="A metric such as pnl_daily, or its path in a tick such as pnl.daily.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        str, typer.Option("--window", metavar="DURATION", help="How far back to look.")
    ] = "1h",
    aggregate: Annotated[
        Aggregate | None,
        typer.Option("--aggregate", help="One figure; default: all of them.", show_default=False),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            "--step",
            metavar="DURATION",
            help="One row for each so long part of the window.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="One engine.", show_default=False)
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    json_output: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Show min, max, avg, count and last value of a metric over a window.

    Without FIELD all metrics are listed.

    Examples:

    \b
      tapewatch metrics pnl_daily --window 1h
      tapewatch metrics pnl.daily --aggregate max --step 5m --format csv
    """
    if json_output:
        form = Format.JSON
    if field is not None and not re.fullmatch(_METRIC, field):
        raise typer.BadParameter(f"FIELD: found {field!r}, expected a metric such as pnl_daily")
    window_ns = span(window, "--window")
    step_ns = span(step, "--step") if step is not None else None
    if step_ns is not None and step_ns > window_ns:
        raise typer.BadParameter("--step: expected at most the window")
    place = find_place(config, data_dir, url, token_file)
    with open_source(place) as source:
        if field is None:
            return _list_names(source, form)
        selector = _selector(field.replace(".", "_"), engine)
        wanted = [aggregate] if aggregate is not None else list(Aggregate)
        end_s = source.latest_s()
        if step_ns is None:
            rows = _whole_window(source, selector, window_ns, wanted, end_s, last=aggregate is None)
        else:
            rows = _by_step(source, selector, window_ns, step_ns, wanted, end_s)
        if not rows:
            return _nothing(source, field, window, form)
        sparks = form is Format.TABLE and step_ns is None and output.is_terminal()
        trends = _trends(source, selector, window_ns, end_s) if sparks else {}
    _write(rows, form, place, trends)
    return exit_codes.OK


def _selector(name: str, engine: str | None) -> str:
    matcher = "{engine=" + output.quoted(engine) + "}" if engine is not None else ""
    return f"{name}{matcher}"


def _whole_window(
    source: SeriesSource,
    selector: str,
    window_ns: int,
    wanted: Sequence[Aggregate],
    end_s: float,
    *,
    last: bool,
) -> list[dict[str, Any]]:
    functions = [a.value for a in wanted] + (["last"] if last else [])
    rows: dict[Labels, dict[str, Any]] = {}
    for function in functions:
        text = f"{function}_over_time({selector}[{format_duration(window_ns)}])"
        for item in source.query(text, end_s)["data"]["result"]:
            labels = Labels(item["metric"]).without_name()
            row = rows.setdefault(labels, {"labels": labels.as_dict()})
            row[function] = _number(function, item["value"][1])
    return [rows[labels] for labels in sorted(rows)]


def _number(function: str, text: str) -> float | int:
    return int(float(text)) if function == Aggregate.COUNT else float(text)


def _by_step(
    source: SeriesSource,
    selector: str,
    window_ns: int,
    step_ns: int,
    wanted: Sequence[Aggregate],
    end_s: float,
) -> list[dict[str, Any]]:
    rows: dict[tuple[Labels, float], dict[str, Any]] = {}
    # Whole steps, so that two calls in the same step show the same figures for the earlier ones.
    step_s = step_ns / SECOND
    end = (end_s // step_s + 1) * step_s
    start = end - (-(-window_ns // step_ns) - 1) * step_s
    for function in wanted:
        text = f"{function.value}_over_time({selector}[{format_duration(step_ns)}])"
        for item in source.query_range(text, start, end, step_s)["data"]["result"]:
            labels = Labels(item["metric"]).without_name()
            for at, value in item["values"]:
                key = (labels, float(at))
                row = rows.setdefault(key, {"until": float(at), "labels": labels.as_dict()})
                row[function.value] = _number(function, value)
    return [rows[key] for key in sorted(rows)]


def _trends(source: SeriesSource, selector: str, window_ns: int, end_s: float) -> dict[Labels, str]:
    step_s = window_ns / SECOND / _SPARKS
    text = f"last_over_time({selector}[{format_duration(max(window_ns // _SPARKS, 1_000_000))}])"
    start = end_s - window_ns / SECOND + step_s
    out: dict[Labels, str] = {}
    for item in source.query_range(text, start, end_s, step_s)["data"]["result"]:
        cells: list[float | None] = [None] * _SPARKS
        for at, value in item["values"]:
            index = round((float(at) - start) / step_s)
            if 0 <= index < _SPARKS:
                cells[index] = float(value)
        out[Labels(item["metric"]).without_name()] = sparkline(cells)
    return out


def _write(
    rows: Sequence[Mapping[str, Any]], form: Format, place: Place, trends: Mapping[Labels, str]
) -> None:
    figures = [k for k in rows[0] if k not in ("labels", "until")]
    if form is Format.JSON:
        output.print_json(rows)
        return
    if form is Format.CSV:
        names = sorted({name for row in rows for name in row["labels"]})
        writer = csv.writer(sys.stdout, lineterminator="\n")
        timed = ["until"] if "until" in rows[0] else []
        writer.writerow([*timed, *names, *figures])
        for row in rows:
            stamp = [clock(row["until"], place.zone)] if timed else []
            cells = [output.safe_cell(row["labels"].get(name, "")) for name in names]
            writer.writerow([*stamp, *cells, *(row.get(f, "") for f in figures)])
        return
    columns = ["SERIES", *(f.upper() for f in figures)]
    if "until" in rows[0]:
        columns.insert(0, "UNTIL")
    if trends:
        columns.append("TREND")
    table: list[list[str | output.Cell]] = []
    for row in rows:
        labels = Labels(row["labels"])
        shown = [str(labels), *(figure(row[f]) if f in row else "-" for f in figures)]
        if "until" in row:
            shown.insert(0, clock(row["until"], place.zone))
        trend = [output.Cell(trends.get(labels, ""), bars=True)] if trends else []
        table.append([*shown, *trend])
    output.table(columns, table)


def _list_names(source: SeriesSource, form: Format) -> int:
    names = source.metric_names()
    if form is Format.JSON:
        output.print_json(names)
    else:
        for name in names:
            output.line(name)
    return exit_codes.OK


def _nothing(source: SeriesSource, field: str, window: str, form: Format) -> int:
    name = field.replace(".", "_")
    names = [n for n in source.metric_names() if n != METRIC_NAME]
    if name in names:
        tell(f"no sample of {name} in the last {window}")
        if form is Format.JSON:
            output.print_json([])
        return exit_codes.OK
    close = difflib.get_close_matches(name, names, 3, 0.5)
    raise NotThereError(
        f'no metric is called "{name}"' + (f"; did you mean {', '.join(close)}?" if close else ""),
        next_step="tapewatch metrics lists what there is",
    )
