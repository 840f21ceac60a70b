"""The one door: every request passes here, and is refused unless something lets it through."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tapewatch.web.facade import Service
from tapewatch.web.login import COOKIE, BrowserSessions
from tapewatch.web.login_page import login_page
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.responses import error_response
from tapewatch.web.settings import WebSettings
from tapewatch.web.throttle import FailureThrottle

MAX_BODY_BYTES = 1 << 20
MAX_HEAD_BYTES = 64 << 10
"""Request line and headers of one request."""
_HEADER_EXTRA = len(": \r\n")
HEALTH_PATHS = frozenset({"/health", "/livez", "/readyz"})
LOGIN_PATH = "/login"

PEER_KEY = "tapewatch_peer"
"""Set in the connection's state by the server for a checked Unix-socket peer."""
RESERVE_KEY = "tapewatch_reserve"
"""Set by the server on connections beyond the limit: only the health routes answer."""
ACCESS_KEY = "tapewatch_access"

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with it the login form would come with Origin null.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?")
_READ_METHODS = ("GET", "HEAD")
_REFUSALS_LOGGED_A_SECOND = 10

log = structlog.get_logger("tapewatch.web").bind(component="web")


class AccessKind(StrEnum):
    """By what right a request was let in."""

    PUBLIC = "public"
    """A health route, or ``/metrics`` where that is set so."""
    OPEN = "open"
    """No token is configured; the read routes are open."""
    TOKEN = "token"  # noqa: S105 - a kind, not a token
    SESSION = "session"
    """A browser that logged in with the token."""
    UNIX = "unix"
    """The Unix socket: the kernel vouches for the user."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do."""

    kind: AccessKind

    @property
    def may_read(self) -> bool:
        """True when more than the bare health routes may be shown."""
        return self.kind is not AccessKind.PUBLIC

    @property
    def may_change(self) -> bool:
        """True when acknowledging, reloading and the like are allowed."""
        return self.kind in (AccessKind.TOKEN, AccessKind.SESSION, AccessKind.UNIX)


def access_of(scope: Scope) -> Access:
    """Return the access that the guard granted to this request."""
    access: Access = scope["state"][ACCESS_KEY]
    return access


class Guard:
    """ASGI middleware. In order: reserve, Host, Origin, token, change rules, body limits."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: Service,
        settings: WebSettings,
        metrics: WebMetrics,
        sessions: BrowserSessions,
        read_posts: Collection[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._service = service
        self._settings = settings
        self._metrics = metrics
        self._sessions = sessions
        self._posts = frozenset(read_posts) | {LOGIN_PATH}
        """POST routes that change nothing."""
        self._monotonic = monotonic
        self._token = settings.token.encode() if settings.token is not None else None
        self._throttle = FailureThrottle(monotonic)
        self._public = HEALTH_PATHS | ({"/metrics"} if settings.metrics_public else set())
        self._hosts = {"localhost", *(h.lower().rstrip(".") for h in settings.allowed_hosts)}
        self._hosts.add(settings.host.lower().strip("[]"))
        self._refusal_second = 0
        self._refusals_logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send, self._metrics, closing=bool(_state(scope).get(RESERVE_KEY)))
        began = self._monotonic()
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, answer.send)
            else:
                await self._app(scope, self._limited(scope, receive), answer.send)
        except Exception as error:
            # The text of an unforeseen error may hold anything, secrets too: it stays in the log.
            log.exception("request_failed", path=_shown_path(scope), error=type(error).__name__)
            if not answer.started:
                await internal_error()(scope, receive, answer.send)
        finally:
            self._log(scope, answer.status, self._monotonic() - began)

    def check_token(self, presented: bytes, address: str) -> Response | None:
        """Compare a presented token; return the refusal, or None when it is right."""
        wait = self._throttle.wait_s(address)
        if wait > 0:
            return _throttled(wait)
        if self._token is not None and hmac.compare_digest(presented, self._token):
            return None
        throttled = self._throttle.failed(address)
        self._metrics.auth_failures += 1
        self._service.on_auth_failure(address, throttled=throttled)
        return _unauthorized()

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer that refuses this request; None lets it in and notes its access."""
        headers = Headers(scope=scope)
        state = _state(scope)
        path: str = scope["path"]
        # The parser bounds a head that is still coming; one that came in a single read is weighed.
        head = len(scope.get("raw_path", b"")) + len(scope["query_string"])
        head += sum(len(name) + len(value) + _HEADER_EXTRA for name, value in scope["headers"])
        if head > MAX_HEAD_BYTES:
            return error_response(
                400, "bad_request", "request line and headers are longer than 64 KiB"
            )
        if state.get(RESERVE_KEY) and path not in HEALTH_PATHS:
            return error_response(
                503,
                "too_many_connections",
                f"all {self._settings.max_connections} connections are in use",
                "close some, or try again in a few seconds",
                {"retry-after": "5"},
            )
        on_unix = PEER_KEY in state
        if not on_unix:
            refusal = self._host_refusal(headers) or _origin_refusal(scope["method"], headers)
            if refusal is not None:
                return refusal
        granted = self._grant(scope, headers, on_unix=on_unix)
        if isinstance(granted, Response):
            return granted
        state[ACCESS_KEY] = granted
        reads = scope["method"] in _READ_METHODS
        if reads or (scope["method"] == "POST" and path in self._posts):
            return None
        return _change_refusal(granted, headers)

    def _host_refusal(self, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match is not None and self._is_our_name(match[1].strip("[]").rstrip(".")):
            return None
        return error_response(
            421,
            "host_refused",
            "this server does not answer to the name in the Host header",
            "use the address it listens on, or add the name to web.allowed_hosts",
        )

    def _is_our_name(self, host: str) -> bool:
        if host in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        # A page that rebinds DNS comes under a name, never under an address.
        return address.is_loopback or not self._settings.on_loopback

    def _grant(self, scope: Scope, headers: Headers, *, on_unix: bool) -> Access | Response:
        path: str = scope["path"]
        address = client_address(scope)
        if on_unix:
            return Access(AccessKind.UNIX)
        if self._token is None:
            return Access(AccessKind.OPEN)
        credentials = headers.getlist("authorization")
        if credentials:
            presented = _bearer(credentials)
            refusal = self.check_token(presented, address)
            if refusal is None:
                return Access(AccessKind.TOKEN)
            return Access(AccessKind.PUBLIC) if path in self._public else refusal
        if self._sessions.is_valid(session_of(headers)):
            return Access(AccessKind.SESSION)
        if path in self._public or (path == LOGIN_PATH and scope["method"] == "POST"):
            return Access(AccessKind.PUBLIC)
        wait = self._throttle.wait_s(address)
        if wait > 0:
            return _throttled(wait)
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return login_page()
        return _unauthorized()

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Bound a request body in size and time. A body that is never read costs nothing."""
        declared = Headers(scope=scope).get("content-length", "0")
        deadline = self._monotonic() + self._settings.body_timeout_s
        received = 0
        complete = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits for the client to hang up
            if not declared.isdigit() or int(declared[:12]) > MAX_BODY_BYTES:
                raise HTTPException(413)
            try:
                async with asyncio.timeout(max(0.0, deadline - self._monotonic())):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413)
            complete = not message.get("more_body", False)
            return message

        return limited

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        changes = scope["method"] not in _READ_METHODS and scope["path"] not in self._posts
        refused = status in (401, 403, 421, 429)
        if not (self._settings.access_log or changes or refused):
            return
        if refused and not self._may_log_refusal():
            return
        log.info(
            "request",
            method=scope["method"],
            path=_shown_path(scope),
            status=status,
            seconds=round(seconds, 6),
            client=client_address(scope),
        )

    def _may_log_refusal(self) -> bool:
        """Tell whether a refusal may take a line: a flood of them must not fill the disk."""
        second = int(self._monotonic())
        if second != self._refusal_second:
            self._refusal_second, self._refusals_logged = second, 0
        self._refusals_logged += 1
        return self._refusals_logged <= _REFUSALS_LOGGED_A_SECOND


class _Answer:
    """Adds the security headers and remembers what was sent."""

    def __init__(self, send: Send, metrics: WebMetrics, *, closing: bool) -> None:
        self._send = send
        self._metrics = metrics
        self._closing = closing
        self.status = 0

    @property
    def started(self) -> bool:
        return self.status != 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._metrics.responses[self.status] += 1
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            # The rest of an oversized or late body shall not be read.
            if self._closing or self.status in (408, 413):
                headers["connection"] = "close"
        await self._send(message)


def client_address(scope: Scope) -> str:
    """Return the address of the peer; ``unix`` for the Unix socket."""
    client = scope.get("client")
    return client[0] if client and client[0] else "unix"


def session_of(headers: Headers) -> str:
    """Return the browser session that a request carries, or nothing."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def internal_error() -> Response:
    """Answer that something broke, without saying what."""
    return error_response(
        500,
        "internal",
        "the request failed inside Tapewatch",
        "look for request_failed in the daemon's log",
    )


def _state(scope: Scope) -> dict[str, Any]:
    state: dict[str, Any] = scope.setdefault("state", {})
    return state


def _shown_path(scope: Scope) -> str:
    """Return the path for the log: no query, printable ASCII, bounded."""
    path: str = scope["path"]
    return path[:256].encode("unicode_escape").decode("ascii")


def _bearer(credentials: list[str]) -> bytes:
    """Return the presented token; what is malformed becomes a token that is never right."""
    scheme, _, presented = credentials[0].partition(" ")
    if len(credentials) != 1 or scheme.lower() != "bearer":
        return b""
    return presented.strip().encode("latin-1", "replace")


def _unauthorized() -> Response:
    return error_response(
        401,
        "unauthorized",
        "this needs the token",
        "send it as: Authorization: Bearer <token>",
        {"www-authenticate": 'Bearer realm="tapewatch"'},
    )


def _throttled(wait: float) -> Response:
    seconds = str(int(wait) + 1)
    return error_response(
        429,
        "too_many_failures",
        "too many wrong tokens from this address",
        f"wait {seconds} s; the command line on the daemon's own machine still works",
        {"retry-after": seconds},
    )


def _origin_refusal(method: str, headers: Headers) -> Response | None:
    """Refuse what another site's page sent: no answer of ours is meant for it."""
    origin = headers.get("origin")
    if origin is not None:
        try:
            parts = urlsplit(origin.lower())
        except ValueError:
            parts = urlsplit("null:")
        foreign = parts.scheme not in ("http", "https") or parts.netloc != headers["host"].lower()
    else:
        navigates = method in _READ_METHODS and headers.get("sec-fetch-mode") == "navigate"
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates
    if not foreign:
        return None
    return error_response(
        403, "origin_refused", "requests from other sites are not answered", "open the page itself"
    )


def _change_refusal(access: Access, headers: Headers) -> Response | None:
    if not access.may_change:
        return error_response(
            403,
            "token_required",
            "changes need the token or the Unix socket",
            "use the tapewatch command on this machine, or set a token",
        )
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return error_response(
            415,
            "json_required",
            "a change must come as JSON",
            "send the header Content-Type: application/json",
        )
    if headers.get("x-tapewatch") != "1":
        return error_response(
            403,
            "header_required",
            "a change must carry the header X-Tapewatch: 1",
            "send the header X-Tapewatch: 1",
        )
    return None
