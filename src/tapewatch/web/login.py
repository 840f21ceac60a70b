"""How a browser, which cannot send a token by itself, gets to stay logged in."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

COOKIE = "tapewatch_session"
LIFETIME_S = 12 * 3600
_MAX_SESSIONS = 64


class BrowserSessions:
    """Random session ids in memory: they end with the daemon, after 12 hours, or at logout."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ends: OrderedDict[str, float] = OrderedDict()

    def begin(self) -> str:
        """Return the id of a new session; the oldest makes room when there are too many."""
        while len(self._ends) >= _MAX_SESSIONS:
            self._ends.popitem(last=False)
        session = secrets.token_urlsafe(32)
        self._ends[session] = self._monotonic() + LIFETIME_S
        return session

    def is_valid(self, session: str) -> bool:
        """Tell whether the session exists and has not ended.

        A dictionary look-up by a 256-bit random key gives an attacker's clock nothing to learn.
        """
        end = self._ends.get(session)
        if end is None:
            return False
        if self._monotonic() >= end:
            del self._ends[session]
            return False
        return True

    def end(self, session: str) -> None:
        """Forget a session."""
        self._ends.pop(session, None)


def cookie_header(session: str, *, secure: bool) -> str:
    """Return the Set-Cookie value that begins (or, with an empty id, ends) a session."""
    age = LIFETIME_S if session else 0
    tail = "; Secure" if secure else ""
    return f"{COOKIE}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{tail}"
