"""``/metrics``: what a Prometheus server scrapes."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapewatch.web.exposition import MetricFamily, Renderer, wants_openmetrics
from tapewatch.web.facade import Service
from tapewatch.web.own_metrics import WebMetrics

log = structlog.get_logger("tapewatch.web").bind(component="web")


def metrics_route(service: Service, metrics: WebMetrics) -> Route:
    """Return the route, with one renderer for each format."""
    text = Renderer(openmetrics=False)
    openmetrics = Renderer(openmetrics=True)

    def families() -> Iterator[MetricFamily]:
        try:
            yield from service.families()
        except Exception:
            # A failing collector must not take the rest of the scrape with it.
            log.exception("metric_collection_failed")
            yield MetricFamily.single(
                "tapewatch_collector_up", 0, "0 when collecting the daemon's metrics failed."
            )
        else:
            yield MetricFamily.single(
                "tapewatch_collector_up", 1, "0 when collecting the daemon's metrics failed."
            )
        yield from metrics.families()

    async def show(request: Request) -> Response:
        accept = ", ".join(request.headers.getlist("accept"))
        renderer = openmetrics if wants_openmetrics(accept) else text
        body = renderer.render(families())
        metrics.families_skipped = text.skipped + openmetrics.skipped
        headers = {"content-type": renderer.content_type, "vary": "Accept"}
        return Response(body, headers=headers)

    return Route("/metrics", show)
