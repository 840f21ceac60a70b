"""The live stream: server-sent events with a sequence number, for many pages from one source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from tapewatch.web.facade import LiveSnapshot, Service
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.responses import json_bytes

MAX_CLIENTS = 32
_QUEUE = 16
_OVERLAP_S = 5.0
"""Chart points of the last seconds are sent again: late ones find their place."""

log = structlog.get_logger("tapewatch.web").bind(component="web")


class LiveStream:
    """Looks at the daemon once for all clients.

    While anybody listens, an ``update`` goes out every ``period_s``, and within ``look_s`` when
    ``Service.live_version`` changes. A client first gets a ``snapshot``; an update is the same
    without the older chart points. Numbers rise by one: a gap tells the page to start again.
    A client whose queue is full is cut, and nobody waits for it.
    """

    def __init__(
        self, service: Service, metrics: WebMetrics, *, period_s: float = 1.0, look_s: float = 0.1
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._period_s = period_s
        self._look_s = look_s
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._sequence = 0
        self._sent_now = 0.0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_full(self) -> bool:
        """True when no further client may listen."""
        return self._closed or len(self._queues) >= MAX_CLIENTS

    async def listen(self, *, may_change: bool) -> AsyncIterator[bytes]:
        """Yield encoded events until the client is cut or the stream closes."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE)
        first = self._service.live_snapshot()
        if not self._queues:
            self._sent_now = first["now"]
        self._queues.add(queue)
        self._metrics.stream_clients = len(self._queues)
        try:
            yield _event("snapshot", self._sequence, first, may_change=may_change)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run(), name="web-live-stream")
            while not self._closed:
                message = await queue.get()
                if message is None:
                    return
                yield message
        finally:
            self._queues.discard(queue)
            self._metrics.stream_clients = len(self._queues)

    def close(self) -> None:
        """End every client's stream, for good."""
        self._closed = True
        for queue in self._queues:
            _end(queue)
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        seen = self._service.live_version()
        due = loop.time() + self._period_s
        while self._queues:
            await asyncio.sleep(self._look_s)
            version = self._service.live_version()
            if version == seen and loop.time() < due:
                continue
            seen, due = version, loop.time() + self._period_s
            try:
                snapshot = self._service.live_snapshot(charts_since=self._sent_now - _OVERLAP_S)
            except Exception:
                # The pages notice the silence and say so; the next look may work again.
                log.exception("live_snapshot_failed")
                continue
            self._sent_now = snapshot["now"]
            self._sequence += 1
            self._broadcast(_event("update", self._sequence, snapshot))

    def _broadcast(self, message: bytes) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._metrics.stream_clients_cut += 1
                self._queues.discard(queue)
                _end(queue)


def _end(queue: asyncio.Queue[bytes | None]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _event(
    kind: str, sequence: int, snapshot: LiveSnapshot, *, may_change: bool | None = None
) -> bytes:
    body: dict[str, object] = {"seq": sequence, "live": snapshot}
    if may_change is not None:
        body["may_change"] = may_change
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, kind.encode(), json_bytes(body))
