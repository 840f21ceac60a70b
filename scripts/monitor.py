#!/usr/bin/env python3
"""Watch alerts and metrics: ``monitor.py tail | status | health | metrics``.

A thin wrapper around the ``tapewatch`` command for those who know it by this name.
"""

from __future__ import annotations

import sys

from tapewatch.cli.main import run

COMMANDS = ("tail", "status", "health", "metrics")

if __name__ == "__main__":
    wanted = sys.argv[1:2]
    if wanted and not wanted[0].startswith("-") and wanted[0] not in COMMANDS:
        sys.stderr.write(f"monitor.py: expected one of {', '.join(COMMANDS)}\n")
        sys.exit(64)
    run()
