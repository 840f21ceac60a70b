"""Routes that answer one question: is everything all right?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapewatch.model.health import HealthStatus
from tapewatch.web.facade import Service
from tapewatch.web.guard import access_of
from tapewatch.web.responses import json_response

_SERVES = frozenset(
    {
        HealthStatus.HEALTHY,
        HealthStatus.DEGRADED,
        HealthStatus.NOT_CONFIGURED,
        HealthStatus.DISABLED,
    }
)


def health_routes(service: Service) -> list[Route]:
    """Return the health routes. 200 for healthy and degraded, 503 for everything else."""

    async def health(request: Request) -> Response:
        view = service.health()
        status = HealthStatus(view["status"])
        body: dict[str, object] = {"ok": status in _SERVES, "status": status}
        if access_of(request.scope).may_read:
            if view.get("message"):
                body["message"] = view["message"]
            body["checks"] = {
                name: HealthStatus(check["status"])
                for name, check in view.get("checks", {}).items()
            }
        return _answer(body, status)

    async def detailed(request: Request) -> Response:
        view = service.health()
        status = HealthStatus(view["status"])
        return _answer({"ok": status in _SERVES, **view}, status)

    async def one_service(request: Request) -> Response:
        name: str = request.path_params["name"]
        view = service.service_health(name)
        status = HealthStatus(view["status"])
        return _answer({"name": name, "ok": status in _SERVES, **view}, status)

    async def livez(request: Request) -> Response:
        alive = service.live()
        return json_response({"ok": alive}, 200 if alive else 503)

    async def readyz(request: Request) -> Response:
        ready, reasons = service.ready()
        body: dict[str, object] = {"ok": ready}
        if access_of(request.scope).may_read:
            body["reasons"] = list(reasons)
        return json_response(body, 200 if ready else 503)

    return [
        Route("/health", health),
        Route("/health/detailed", detailed),
        Route("/health/service/{name}", one_service),
        Route("/livez", livez),
        Route("/readyz", readyz),
    ]


def _answer(body: dict[str, object], status: HealthStatus) -> Response:
    return json_response(body, 200 if status in _SERVES else 503)
