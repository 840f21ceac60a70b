#!/usr/bin/env python3
"""Watch alerts and metrics: ``monitor.py tail | status | health | metrics``.

A thin wrapper around the ``tapewatch`` command for those who know it by this name.
"""

from __future__ import annotations

import sys

USAGE = """\
Usage: monitor.py COMMAND [OPTIONS]

  tail      Show alerts as they are told, until Ctrl-C.
  status    Show engines and active alerts.
  health    Show the result of each check: models, connectivity, breaker, engines.
  metrics   Show recent metrics: window, field, aggregate, format.

  monitor.py COMMAND --help shows the options. Each is the command of the same
  name of tapewatch, with the same exit codes.
"""
COMMANDS = ("tail", "status", "health", "metrics")


def main(arguments: list[str]) -> int:
    """Run one of the four commands; return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else 64
    if arguments[0] not in (*COMMANDS, "--version"):
        sys.stderr.write(
            f"monitor.py: found {arguments[0]!r}, expected one of {', '.join(COMMANDS)}\n"
        )
        return 64
    try:
        from tapewatch.cli.main import execute
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"monitor.py: error: {sys.executable} has no module {error.name!r}\n"
            f"monitor.py: next: run it with the Python that tapewatch is installed for\n"
        )
        return 1
    return execute(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before the command itself could take it
        sys.exit(130)
