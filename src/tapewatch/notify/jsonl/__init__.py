"""Receiver ``jsonl``: one file of alert records for each trading date."""

from tapewatch.notify.jsonl.receiver import JsonlReceiver

__all__ = ["JsonlReceiver"]
