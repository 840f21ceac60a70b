"""``tapewatch version``."""

from __future__ import annotations

import platform

from tapewatch._version import __version__
from tapewatch.cli import exit_codes, options, output


def version(json_output: options.Json = False) -> int:
    """Print the version.

    Examples:

    \b
      tapewatch version
      tapewatch version --json
    """
    if json_output:
        output.print_json(
            {
                "version": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
            }
        )
    else:
        output.line(f"tapewatch {__version__}")
    return exit_codes.OK
