"""What the web room can be told, and what it refuses to start with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from tapewatch.model.errors import TapewatchError
from tapewatch.model.token import token_weakness

_NEW_TOKEN = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - a hint, not a token


class ListenError(TapewatchError):
    """The web room cannot or must not listen where it was told to."""

    code = "listen_refused"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where to listen and whom to answer."""

    host: str = "127.0.0.1"
    """Address or name to listen on."""
    port: int = 8090
    """TCP port; 0 takes a free one."""
    socket_path: Path | None = None
    """Unix socket for the command line; None for none."""
    token: str | None = field(default=None, repr=False)
    """Bearer token; None leaves the read routes open, which is refused off loopback."""
    behind_proxy: bool = False
    """A proxy or a container's published port stands in front and decides who may read."""
    metrics_public: bool = False
    """Serve ``/metrics`` without the token."""
    allowed_hosts: tuple[str, ...] = ()
    """Names besides loopback and :attr:`host` that requests may call us by, without port."""
    access_log: bool = False
    """Log every request. Refusals, changes and failures are logged always."""
    max_connections: int = 200
    """TCP connections served at once; beyond it only the health routes answer."""
    head_timeout_s: float = 10.0
    """A request's head must be complete within so many seconds."""
    body_timeout_s: float = 10.0
    """A request's body must be complete within so many seconds."""
    write_timeout_s: float = 10.0
    """A client that takes nothing for so many seconds is cut."""

    @property
    def on_loopback(self) -> bool:
        """True when only this machine can reach the TCP port."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a listening address is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_settings(settings: WebSettings) -> None:
    """Refuse a setting that would open more than the operator knows.

    Raises:
        ListenError: Off loopback without protection, or a token that can be guessed.
    """
    if settings.token is not None:
        weakness = token_weakness(settings.token)
        if weakness:
            raise ListenError(
                f"the web token cannot be used: {weakness}",
                next_step=_NEW_TOKEN,
            )
    elif not settings.on_loopback and not settings.behind_proxy:
        raise ListenError(
            f"refusing to listen on {settings.host}:{settings.port} without a token: anybody who "
            "reaches this port could read positions and P&L",
            next_step="listen on 127.0.0.1, or set a token, or state that a proxy in front "
            f"decides who may read; {_NEW_TOKEN}",
        )
