"""Puts the web room together: routes behind one guard."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tapewatch.model.errors import TapewatchError
from tapewatch.web.facade import Service
from tapewatch.web.guard import LOGIN_PATH, Guard, client_address, internal_error, session_of
from tapewatch.web.health import health_routes
from tapewatch.web.login import BrowserSessions, cookie_header
from tapewatch.web.login_page import login_page
from tapewatch.web.metrics_route import metrics_route
from tapewatch.web.own_api import own_routes
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.page import page_routes
from tapewatch.web.prometheus_api import (
    READ_POSTS,
    is_prometheus,
    prometheus_error,
    prometheus_routes,
)
from tapewatch.web.responses import error_of, error_response, json_response
from tapewatch.web.settings import WebSettings, check_settings
from tapewatch.web.stream import LiveStream

_CODES = {
    400: ("bad_request", "see docs/reference/http-api.md"),
    404: ("not_found", "see docs/reference/http-api.md for the routes"),
    405: ("method_not_allowed", "see docs/reference/http-api.md for the methods"),
    408: ("request_too_slow", "send the body faster"),
    413: ("body_too_large", "send at most 1 MiB"),
}
_MESSAGES = {
    404: "there is nothing under this path",
    405: "this path does not know this method",
    408: "the body did not arrive in time",
    413: "the body is larger than 1 MiB",
}


class WebApp:
    """The ASGI application, with the parts that its owner needs to hold.

    Raises:
        ListenError: The settings would open more than the operator knows.
    """

    def __init__(self, service: Service, settings: WebSettings) -> None:
        check_settings(settings)
        self.settings = settings
        self.metrics = WebMetrics()
        self.stream = LiveStream(service, self.metrics)
        sessions = BrowserSessions(time.monotonic)
        login = _Login(settings, sessions)
        self.routes = [
            *health_routes(service),
            metrics_route(service, self.metrics),
            *own_routes(service, self.stream),
            *prometheus_routes(service),
            *page_routes(),
            *login.routes(),
        ]
        inner = Starlette(
            routes=self.routes,
            exception_handlers={
                HTTPException: _http_error,
                TapewatchError: _known_error,
                Exception: _unknown_error,
            },
        )
        inner.router.redirect_slashes = False
        self._guard = Guard(
            inner,
            service=service,
            settings=settings,
            metrics=self.metrics,
            sessions=sessions,
            read_posts=READ_POSTS,
        )
        login.guard = self._guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._guard(scope, receive, send)


def create_app(service: Service, settings: WebSettings | None = None) -> WebApp:
    """Build the application over a daemon.

    Raises:
        ListenError: The settings would open more than the operator knows.
    """
    return WebApp(service, settings or WebSettings())


class _Login:
    """The form's target and the way out. The guard refuses other sites' forms before."""

    guard: Guard

    def __init__(self, settings: WebSettings, sessions: BrowserSessions) -> None:
        self._settings = settings
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """Return the two routes; there is nothing to log in to without a token."""
        if self._settings.token is None:
            return []
        return [
            Route(LOGIN_PATH, self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
        ]

    async def _login(self, request: Request) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        presented = parse_qs(body, max_num_fields=8).get("token", [""])[0]
        refusal = self.guard.check_token(presented.encode(), client_address(request.scope))
        if refusal is not None:
            from_form = "text/html" in request.headers.get("accept", "")
            return login_page() if from_form and refusal.status_code == 401 else refusal
        cookie = cookie_header(self._sessions.begin(), secure=self._is_https(request))
        return RedirectResponse("/", 303, {"set-cookie": cookie})

    async def _logout(self, request: Request) -> Response:
        self._sessions.end(session_of(request.headers))
        cookie = cookie_header("", secure=self._is_https(request))
        return json_response({"ok": True}, headers={"set-cookie": cookie})

    def _is_https(self, request: Request) -> bool:
        origin = request.headers.get("origin", "")
        return request.url.scheme == "https" or origin.startswith("https://")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - by registration
    status = error.status_code
    code, next_step = _CODES.get(status, ("bad_request", ""))
    message = _MESSAGES.get(status, error.detail)
    if is_prometheus(request):
        return prometheus_error(status, "not_found" if status == 404 else "bad_data", message)
    return error_response(status, code, message, next_step, error.headers)


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TapewatchError)  # noqa: S101 - by registration
    return error_of(error)


async def _unknown_error(request: Request, error: Exception) -> Response:
    if is_prometheus(request):
        return prometheus_error(500, "internal", "the request failed inside Tapewatch")
    return internal_error()
