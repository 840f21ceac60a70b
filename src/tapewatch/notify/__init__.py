"""Receivers: one folder per kind, a registry, and the dispatcher that calls them."""

from tapewatch.notify.receiver import Receiver

__all__ = ["Receiver"]
