"""The daemon's tests run real processes."""

from tests.real_processes import daemon, engine, sink

__all__ = ["daemon", "engine", "sink"]
