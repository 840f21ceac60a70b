"""``tapewatch tail``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from tapewatch.cli import exit_codes, options, output
from tapewatch.cli.place import find_place
from tapewatch.cli.telling import tell
from tapewatch.cli.when import moment
from tapewatch.model.clock import SECOND
from tapewatch.model.severity import AlertSeverity
from tapewatch.model.terminal import escape_controls

POLL_S = 0.2
_RULE_WIDTH = 40
_MESSAGE_WIDTH = 400


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alert lines are shown."""

    severity: AlertSeverity
    since_ns: int | None

    def takes(self, record: dict[str, Any] | None) -> bool:
        """Return whether a line's record is wanted; what is no alert record is not."""
        if record is None:
            return False
        try:
            if AlertSeverity.parse(str(record["severity"])) < self.severity:
                return False
            return self.since_ns is None or _time_ns(record) >= self.since_ns
        except (KeyError, ValueError, OverflowError):
            return False


def tail(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Begin there: how long ago (1h30m), a date or a time. Default: the last lines.",
            show_default=False,
        ),
    ] = None,
    severity: Annotated[
        str, typer.Option("--severity", metavar="LEVEL", help="This severity and above.")
    ] = "info",
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", metavar="N", min=0, help="Begin with so many of the last lines."
        ),
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f/-F", help="Wait for new lines.")
    ] = True,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the lines exactly as they are in the file.")
    ] = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
) -> int:
    """Show alerts as they are told.

    They are read from the alert files, so this works without the daemon. It goes on through
    rotation and the change of the date until Ctrl-C.

    Examples:

    \b
      tapewatch tail
      tapewatch tail --since 1h --severity warning
      tapewatch tail --json | jq .rule
    """
    from tapewatch.cli.alert_log import AlertFollower, dated_files

    place = find_place(config, data_dir)
    wanted = Wanted(
        _severity(severity),
        moment(since, time.time_ns(), place.zone, "--since") if since is not None else None,
    )
    directory = place.alerts_directory
    if not dated_files(directory):
        tell(f"no alert file in {directory}" + ("; waiting for the first" if follow else ""))
    if wanted.since_ns is not None:
        begin = datetime.fromtimestamp(wanted.since_ns // SECOND, place.zone).date()
        # The files may be dated in another zone than the one set today.
        follower = AlertFollower(directory, first=begin - timedelta(days=1))
    else:
        follower = AlertFollower(directory)
    told = 0
    try:
        if wanted.since_ns is None:
            shown = follower.last(lines, lambda raw: wanted.takes(_record(raw)))
            _show(iter(shown), wanted, json_output=json_output)
        while True:
            _show(follower.poll(), wanted, json_output=json_output)
            sys.stdout.flush()
            if follower.dropped > told:
                told = follower.dropped
                tell("left out a line that was cut off")
            if not follow:
                return exit_codes.OK
            time.sleep(POLL_S)
    finally:
        follower.close()


def _severity(text: str) -> AlertSeverity:
    try:
        return AlertSeverity.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"--severity: {error}") from None


def _show(lines: Iterator[bytes], wanted: Wanted, *, json_output: bool) -> None:
    for raw in lines:
        record = _record(raw)
        if record is None:
            tell("left out a line that is not an alert record")
        elif wanted.takes(record):
            if json_output:
                sys.stdout.buffer.write(raw + b"\n")
                sys.stdout.buffer.flush()
            else:
                output.line(readable(record))


def _record(raw: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _time_ns(record: dict[str, Any]) -> int:
    time_text = str(record.get("timestamp", ""))
    return round(datetime.fromisoformat(time_text).timestamp() * 1e6) * 1000


def readable(record: dict[str, Any]) -> str:
    """Return one alert record as one line for people, with nothing that a terminal obeys."""

    def text(name: str, width: int) -> str:
        return escape_controls(str(record.get(name, "")), width)

    stamp = text("timestamp", 32)
    when = f"{stamp[:10]} {stamp[11:19]}" if len(stamp) >= 19 else stamp
    severity = text("severity", 10)
    state = text("state", 10)
    if record.get("acknowledged") is True and state != "resolved":
        state = "taken"
    mark = output.SEVERITY_STYLES.get(severity, "") if state != "resolved" else "green"
    level = output.coloured(f"{severity:<9}", mark)
    rule = text("rule", _RULE_WIDTH)
    return f"{when}  {level}  {state:<8}  {rule}  {text('message', _MESSAGE_WIDTH)}"
