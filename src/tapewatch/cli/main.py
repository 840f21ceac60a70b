"""The entry point: one application, its exit codes, and errors told to people."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Annotated, Any

import typer
import typer.completion

from tapewatch.cli import exit_codes, output
from tapewatch.cli.commands import (
    ack,
    check_config,
    completion,
    config_show,
    demo,
    doctor,
    health,
    init,
    metrics,
    metrics_export,
    query,
    retire,
    run_daemon,
    status,
    tail,
    version,
)
from tapewatch.cli.metrics_group import MetricsGroup
from tapewatch.cli.telling import PROGRAM, failure, tell_error
from tapewatch.model.errors import TapewatchError

COMPLETE = "_TAPEWATCH_COMPLETE"
"""The variable by which a shell asks for completions."""
# Typer exports no name for the class behind every kind of wrong usage.
_USAGE_ERROR: Any = typer.BadParameter.__base__


def application() -> typer.Typer:
    """Return the whole command line. Help is plain text: it is read through pipes as well."""
    app = typer.Typer(
        name=PROGRAM,
        help="Watch automated trading systems: ticks, rules, alerts until somebody answers.",
        epilog="Exit codes: status and health follow Nagios (0 OK, 1 WARNING, 2 CRITICAL, "
        "3 UNKNOWN); everything else 0 or 1; wrong usage 64.",
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_main)
    app.command("run")(run_daemon.run)
    app.command("demo")(demo.demo)
    app.command("init")(init.init)
    app.command("status")(status.status)
    app.command("tail")(tail.tail)
    app.command("health")(health.health)
    metrics_app = typer.Typer(
        cls=MetricsGroup,
        help=metrics.HELP,
        rich_markup_mode=None,
        context_settings={"max_content_width": 100},
    )
    metrics_app.command("show")(metrics.show)
    metrics_app.command("export")(metrics_export.export)
    app.add_typer(metrics_app, name="metrics")
    app.command("query")(query.query)
    app.command("ack")(ack.ack)
    app.command("retire")(retire.retire)
    app.command("check-config")(check_config.check_config)
    config_app = typer.Typer(
        help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None
    )
    config_app.callback()(_config)
    config_app.command("show")(config_show.show)
    app.add_typer(config_app, name="config")
    app.command("doctor")(doctor.doctor)
    app.command("version")(version.version)
    app.command("completion")(completion.completion)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        raise typer.Exit(version.version())


def _main(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _config() -> None:
    """Look at the configuration."""


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(execute(sys.argv[1:] if arguments is None else arguments))


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    if sys.stdout is None:  # closed by the caller: the exit code is an answer too
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - until exit
    command = typer.main.get_command(application())
    if COMPLETE in os.environ:
        typer.completion.completion_init()  # type: ignore[attr-defined] # not in its __all__
    try:
        result = command.main(
            arguments,
            prog_name=PROGRAM,
            complete_var=COMPLETE,
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as error:
        if not output.is_write_failure(error):
            raise
        _drop_output()
        tell_error(TapewatchError(f"cannot write the output: {error.strerror}"))
        nagios = arguments[0] in ("status", "health")
        return exit_codes.UNKNOWN if nagios else exit_codes.FAILED
    except SystemExit as error:
        # Typer answers a closed pipe by itself, and with a code that says "failed".
        if isinstance(error.__context__, BrokenPipeError):
            return _pipe_closed()
        raise
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except typer.Abort:
        return exit_codes.INTERRUPTED
    except _USAGE_ERROR as error:
        error.show()
        return exit_codes.USAGE
    except TapewatchError as error:
        tell_error(error)
        if _asked_for_json(arguments):
            output.print_json(failure(error, exit_codes.FAILED))
        return exit_codes.FAILED
    return result if isinstance(result, int) else exit_codes.OK


def _asked_for_json(arguments: list[str]) -> bool:
    """Return whether a program reads the answer; the command itself may not have come that far."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    after_format = ("--format", "json") in itertools.pairwise(words)
    return "--json" in words or "--format=json" in words or after_format


def _pipe_closed() -> int:
    _drop_output()
    return exit_codes.PIPE_CLOSED


def _drop_output() -> None:
    """Whatever is still buffered must not be flushed to where it cannot go at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
