"""The life of one receiver: take the most urgent notification, send it, learn from the answer.

Each receiver has a worker and a queue of its own, so one that hangs delays no other. A failure
closes a gate for a while (exponential, with jitter, or as long as the other side asked); what was
tried waits at least as long itself. While the receiver is in an outage, older news about a subject
is given up for newer news, never silently: each is reported as expired.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from tapewatch.model.clock import SECOND, Clock
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import DeliveryResult, DeliveryState, Notification
from tapewatch.notify.backoff import Backoff
from tapewatch.notify.receiver import Receiver
from tapewatch.notify.receiver_queue import Item, ReceiverQueue
from tapewatch.notify.statistics import OUTCOMES, LatencyHistogram, ReceiverStatistics

DEFER_NS = 5 * SECOND
"""When a notification that found the queue full is offered again by the outbox."""

_log = structlog.get_logger(component="notify")


class Worker:
    """Serves one receiver. All methods belong to one event loop's thread."""

    def __init__(
        self,
        receiver: Receiver,
        on_result: Callable[[DeliveryResult], None],
        *,
        clock: Clock,
        rng: random.Random,
        backoff: Backoff,
        capacity: int,
        deadline_s: float,
        max_age_ns: int,
    ) -> None:
        self.receiver = receiver
        self._on_result = on_result
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._deadline_s = deadline_s
        self._max_age_ns = max_age_ns
        self._queue = ReceiverQueue(capacity)
        self._wake = asyncio.Event()
        self._closing = False
        self._gate_ns = 0
        self._failures = 0
        self._last_error = ""
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._latency = LatencyHistogram()

    def offer(self, notification: Notification, attempts: int) -> None:
        """Queue a notification; one that waits already is not queued twice."""
        if notification.key in self._queue:
            return
        given_back = self._queue.push(notification, attempts)
        if given_back is not None:
            self._outcomes["deferred"] += 1
            again_ns = self._clock.now_ns() + DEFER_NS
            self._report(given_back, DeliveryState.QUEUED, "queue_full", next_ns=again_ns)
        self._wake.set()

    def close_when_idle(self) -> None:
        """Let ``run`` end as soon as nothing can be sent at once."""
        self._closing = True
        self._wake.set()

    def statistics(self) -> ReceiverStatistics:
        """Return what was counted so far."""
        return ReceiverStatistics(
            receiver=self.receiver.name,
            kind=self.receiver.kind,
            up=not self._last_error,
            queued=len(self._queue),
            capacity=self._queue.capacity,
            outcomes=dict(self._outcomes),
            latency_counts=tuple(self._latency.counts),
            latency_sum_s=self._latency.sum_s,
            last_error=self._last_error,
            failures=self._failures,
        )

    async def run(self) -> None:
        """Send until told to close, or cancelled."""
        while True:
            self._wake.clear()
            item = self._next()
            if item is not None:
                await self._attempt(item)
            elif self._closing:
                return
            else:
                await self._wait()

    def _next(self) -> Item | None:
        now_ns = self._clock.now_ns()
        for item in self._queue.items() if self._failures else ():
            if now_ns - item.notification.created_at_ns > self._max_age_ns:
                self._expire(item, "too_old", "given up after its time")
        if self._failures and not self.receiver.keeps_every:
            for old, newest in self._queue.superseded():
                self._expire(old, "superseded", f"superseded by {newest.notification.key}")
        return None if now_ns < self._gate_ns else self._queue.next(now_ns)

    async def _wait(self) -> None:
        ready_ns = self._queue.next_ready_ns()
        if ready_ns is None:
            await self._wake.wait()
            return
        until_ns = max(ready_ns, self._gate_ns)
        wait_s = (until_ns - self._clock.now_ns()) / SECOND
        try:
            async with asyncio.timeout(max(wait_s, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _attempt(self, item: Item) -> None:
        item.attempts += 1
        item.in_flight = True
        try:
            async with asyncio.timeout(self._deadline_s):
                await self.receiver.send(item.notification)
        except DeliveryError as error:
            self._failed(item, error)
        except TimeoutError:
            text = f"receiver {self.receiver.name!r} did not finish in {self._deadline_s:g} s"
            self._failed(item, DeliveryError(text, permanent=False))
        except Exception as error:
            # A receiver's own mistake must not end the worker; only its kind is shown, since its
            # text may hold what the receiver was sending and where.
            text = f"receiver {self.receiver.name!r} failed with {type(error).__name__}"
            self._failed(item, DeliveryError(text, permanent=False, answered=True))
        else:
            self._accepted(item)
        finally:
            item.in_flight = False

    def _accepted(self, item: Item) -> None:
        if self._last_error:
            _log.info("receiver_recovered", receiver=self.receiver.name, failures=self._failures)
        self._failures = 0
        self._gate_ns = 0
        self._last_error = ""
        self._outcomes["accepted"] += 1
        self._queue.remove(item)
        latency_ns = max(0, self._clock.now_ns() - item.notification.created_at_ns)
        self._latency.observe(latency_ns / SECOND)
        self._report(item, DeliveryState.ACCEPTED, "accepted", latency_ns=latency_ns)

    def _failed(self, item: Item, error: DeliveryError) -> None:
        text = str(error)
        if text != self._last_error:
            # The same complaint again is counted, not logged: an outage must not fill the log.
            _log.warning(
                "notification_not_accepted",
                receiver=self.receiver.name,
                key=item.notification.key,
                attempts=item.attempts,
                permanent=error.permanent,
                error=text,
            )
        self._last_error = text
        if error.permanent:
            self._outcomes["failed"] += 1
            self._queue.remove(item)
            self._report(item, DeliveryState.FAILED, "refused", error=text)
            return
        self._failures += 1
        self._outcomes["retried"] += 1
        wait_s = self._backoff.wait_s(self._failures, self._rng, error.retry_after_s)
        now_ns = self._clock.now_ns()
        self._gate_ns = now_ns + round(wait_s * SECOND)
        item.not_before_ns = self._gate_ns
        if error.answered and error.retry_after_s is None:
            item.strike()
            own_s = self._backoff.wait_s(item.attempts, self._rng)
            item.not_before_ns = max(self._gate_ns, now_ns + round(own_s * SECOND))
        self._report(item, DeliveryState.QUEUED, "retry", next_ns=item.not_before_ns, error=text)

    def _expire(self, item: Item, reason: str, text: str) -> None:
        self._queue.remove(item)
        self._outcomes["expired"] += 1
        self._report(item, DeliveryState.EXPIRED, reason, error=text)

    def _report(
        self,
        item: Item,
        state: DeliveryState,
        reason: str,
        *,
        error: str = "",
        next_ns: int | None = None,
        latency_ns: int | None = None,
    ) -> None:
        result = DeliveryResult(
            key=item.notification.key,
            receiver=self.receiver.name,
            state=state,
            attempts=item.attempts,
            at_ns=self._clock.now_ns(),
            next_attempt_ns=next_ns,
            reason=reason,
            error=error,
            latency_ns=latency_ns,
        )
        try:
            self._on_result(result)
        except Exception:
            # The row stays in the outbox and is sent again with its key; sending goes on.
            _log.exception("delivery_result_not_taken", receiver=self.receiver.name, key=result.key)
