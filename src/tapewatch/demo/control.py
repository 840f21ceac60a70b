"""The line between the demo's runner and its engine: commands in, evidence and figures out.

Both ways one JSON object per line. In: ``{"inject": "broker_session"}``,
``{"heal": "broker_session"}``, ``{"stop": true}``. Out: ``{"evidence": NAME, "mono_ns": N}`` for
the first tick that carries something an alert is about, ``{"status": {...}}`` twice a second.
"""

from __future__ import annotations

import json
import os
import select
from dataclasses import dataclass, field
from typing import Any, TextIO

LINE_LIMIT = 64 << 10


@dataclass(slots=True)
class CommandPipe:
    """Reads whole lines from a file descriptor without ever waiting longer than asked."""

    descriptor: int
    closed: bool = False
    """The other side is gone; nothing more will come."""
    _rest: bytes = b""

    def wait(self, timeout_s: float | None) -> list[dict[str, Any]]:
        """Wait for commands up to a time (None: until one comes) and return them, oldest first.

        A line that is no JSON object is passed over: a demo is not stopped by a stray key.
        """
        if self.closed:
            return []
        readable, _, _ = select.select([self.descriptor], [], [], timeout_s)
        if not readable:
            return []
        data = os.read(self.descriptor, LINE_LIMIT)
        if not data:
            self.closed = True
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LINE_LIMIT:]
        return [command for line in lines if (command := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@dataclass(slots=True)
class ReportPipe:
    """Writes one JSON object per line; a reader that went away is no reason to stop trading."""

    stream: TextIO
    broken: bool = field(default=False, init=False)

    def send(self, report: dict[str, Any]) -> None:
        if self.broken:
            return
        try:
            self.stream.write(json.dumps(report) + "\n")
            self.stream.flush()
        except (BrokenPipeError, ValueError):
            self.broken = True
