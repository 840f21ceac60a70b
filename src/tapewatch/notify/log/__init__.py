"""Receiver ``log``: the daemon's own structured log."""

from tapewatch.notify.log.receiver import LogReceiver

__all__ = ["LogReceiver"]
