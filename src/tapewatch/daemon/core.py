"""The daemon's one loop: read, judge, evaluate, commit, tell; in this order, in one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from tapewatch.alerts.book import AlertBook
from tapewatch.daemon.book_keeping import book_changes
from tapewatch.daemon.effects import PendingEffects
from tapewatch.daemon.engines import Engine
from tapewatch.daemon.fleet import Fleet
from tapewatch.daemon.steady_clock import JUMP_NS, SteadyClock
from tapewatch.daemon.wakefulness import Wakefulness
from tapewatch.ingest.batch import IngestBatch
from tapewatch.model.alert import Alert, Transition, TransitionReason
from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.errors import StorageError
from tapewatch.model.labels import Labels
from tapewatch.model.notification import DeliveryResult, Notification
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.series.head import Head
from tapewatch.storage.state import StateStore

T = TypeVar("T")

BUSY_WAIT_NS = 2 * MILLISECOND
IDLE_WAIT_NS = 10 * MILLISECOND
STILL_NS = SECOND
"""So long after the last record engines count as moving, and are looked at more often."""
QUIET_NS = SECOND // 40
"""While nothing arrives, what is not a deadline is looked after this often."""
COMMIT_NS = SECOND // 4
"""Offsets and counts without an effect are made durable at least this often."""
DELIVERED_NS = 20 * MILLISECOND
"""How long a delivery may stay undurable: after a crash it is made again, with the same key."""
RETRY_COMMIT_NS = SECOND
REFRESH_NS = 15 * SECOND
"""Own series are written again after this, so that they never look stale."""
COUNT_NS = SECOND
"""Own counters that moved are written this often."""
DEFERRED = "queue_full"
"""The dispatcher's word for a notification that found no room."""
REDELIVER_NS = 5 * SECOND
"""How often the outbox is asked for what a full queue sent back."""
REPLAY_NS = 60 * SECOND
"""Events older than this when they are read come from a backlog, not from the present."""

RETIRED = "retired/"
"""Prefix of the stored values that say which runs of an engine are over for good."""

log = structlog.get_logger(component="monitoring")
alert_log = structlog.get_logger(component="alert")


@dataclass(slots=True)
class CoreCounts:
    """What the loop counts about itself."""

    rounds: int = 0
    ticks: int = 0
    commits: int = 0
    commit_failures: int = 0
    longest_round_ns: int = 0


class Core:
    """Owns every part that decides. Only its own thread touches them.

    Other threads hand in work with ``submit`` and hear of results through the futures it gives.
    The order within a round is what makes effects exactly-once:

    1. Read tapes into the head (memory only).
    2. Evaluate the rules that read what arrived; then the timers that are due.
    3. Ask the book who is to be told.
    4. Commit offsets, counts, transitions and notifications in one transaction.
    5. Only then hand notifications to the dispatcher.

    A crash before 4 forgets the whole round and reads it again; a crash after it finds the
    notifications in the outbox. If 4 fails the alerts still go out, and 4 is tried again with
    everything since: telling twice with one key is better than not telling.
    """

    def __init__(
        self,
        *,
        clock: SteadyClock,
        head: Head,
        fleet: Fleet,
        evaluator: RuleEvaluator,
        book: AlertBook,
        state: StateStore,
        durable_samples: Mapping[str, Mapping[str, Any]],
        offer: Callable[[Notification, int], None],
        own_samples: Callable[[], Iterable[tuple[Labels, float]]],
        on_round: Callable[[Core, int], None],
        on_transition: Callable[[Transition], None],
    ) -> None:
        self.clock = clock
        self.head = head
        self.fleet = fleet
        self.evaluator = evaluator
        self.book = book
        self.state = state
        self.counts = CoreCounts()
        self.pending = PendingEffects()
        self.caught_up = False
        self.engines_changed = True
        """An engine's state may be another; whoever shows it takes the mark away."""
        self.round_ended_ns = clock.now_ns()
        self.storage_reason = ""
        """Why the last commit failed; empty while storage works."""
        self.clock_deviation_ns = 0
        self.committed: dict[str, dict[str, Any]] = {}
        self._durable_samples = durable_samples
        self._offer = offer
        self._own_samples = own_samples
        self._on_round = on_round
        self._on_transition = on_transition
        self._work: deque[Callable[[], None]] = deque()
        self._results: deque[DeliveryResult] = deque()
        self._published: dict[Labels, tuple[float, int]] = {}
        self._stopping = threading.Event()
        self.wakefulness = Wakefulness(self.round_ended_ns)
        self._commit_due_ns = 0
        self._count_due_ns = 0
        self._moved_ns = 0
        self._quiet_until_ns = 0
        self._saved_revision = -1
        self._rules_due_ns = 0
        self._deferred = False
        self._redeliver_due_ns = 0

    # -- from other threads -------------------------------------------------------------------

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run something between two rounds; the future tells its result or its exception."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)

        self._work.append(run)
        self.fleet.watch.wake()
        return future

    def delivered(self, result: DeliveryResult) -> None:
        """Hear from the dispatcher what became of a notification."""
        self._results.append(result)
        self.fleet.watch.wake()

    def stop(self) -> None:
        """End the loop after the round in progress."""
        self._stopping.set()
        self.fleet.watch.wake()

    def run(self) -> None:
        """Go round until stopped, then commit what is pending."""
        while not self._stopping.is_set():
            self.round()

    def finish(self) -> None:
        """Commit everything that is left; the loop has ended."""
        while self._work:
            self._work.popleft()()
        self._take_results()
        self.commit_now()

    # -- one round ----------------------------------------------------------------------------

    def round(self) -> None:
        """Wait until something may have happened, and see it through."""
        dead = self.fleet.watch.wait(self._wait_ms())
        now = self._wake_up()
        asked = bool(self._work or self._results)
        while self._work:
            self._work.popleft()()
        self._take_results()

        batch = IngestBatch()
        more = self.fleet.poll(batch, dead, now, self._awake(now), self.clock_deviation_ns)
        moving = batch.records > 0 or more
        if moving:
            self._moved_ns = now
        self.counts.rounds += 1
        if now < self._quiet_until_ns and not (asked or dead or moving):
            self.round_ended_ns = now
            return
        self._see_through(batch, dead, now, more=more)
        self.round_ended_ns = self.clock.now_ns()
        self.wakefulness.end(self.round_ended_ns, time.process_time_ns())
        self.counts.longest_round_ns = max(self.counts.longest_round_ns, self.round_ended_ns - now)
        self._quiet_until_ns = self._next_due_ns(now)

    def _see_through(
        self, batch: IngestBatch, dead: Sequence[Path], now: int, *, more: bool
    ) -> None:
        found = self.fleet.discover(now, self._awake(now))
        if found:
            # What a tape held already has come into the head unseen.
            self.evaluator.forget_samples()
            more |= self.fleet.poll(batch, (), now, self._awake(now), self.clock_deviation_ns)
        changed_engines = self.fleet.judge(self._awake(now)) if not more else []
        self.engines_changed |= bool(dead or found or changed_engines)
        self._publish(batch, now, at_once=bool(dead or found or changed_engines))

        transitions = self._evaluate(batch, now, more=more)
        self.take(transitions, now)
        if not more and not self.caught_up:
            self.caught_up = True
            self._notify(self.book.caught_up(now))
        deadline = self.book.next_deadline_ns()
        if self.caught_up and deadline is not None and now >= deadline:
            self._notify(self.book.on_timer(now))
        if batch.records:
            self.pending.add_events(batch.events)
            self.counts.ticks += batch.ticks
        self._commit_if_due(now, moved=batch.records > 0 or bool(dead))
        self._offer_deferred(now)
        self.fleet.release(self._released(), now)

        self._on_round(self, now)

    def _next_due_ns(self, now: int) -> int:
        """Return until when a round in which nothing arrives has nothing to do."""
        due = min(now + QUIET_NS, self._rules_due_ns)
        book, stall = self.book.next_deadline_ns(), self.fleet.deadline_ns()
        if book is not None:
            due = min(due, book)
        if stall is not None:
            due = min(due, stall + self.wakefulness.slept_ns)
        return due

    def _wait_ms(self) -> float:
        if self._work or self._results:
            return 0
        now = self.clock.now_ns()
        wait = BUSY_WAIT_NS if now - self._moved_ns < STILL_NS else IDLE_WAIT_NS
        for deadline in (self._rules_due_ns, self.book.next_deadline_ns()):
            if deadline is not None:
                wait = min(wait, max(deadline - now, 0))
        return wait / MILLISECOND

    def _wake_up(self) -> int:
        now = self.clock.now_ns()
        slept = self.wakefulness.begin(now, time.process_time_ns())
        if slept:
            log.warning("daemon_slept", seconds=round(slept / SECOND, 3))
        deviation = self.clock.deviation_ns()
        self.clock_deviation_ns = deviation if abs(deviation) > JUMP_NS else 0
        return now

    def _awake(self, now: int) -> int:
        return self.wakefulness.awake_ns(now)

    def _publish(self, batch: IngestBatch, now: int, *, at_once: bool) -> None:
        """Write the daemon's own series where they changed or would soon look stale."""
        if not at_once and now < self._count_due_ns:
            return
        self._count_due_ns = now + COUNT_NS
        self.fleet.hear_writers()
        for engine in self.fleet.engines.values():
            for labels, value in engine.samples():
                self._publish_one(batch, labels, value, now)
        for labels, value in self._own_samples():
            self._publish_one(batch, labels, value, now)

    def _publish_one(self, batch: IngestBatch, labels: Labels, value: float, now: int) -> None:
        before = self._published.get(labels)
        if before is not None and before[0] == value and now - before[1] < REFRESH_NS:
            return
        self._published[labels] = (value, now)
        self.head.append(labels, now, value)
        batch.touch_at(labels.name, now)

    def _evaluate(self, batch: IngestBatch, now: int, *, more: bool) -> list[Transition]:
        transitions: list[Transition] = []
        while self.fleet.stopped:
            engine = self.fleet.stopped.pop()
            transitions += self.evaluator.resolve_for(
                {"engine": engine.name}, TransitionReason.ENGINE_STOPPED, now
            )
        if batch.changed:
            transitions += self.evaluator.on_arrival(batch.arrivals(), now)
            self._rules_due_ns = self.evaluator.next_deadline_ns()
        # Timers and absence are judged only on data that are complete: a backlog that is still
        # being read would look like silence.
        if not more and now >= self._rules_due_ns:
            transitions += self.evaluator.on_interval(now)
            self._rules_due_ns = self.evaluator.next_deadline_ns()
        return [self._dated(t, now) for t in transitions]

    def _dated(self, transition: Transition, now: int) -> Transition:
        """Mark a transition that was found in a backlog."""
        if self.caught_up or now - transition.event_ns <= REPLAY_NS:
            return transition
        return replace(transition, alert=replace(transition.alert, replayed=True))

    def take(self, transitions: list[Transition], now: int) -> None:
        """Let transitions take effect: stored, told, shown."""
        if not transitions:
            return
        transitions = [
            replace(t, alert=self.book.with_acknowledgement(t.alert)) for t in transitions
        ]
        notifications = self.book.on_transitions(transitions, now)
        for transition in transitions:
            alert = transition.alert
            self._on_transition(transition)
            if transition.notifies:
                alert_log.info(
                    "alert_changed",
                    alertname=alert.rule,
                    state=alert.state.value,
                    severity=alert.severity.name,
                    reason=alert.reason.value,
                    labels=alert.labels.as_dict(),
                    value=alert.value,
                )
        self.pending.transitions += transitions
        self.pending.urgent |= any(t.notifies for t in transitions)
        self._notify(notifications)

    def _notify(self, notifications: list[Notification]) -> None:
        self.pending.notifications += notifications
        self.pending.urgent |= bool(notifications)

    def _take_results(self) -> None:
        while self._results:
            result = self._results.popleft()
            self._deferred |= result.reason == DEFERRED
            self.pending.deliveries.append(result)
            self._commit_due_ns = min(self._commit_due_ns, result.at_ns + DELIVERED_NS)

    # -- durability ---------------------------------------------------------------------------

    def _commit_if_due(self, now: int, *, moved: bool) -> None:
        if moved:
            self.pending.offsets.update(self.fleet.positions())
        if self.pending.is_empty and not self.storage_reason:
            return
        if self.storage_reason:
            # Storage is down: alerts go out from memory, and durability is tried again later.
            self._hand_over()
            if now < self._commit_due_ns:
                return
        elif not self.pending.urgent and now < self._commit_due_ns:
            return
        self._commit(now)

    def _commit(self, now: int) -> None:
        # Instants that wait for a resting rule lie behind the offsets that are committed now.
        self.take([self._dated(t, now) for t in self.evaluator.settle(now)], now)
        pending = self.pending
        pending.engines |= {e.name: e.to_saved() for e in self.fleet.engines.values()}
        pending.values["timeline"] = self.clock.to_saved()
        if self.book.revision != self._saved_revision:
            self._saved_revision = self.book.revision
            pending.values |= book_changes(self.book)
        try:
            self.state.commit(pending)
        except StorageError as error:
            self.counts.commit_failures += 1
            if self.storage_reason != error.message:
                log.error("commit_failed", reason=error.message)
            self.storage_reason = error.message
            self._commit_due_ns = now + RETRY_COMMIT_NS
            self._hand_over()
            return
        if self.storage_reason:
            log.info("commit_works_again")
            self.storage_reason = ""
        self.counts.commits += 1
        self.committed.update({k: dict(v) for k, v in pending.offsets.items() if v is not None})
        self._commit_due_ns = now + COMMIT_NS
        self._hand_over()
        pending.clear()

    def _hand_over(self) -> None:
        """Give notifications to the dispatcher, each once."""
        for notification in self.pending.notifications[self.pending.handed_over :]:
            self._offer(notification, 0)
        self.pending.handed_over = len(self.pending.notifications)

    def _offer_deferred(self, now: int) -> None:
        """Offer again what found a receiver's queue full and went back to the outbox."""
        if not self._deferred or now < self._redeliver_due_ns or self.storage_reason:
            return
        self._redeliver_due_ns = now + REDELIVER_NS
        rows = self.state.due(now)
        self._deferred = bool(rows)
        for row in rows:
            self._offer(row.notification, row.attempts)

    def _released(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the positions behind both watermarks: the samples' one is never ahead."""
        return self._durable_samples

    def commit_now(self) -> None:
        """Commit what is pending, for a caller that needs offsets and effects to agree."""
        now = self.clock.now_ns()
        self.pending.offsets.update(self.fleet.positions())
        if not self.pending.is_empty and not (self.storage_reason and now < self._commit_due_ns):
            self._commit(now)

    def close_ended(self, durable: Mapping[str, Any]) -> None:
        """Let go of tapes read to their end, now that their samples are durable too."""
        ended = self.fleet.ended_before(durable)
        for source in ended:
            self.pending.offsets[source] = {"done": True}
        self.fleet.forget_ended(ended)

    # -- commands -----------------------------------------------------------------------------

    def acknowledge(self, target: str, by: str, note: str) -> list[Alert]:
        """Put an alert into a person's hands and make that durable.

        Raises:
            UnknownAlertError: No active alert is named so.
            StorageError: It could not be made durable; it holds in memory all the same.
        """
        now = self.clock.now_ns()
        taken = self.book.acknowledge(target, by, note, now)
        self.pending.transitions += taken.transitions
        self._notify(list(taken.notifications))
        self.pending.urgent = True
        self._commit(now)
        if self.storage_reason:
            raise StorageError(
                f"the acknowledgement is in force but not durable: {self.storage_reason}",
                next_step="repair the storage; it is written as soon as that works again",
            )
        return list(taken.alerts)

    def retire(self, name: str) -> bool:
        """Forget an engine that will not come back; False while a process of it is known to live.

        Raises:
            KeyError: No engine has this name.
        """
        engine = self.fleet.retire(name)
        if engine is None:
            return False
        now = self.clock.now_ns()
        for labels, _ in engine.samples():
            self._published.pop(labels, None)
            self.head.mark_stale([labels], now)
        self.take(
            self.evaluator.resolve_for({"engine": name}, TransitionReason.ENGINE_RETIRED, now),
            now,
        )
        self.engines_changed = True
        self.pending.engines[name] = None
        self.pending.values[RETIRED + name] = engine.started_ns
        self.pending.urgent = True
        self._commit(now)
        return True

    def engines(self) -> list[Engine]:
        """Return every engine known."""
        return list(self.fleet.engines.values())
