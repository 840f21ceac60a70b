"""Where a webhook goes and how long it may take, checked before the first call."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2

from tapewatch.notify.webhook.addresses import refusal


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One webhook.

    Raises:
        ValueError: The URL is none that a webhook may go to. The message does not repeat it: a
            webhook's URL is a secret.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    """Signs each request, when given (see ``signature``)."""
    external_url: str = ""
    """Where people find Tapewatch's page; goes into the payload."""
    connect_timeout_s: float = 5.0
    deadline_s: float = 10.0
    """Longest time for the whole call, the answer's body included."""
    max_body_bytes: int = 64 * 1024
    """How much of an answer is read."""
    allow_link_local: bool = False
    """True lets it go to link-local and metadata addresses; for tests of those alone."""

    def __post_init__(self) -> None:
        parsed = parse_url(self.url)
        if self.secret is not None and not self.secret:
            raise ValueError("webhook secret is empty; leave it out to send unsigned requests")
        if not self.allow_link_local and (reason := refusal(parsed.host)) is not None:
            raise ValueError(f"webhook host {parsed.host!r} is refused: {reason}")


def parse_url(url: str) -> httpx2.URL:
    """Return the parsed URL of a webhook.

    Raises:
        ValueError: It is not http or https, has no host, or carries a user or password.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise ValueError(
            "webhook url cannot be read; expected http://host/path or https://host/path"
        ) from None
    if parsed.scheme not in ("http", "https"):
        raise ValueError(f"webhook url has scheme {parsed.scheme!r}; expected http or https")
    if not parsed.host:
        raise ValueError("webhook url has no host; expected http://host/path or https://host/path")
    if parsed.userinfo:
        raise ValueError(
            f"webhook url for {parsed.host!r} carries a user or password; "
            "remove it and use a secret for signing instead"
        )
    return parsed


def redacted(url: httpx2.URL) -> str:
    """Return the URL without path, query and fragment, which may hold the secret.

    >>> redacted(httpx2.URL("https://hooks.example.com:8443/T0/B0/xyz?k=v"))
    'https://hooks.example.com:8443/…'
    """
    port = f":{url.port}" if url.port is not None else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}/…"
