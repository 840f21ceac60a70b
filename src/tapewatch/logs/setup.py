"""Point every logger of the process, ours and those of libraries, at one place."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from tapewatch.logs.render import Event, Masking, console_line, json_line, prepare
from tapewatch.logs.rotating_file import RotatingFile

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LogSink:
    """Where lines end up: a descriptor, and a file when one is set.

    A line that cannot be written (closed pipe, full disk) is counted and given up: logging never
    stops what it reports on.
    """

    def __init__(
        self,
        descriptor: int,
        render: Callable[[dict[str, Any]], str],
        masking: Masking,
        file: RotatingFile | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._render = render
        self._masking = masking
        self._file = file
        self._lock = threading.Lock()
        self.dropped = 0
        """Lines that could not be written somewhere."""

    def __call__(self, _logger: Any, _method: str, event: Event) -> str:
        """Write one event; the last processor of the chain."""
        fields = prepare(event, self._masking)
        self._write(self._to_descriptor, self._render(fields))
        if self._file is not None:
            self._write(self._file.write, json_line(fields))
        raise structlog.DropEvent

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, write: Callable[[bytes], object], line: str) -> None:
        try:
            write(line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            self.dropped += 1

    def _to_descriptor(self, data: bytes) -> None:
        with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


REPEAT_S = 10.0
"""A library that says the same again within this is only counted: asyncio says it 512 times at
once that there is no descriptor left for a connection."""
MAX_REMEMBERED = 256


class _LibraryHandler(logging.Handler):
    """Passes what libraries log through ``logging`` into the same lines."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}
        """By logger and message: when it was last passed on, and how often it came since."""

    def emit(self, record: logging.LogRecord) -> None:
        # What a library does to its own log line must not come back to us.
        with suppress(Exception):
            message = record.getMessage()
            key = (record.name, message)
            at, repeats = self._said.get(key, (-REPEAT_S, 0))
            now = time.monotonic()
            if now - at < REPEAT_S:
                self._said[key] = (at, repeats + 1)
                return
            if len(self._said) >= MAX_REMEMBERED:
                self._said.clear()
            self._said[key] = (now, 0)
            more = {"repeated": repeats} if repeats else {}
            structlog.get_logger().log(
                record.levelno,
                "library_message",
                logger=record.name,
                message=message,
                exc_info=record.exc_info,
                **more,
            )


def configure_logs(
    *,
    level: str = "info",
    form: str = "auto",
    file: RotatingFile | None = None,
    secrets: Sequence[str] = (),
    descriptor: int = 1,
) -> LogSink:
    """Set up logging for this process.

    Call it before modules that make loggers at import are imported.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``json``, ``console``, or ``auto``: console on a terminal, else JSON.
        file: Takes every line as JSON as well.
        secrets: Texts that must never appear in a line.
        descriptor: Where lines go; standard output if nothing is said.
    """
    terminal = os.isatty(descriptor)
    people = form == "console" or (form == "auto" and terminal)
    colours = people and terminal and not os.environ.get("NO_COLOR")

    def render(fields: dict[str, Any]) -> str:
        return console_line(fields, colours=colours) if people else json_line(fields)

    sink = LogSink(descriptor, render, Masking(secrets), file)
    number = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _with_exception,
            sink,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler())
    root.setLevel(max(number, logging.WARNING))
    return sink


def _with_exception(_logger: Any, _method: str, event: Event) -> Event:
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()
    return event
