"""One thread for calls that may block: a disk that hangs, a name server that does not answer.

A pool of ``concurrent.futures`` is joined when the interpreter exits, so one hung call would keep
the daemon from stopping. This thread is a daemon: what hangs is left behind.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class SideThread:
    """Runs calls one after the other, in the order in which they were submitted."""

    def __init__(self, name: str) -> None:
        """Prepare; the thread begins with the first call."""
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Queue a call; its result or exception arrives in the running loop.

        A call whose future is cancelled before its turn is not made.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((call, future))
        return future

    def close(self) -> None:
        """End the thread after the calls that are queued; does not wait."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            if future.cancelled():
                continue
            value, error = None, None
            try:
                value = call()
            except Exception as caught:
                error = caught
            # The loop is closed when the daemon stopped without waiting for this call.
            with suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
