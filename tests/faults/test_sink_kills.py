"""The receiver has taken a notification, and the daemon dies before it can note that."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tapewatch.testing.http_sink import Arrival, HttpSink
from tests.faults.conftest import FULL
from tests.faults.oracle import chaos_config, check_left_behind

ROUNDS = 50 if FULL else 5


class KillingSink:
    """Kills the daemon the first time that a key arrives, then answers 200."""

    def __init__(self) -> None:
        self.victim = 0
        self.keys: collections.Counter[str] = collections.Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()

    def _arrived(self, arrival: Arrival) -> None:
        self.keys[arrival.key] += 1
        if self.keys[arrival.key] == 1 and self.victim:
            victim, self.victim = self.victim, 0
            os.kill(victim, signal.SIGKILL)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with HttpSink(on_arrival=self._arrived) as sink:
            self.url = sink.url
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def killing_sink() -> Iterator[KillingSink]:
    sink = KillingSink()
    yield sink
    sink.close()


@pytest.mark.chaos
@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.requirement("F3", "P3")
def test_a_notification_taken_before_the_crash_is_sent_again_with_its_key(
    daemon: Any, engine: Any, killing_sink: KillingSink, tmp_path: Path
) -> None:
    receiver = f"receivers: [{{name: sink, kind: webhook, url: '{killing_sink.url}'}}]\n"
    running = daemon(chaos_config(tmp_path, receiver))
    alpha = engine(rate=50, cadence=1)
    for number in range(ROUNDS):
        running.start()
        killing_sink.victim = running.process.pid
        alpha.tell(f"case {number}")
        running.process.wait(20)
        assert running.process.returncode == -signal.SIGKILL
    running.start()
    eventually(
        lambda: len(killing_sink.keys) >= ROUNDS and min(killing_sink.keys.values()) >= 2,
        "each notification to be sent again",
    )
    assert running.stop() == 0
    # Resolutions (an engine that goes on never resolves these) and other alerts do not come.
    assert list(killing_sink.keys.values()) == [2] * ROUNDS
    check_left_behind(tmp_path, running)
