"""Idempotency keys: the same notification has the same key however often it is computed.

A key is ``<alert id>/<status>/<ordinal>/<receiver>``. The ordinal counts, from 1, how often this
receiver has been told this status of this episode: a reminder is ``firing`` number 2. The counts
are saved in the transaction that stores the notification, so a crash before that commit computes
the same key again, and a crash behind it goes on with the next.
"""

from __future__ import annotations

from urllib.parse import quote


def key(alert_id: str, status: str, ordinal: int, receiver: str) -> str:
    """Return the idempotency key, printable ASCII whatever the receiver is called.

    >>> key("9fe1-18a", "firing", 1, "on call")
    '9fe1-18a/firing/1/on%20call'
    """
    return f"{alert_id}/{status}/{ordinal}/{quote(receiver, safe='')}"
