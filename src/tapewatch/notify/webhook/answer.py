"""What an HTTP answer means: accepted, try again, or never."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tapewatch.model.terminal import escape_controls

MAX_RETRY_AFTER_S = 300.0
_RETRYABLE = frozenset({408, 425, 429})
_PASSING = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "service_unavailable", "timeout"}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an answer is no acceptance."""

    reason: str
    """For people; no secrets."""
    permanent: bool
    retry_after_s: float | None = None


def judge(status: int, retry_after: str | None, body: bytes, now_s: float) -> Refusal | None:
    """Return why the answer is no acceptance; None when it is one.

    2xx is accepted unless a JSON body says otherwise. 408, 425, 429 and 5xx may pass; everything
    else, redirects included, would be the same next time.

    Args:
        status: The HTTP status.
        retry_after: The header ``Retry-After``, if any.
        body: The body as far as it was read.
        now_s: Wall clock, Unix seconds, for ``Retry-After`` with a date.
    """
    wait_s = parse_retry_after(retry_after, now_s)
    if 200 <= status < 300:
        return _judge_body(body, wait_s)
    if status in _RETRYABLE or status >= 500:
        return Refusal(f"HTTP {status}", permanent=False, retry_after_s=wait_s)
    if 300 <= status < 400:
        return Refusal(f"HTTP {status}: a redirect, which is not followed", permanent=True)
    return Refusal(f"HTTP {status}", permanent=True)


def parse_retry_after(text: str | None, now_s: float) -> float | None:
    """Return the seconds to wait, at least 0 and at most five minutes; None for none or garbage.

    >>> parse_retry_after("3600", 0.0)
    300.0
    >>> parse_retry_after("soon", 0.0)
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    wait_s = (at - datetime.fromtimestamp(now_s, UTC)).total_seconds()
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _judge_body(body: bytes, wait_s: float | None) -> Refusal | None:
    """Find ``{"ok": false}`` and ``{"error": "..."}`` behind a 200, as many services answer."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = answer.get("error") or answer.get("errors")
    if answer.get("ok") is not False and not error:
        return None
    code = answer.get("error_code")
    told_s = _told_wait(answer)
    passing = (
        told_s is not None
        or (isinstance(error, str) and error.lower() in _PASSING)
        or (isinstance(code, int) and (code == 429 or code >= 500))
    )
    what = error if isinstance(error, str) else answer.get("description")
    shown = f": {escape_controls(what, width=120)}" if isinstance(what, str) else ""
    return Refusal(
        f"HTTP 200 with an error in the body{shown}",
        permanent=not passing,
        retry_after_s=told_s if told_s is not None else wait_s,
    )


def _told_wait(answer: dict[str, Any]) -> float | None:
    parameters = answer.get("parameters")
    places = (answer, parameters) if isinstance(parameters, dict) else (answer,)
    for place in places:
        wait = place.get("retry_after")
        if isinstance(wait, int | float) and not isinstance(wait, bool) and wait >= 0:
            return min(float(wait), MAX_RETRY_AFTER_S)
    return None
