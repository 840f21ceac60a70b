"""``tapewatch run``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.cli import options

if TYPE_CHECKING:
    from tapewatch.config.load import FlagValue, LoadedConfig
    from tapewatch.logs import LogSink


def run(
    config: options.Config = None,
    data_dir: options.DataDir = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where the page and the APIs are served. Default: 127.0.0.1:8090.",
            show_default=False,
        ),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            "--retention",
            metavar="DURATION",
            help="How long samples are kept. Default: 30d.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration and end, as check-config.")
    ] = False,
) -> int:
    """Run the daemon until it is told to stop.

    SIGTERM and Ctrl-C end it within 10 seconds, SIGHUP reads the configuration again.

    Examples:

    \b
      tapewatch run
      tapewatch run --config tapewatch.yaml --listen 127.0.0.1:9000
    """
    flags = flag_values(data_dir=data_dir, listen=listen, retention=retention)
    if check:
        from tapewatch.cli.commands.check_config import check_and_tell

        return check_and_tell(config, flags=flags, json_output=False)
    import structlog

    from tapewatch.daemon.whole_config import load_whole

    loaded, rules = load_whole(config, flags=flags)
    sink = start_logs(loaded)
    for warning in loaded.warnings:
        structlog.get_logger(component="monitoring").warning("config_warning", message=warning)
    try:
        from tapewatch.daemon import run_daemon

        return run_daemon(loaded, rules)
    finally:
        sink.close()


def start_logs(loaded: LoadedConfig) -> LogSink:
    """Set up logging as the settings say.

    Raises:
        TapewatchError: The log file cannot be written.
    """
    from tapewatch.logs import RotatingFile, configure_logs

    settings = loaded.settings.log
    file = None
    if settings.file is not None:
        file = RotatingFile(
            loaded.below_data(settings.file.path),
            max_bytes=settings.file.max_bytes,
            max_age_s=settings.file.max_age.seconds,
            backups=settings.file.backups,
            wall_s=time.time,
        )
    return configure_logs(
        level=settings.level, form=settings.format, file=file, secrets=loaded.secrets()
    )


def flag_values(
    *, data_dir: Path | None = None, listen: str | None = None, retention: str | None = None
) -> list[FlagValue]:
    """Return what these flags say about settings."""
    from tapewatch.config.load import FlagValue

    given = (
        ("--data-dir", "data_dir", data_dir),
        ("--listen", "listen", listen),
        ("--retention", "storage.metrics_retention", retention),
    )
    return [FlagValue(flag, name, str(value)) for flag, name, value in given if value is not None]
