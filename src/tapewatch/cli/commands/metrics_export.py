"""``tapewatch metrics export``."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.place import find_place
from tapewatch.cli.source import SeriesSource, open_source
from tapewatch.cli.telling import NotThereError, tell
from tapewatch.cli.verdict import counted
from tapewatch.cli.when import moment
from tapewatch.model.clock import MILLISECOND, MINUTE, SECOND
from tapewatch.model.duration import format_duration
from tapewatch.model.errors import QueryError, TapewatchError
from tapewatch.model.json_line import to_json_line
from tapewatch.model.labels import METRIC_NAME, Labels

_WINDOW_NS = 10 * MINUTE
_SHORTEST_NS = SECOND


class ExportFormat(StrEnum):
    """How samples are written."""

    CSV = "csv"
    JSON = "json"


def export(
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD", help="Metrics; default: every one.", show_default=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help="From there on.")] = "24h",
    until: Annotated[str, typer.Option("--until", metavar="WHEN", help="Up to there.")] = "now",
    form: Annotated[
        ExportFormat, typer.Option("--format", help="CSV, or one JSON object in each line.")
    ] = ExportFormat.CSV,
    json_output: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A new file; default: standard output."
        ),
    ] = None,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
) -> int:
    """Write every sample of a time span, for analysis elsewhere or as a backup.

    Columns: timestamp (UTC, milliseconds), metric, labels, value.

    Examples:

    \b
      tapewatch metrics export --since 7d -o week.csv
      tapewatch metrics export pnl_daily equity --since 2026-11-20 --format json
    """
    if json_output:
        form = ExportFormat.JSON
    place = find_place(config, data_dir, url, token_file)
    now_ns = time.time_ns()
    start_ns = moment(since, now_ns, place.zone, "--since")
    end_ns = moment(until, now_ns, place.zone, "--until")
    start_ns -= start_ns % MILLISECOND
    end_ns -= end_ns % MILLISECOND
    if end_ns <= start_ns:
        raise typer.BadParameter("--until: expected a time after --since")
    with open_source(place) as source:
        names = [f.replace(".", "_") for f in fields] if fields else source.metric_names()
        unknown = sorted(set(names) - set(source.metric_names()))
        if unknown:
            raise NotThereError(
                f"no metric is called {', '.join(unknown)}",
                next_step="tapewatch metrics lists what there is",
            )
        with _writing(target) as stream:
            count = _export(source, names, start_ns, end_ns, form, stream)
    if target is not None:
        tell(f"wrote {counted(count, 'sample')} of {counted(len(names), 'metric')} to {target}")
    return exit_codes.OK


def _export(
    source: SeriesSource,
    names: list[str],
    start_ns: int,
    end_ns: int,
    form: ExportFormat,
    stream: TextIO,
) -> int:
    writer = csv.writer(stream, lineterminator="\n")
    if form is ExportFormat.CSV:
        writer.writerow(("timestamp", "metric", "labels", "value"))
    count = 0
    for name in names:
        for labels, at_s, value in _samples(source, name, start_ns, end_ns):
            count += 1
            stamp = _stamp(at_s)
            if form is ExportFormat.CSV:
                writer.writerow((stamp, name, output.safe_cell(str(labels)), value))
            else:
                row = {"timestamp": stamp, "metric": name, "labels": labels.as_dict()}
                stream.write(to_json_line({**row, "value": float(value)}) + "\n")
    return count


def _samples(
    source: SeriesSource, name: str, start_ns: int, end_ns: int
) -> Iterator[tuple[Labels, float, str]]:
    """Yield the samples in (start, end] in pieces that stay below the query limits."""
    from tapewatch.cli.client import RefusedError

    window, at = _WINDOW_NS, start_ns
    while at < end_ns:
        size = min(window, end_ns - at)
        # A range excludes its left edge, so that pieces neither overlap nor leave a gap.
        text = f'{{{METRIC_NAME}="{name}"}}[{format_duration(size)}]'
        try:
            answer = source.query(text, (at + size) / SECOND)
        except (RefusedError, QueryError):
            if size <= _SHORTEST_NS:
                raise
            window = max(size // 4, _SHORTEST_NS)
            continue
        for item in answer["data"]["result"]:
            labels = Labels(item["metric"]).without_name()
            for stamp, value in item["values"]:
                yield labels, float(stamp), value
        at += size


@contextmanager
def _writing(target: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a new file that appears only when it is complete."""
    if target is None:
        yield sys.stdout
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    if target.exists():
        raise TapewatchError(f"{target} exists and is left as it is", next_step="name a new file")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TapewatchError(f"cannot write {target}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # link, unlike rename, fails when the name was taken meanwhile.
        os.link(partial, target)
    except OSError as error:
        raise TapewatchError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
