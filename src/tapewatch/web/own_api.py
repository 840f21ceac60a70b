"""Tapewatch's own API: alerts and who has them, engines, the live picture, reload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tapewatch.model.clock import SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.model.severity import AlertSeverity
from tapewatch.web.facade import Service
from tapewatch.web.guard import access_of
from tapewatch.web.request_body import json_object, refuse_unknown, text_field
from tapewatch.web.responses import error_response, json_response
from tapewatch.web.stream import LiveStream

DEFAULT_ALERTS = 100
MAX_ALERTS = 1000
_MAX_BY = 128
_MAX_NOTE = 1024


def own_routes(service: Service, stream: LiveStream) -> list[Route]:
    """Return the routes under ``/api/tapewatch/``, ``/status`` and ``/-/reload``."""

    async def status(request: Request) -> Response:
        return json_response(service.status())

    async def alerts(request: Request) -> Response:
        query = request.query_params
        records = service.alerts(
            active=_flag(query.get("active")),
            severity=_severity(query.get("severity")),
            since_ns=_since(query.get("since"), service.now_ns()),
            limit=_limit(query.get("limit")),
        )
        return json_response({"alerts": records})

    async def acknowledge(request: Request) -> Response:
        body = await json_object(request)
        refuse_unknown(body, ("by", "note"))
        by = text_field(body, "by", max_length=_MAX_BY, required=True).strip()
        note = text_field(body, "note", max_length=_MAX_NOTE)
        records = await service.acknowledge(request.path_params["ref"], by=by, note=note)
        return json_response({"alert": records[0], "alerts": records})

    async def engines(request: Request) -> Response:
        return json_response({"engines": service.engines()})

    async def retire(request: Request) -> Response:
        refuse_unknown(await json_object(request), ())
        return json_response(await service.retire(request.path_params["name"]))

    async def live(request: Request) -> Response:
        may_change = access_of(request.scope).may_change
        return json_response({"may_change": may_change, "live": service.live_snapshot()})

    async def live_stream(request: Request) -> Response:
        if stream.is_full:
            return error_response(
                503,
                "too_many_streams",
                "all live streams are in use",
                "close another live page, or poll /api/tapewatch/live",
                {"retry-after": "10"},
            )
        events = (
            _nothing()
            if request.method == "HEAD"
            else stream.listen(may_change=access_of(request.scope).may_change)
        )
        return StreamingResponse(events, media_type="text/event-stream")

    async def config(request: Request) -> Response:
        return json_response(service.config_view())

    async def reload(request: Request) -> Response:
        body = await json_object(request)
        refuse_unknown(body, ())
        return json_response(await service.reload())

    return [
        Route("/status", status),
        Route("/api/tapewatch/alerts", alerts),
        Route("/api/tapewatch/alerts/{ref}/acknowledge", acknowledge, methods=["POST"]),
        Route("/api/tapewatch/engines", engines),
        Route("/api/tapewatch/engines/{name}/retire", retire, methods=["POST"]),
        Route("/api/tapewatch/live", live),
        Route("/api/tapewatch/stream", live_stream),
        Route("/api/tapewatch/config", config),
        Route("/-/reload", reload, methods=["POST"]),
    ]


async def _nothing() -> AsyncIterator[bytes]:
    for event in list[bytes]():
        yield event


def _flag(text: str | None) -> bool | None:
    if text is None:
        return None
    words = {"true": True, "1": True, "false": False, "0": False}
    if text not in words:
        raise HTTPException(400, f"active: found {text[:64]!r}, expected true or false")
    return words[text]


def _severity(text: str | None) -> AlertSeverity | None:
    if text is None:
        return None
    try:
        return AlertSeverity.parse(text[:64])
    except ValueError as error:
        raise HTTPException(400, f"severity: {error}") from None


def _since(text: str | None, now_ns: int) -> int | None:
    """Read a moment: ISO 8601 with offset, Unix seconds, or how long ago (``1h30m``)."""
    if text is None:
        return None
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        pass
    try:
        return unix_or_iso_ns(text)
    except ValueError:
        raise HTTPException(
            400,
            f"since: found {text[:64]!r}, expected a duration like 1h, Unix seconds or "
            "ISO 8601 with offset",
        ) from None


def unix_or_iso_ns(text: str) -> int:
    """Return the nanoseconds of Unix seconds or an ISO 8601 text with an offset.

    Raises:
        ValueError: It is neither, has no offset, or lies outside the years 1 to 9999.
    """
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(f"no offset in {text!r}") from None
        seconds = moment.timestamp()
    if not abs(seconds) < 9e9:
        raise ValueError(f"out of range: {text!r}")
    # Milliseconds are the finest that clients send; more digits would be noise of the float.
    return round(seconds * 1000) * (SECOND // 1000)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_ALERTS
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_ALERTS:
        return int(text[:9])
    raise HTTPException(400, f"limit: found {text[:64]!r}, expected 1 to {MAX_ALERTS}")
