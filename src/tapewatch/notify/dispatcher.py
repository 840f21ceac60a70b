"""Hands notifications to the workers of their receivers and reports what became of them.

The dispatcher keeps nothing that must survive: every notification it is offered stands in the
durable outbox already, and every change is reported to ``on_result`` for the outbox to follow.
After a crash the outbox offers again what has no final state, under the same key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from tapewatch.model.clock import DAY, Clock
from tapewatch.model.notification import DeliveryResult, DeliveryState, Notification
from tapewatch.notify.backoff import Backoff
from tapewatch.notify.receiver import Receiver
from tapewatch.notify.statistics import ReceiverStatistics
from tapewatch.notify.worker import Worker

QUEUE_CAPACITY = 1_000
DEADLINE_S = 10.0
MAX_AGE_NS = DAY
DRAIN_S = 10.0
_CANCEL_S = 1.0

_log = structlog.get_logger(component="notify")


class Dispatcher:
    """One worker for each receiver. Its methods belong to the thread of one event loop.

    Start order: receivers, then ``start``, then ``offer``. Stop order: no more offers, then
    ``stop``, which drains, cancels what hangs and closes the receivers.
    """

    def __init__(
        self,
        receivers: Sequence[Receiver],
        on_result: Callable[[DeliveryResult], None],
        *,
        clock: Clock,
        rng: random.Random | None = None,
        backoff: Backoff | None = None,
        capacity: int = QUEUE_CAPACITY,
        deadline_s: float = DEADLINE_S,
        max_age_ns: int = MAX_AGE_NS,
    ) -> None:
        """Prepare the workers; nothing runs before ``start``.

        Args:
            receivers: Each name once.
            on_result: Called in the loop's thread after each attempt and each change; must not
                block.
            clock: The daemon's steady timeline.
            rng: Source of jitter; None for a fresh one.
            backoff: How long to wait after failures.
            capacity: Most notifications waiting for one receiver; more go back to the outbox.
            deadline_s: Longest time for one attempt, whatever the receiver does.
            max_age_ns: Age at which a notification to a receiver in an outage is given up.

        Raises:
            ValueError: Two receivers have one name.
        """
        names = [receiver.name for receiver in receivers]
        if len(set(names)) != len(names):
            raise ValueError(f"receiver names must differ, found {sorted(names)}")
        self._on_result = on_result
        self._clock = clock
        self._workers = {
            receiver.name: Worker(
                receiver,
                on_result,
                clock=clock,
                rng=rng or random.Random(),  # noqa: S311 - jitter, not a secret
                backoff=backoff or Backoff(),
                capacity=capacity,
                deadline_s=deadline_s,
                max_age_ns=max_age_ns,
            )
            for receiver in receivers
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._preparing: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start a task for each receiver in the running loop."""
        self._tasks = [
            asyncio.create_task(worker.run(), name=f"notify-{name}")
            for name, worker in self._workers.items()
        ]
        # Beside the workers: a name server that hangs must not hold up what is to be sent.
        self._preparing = [
            asyncio.create_task(_prepare(worker.receiver)) for worker in self._workers.values()
        ]

    def offer(self, notification: Notification, attempts: int = 0) -> None:
        """Take a notification that the outbox has stored; returns at once.

        Offering a key again while it waits changes nothing.

        Args:
            notification: What to send, to the receiver that it names.
            attempts: Attempts made before a restart.
        """
        worker = self._workers.get(notification.receiver)
        if worker is not None:
            worker.offer(notification, attempts)
            return
        self._on_result(
            DeliveryResult(
                key=notification.key,
                receiver=notification.receiver,
                state=DeliveryState.FAILED,
                attempts=attempts,
                at_ns=self._clock.now_ns(),
                reason="no_such_receiver",
                error=f"no receiver {notification.receiver!r} is configured",
            )
        )

    def receivers(self) -> list[Receiver]:
        """Return the receivers in the order of the configuration."""
        return [worker.receiver for worker in self._workers.values()]

    def statistics(self) -> list[ReceiverStatistics]:
        """Return what was counted for each receiver, in the order of the configuration.

        May be called from any thread.
        """
        return [worker.statistics() for worker in self._workers.values()]

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Send what can be sent within ``drain_s`` seconds, then let go of everything.

        What is left stays in the outbox. An attempt that is cut off is made again after the next
        start, with the same key.
        """
        for task in self._preparing:
            task.cancel()
        for worker in self._workers.values():
            worker.close_when_idle()
        if self._tasks:
            _, hanging = await asyncio.wait(self._tasks, timeout=drain_s)
            for task in hanging:
                task.cancel()
            if hanging:
                await asyncio.wait(hanging, timeout=_CANCEL_S)
        closing = [asyncio.create_task(w.receiver.close()) for w in self._workers.values()]
        if closing:
            _, hanging = await asyncio.wait(closing, timeout=_CANCEL_S)
            for task in hanging:
                task.cancel()
        for task in (*self._tasks, *self._preparing, *closing):
            if task.done() and not task.cancelled():
                task.exception()
        self._tasks = []
        self._preparing = []

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()


async def _prepare(receiver: Receiver) -> None:
    try:
        await receiver.prepare()
    except Exception as error:
        _log.warning("receiver_not_prepared", receiver=receiver.name, error=type(error).__name__)
