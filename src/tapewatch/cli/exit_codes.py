"""What the command's exit codes mean."""

from __future__ import annotations

OK = 0
FAILED = 1
UNKNOWN = 3
"""Nagios: nobody knows. ``status`` and ``health`` use 0, 1, 2 and 3 by that convention."""
USAGE = 64
"""Wrong usage, apart from every answer about the system (``EX_USAGE`` of sysexits.h)."""
INTERRUPTED = 130
"""Ended by Ctrl-C, as a shell reports it."""
PIPE_CLOSED = 141
"""The reader of our output went away, as a shell reports it."""
