"""Structured logs: one event is one line, on a terminal for people and elsewhere as JSON."""

from tapewatch.logs.rotating_file import RotatingFile
from tapewatch.logs.setup import LogSink, configure_logs

__all__ = ["LogSink", "RotatingFile", "configure_logs"]
