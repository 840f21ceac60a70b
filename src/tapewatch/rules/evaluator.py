"""Evaluates rules the moment their data arrive, and at their interval.

What comes out equals Prometheus's state machine at the union of two sets of instants: those at
which samples of a metric arrived that a rule reads, and those of its group's interval (with the
ends of ``for`` and ``keep_firing_for``). Each instant is evaluated once, in order; samples that
arrive behind an instant that was evaluated already correct only the alerts that they feed.

Two things keep this cheap. A proof from the bounds of the new samples spares most evaluations
(``prefilter``). And a rule that had to be evaluated in full rests for a multiple of the time that
took; the instants that arrive meanwhile are kept and evaluated together, none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapewatch.model.alert import Alert, AlertState, Transition, TransitionReason
from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.errors import QueryError
from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.promql.result import StepMatrix
from tapewatch.rules.alerting import RuleAlerts, ended
from tapewatch.rules.dependency import ALERTS, ALERTS_FOR_STATE, DependencyIndex
from tapewatch.rules.evidence import Evidence
from tapewatch.rules.model import AlertingRule, RecordingRule, Rule, RuleGroup
from tapewatch.rules.prefilter import Feed, Prefilter, refresh
from tapewatch.rules.queries import NewestSamples, Queries
from tapewatch.series.querier import STALE, Matcher, Times

Record = Callable[[Labels, int, float], None]

MAX_INSTANTS = 4_096
"""Instants in one evaluation; more are evaluated in parts."""
FAR_NS = (1 << 63) - 1
"""A deadline that never comes."""
REST_FACTOR = 4
"""A rule rests four times as long as its evaluation took: it never has more than a fifth."""
MIN_RULES_SHARING = 5
"""That fifth is shared by the rules that are awake, by so many at least ..."""
MAX_SHARED_REST_NS = 10 * MILLISECOND
"""... unless an alert would wait longer than this for a rule that is cheap by itself."""


@dataclass(slots=True)
class RuleHealth:
    """How a rule's evaluations go."""

    group: str
    rule: str
    index: int
    """Position in its group."""
    last_error: str = ""
    """Why the last evaluation failed; empty when it did not."""
    last_evaluation_ns: int | None = None
    """Newest instant evaluated, or proved unchanged."""
    duration_ns: int = 0
    """Of the last full evaluation; 0 when no stopwatch was given."""
    evaluations: int = 0
    """Full evaluations."""
    steady: int = 0
    """Batches that were proved to change nothing."""
    failures: int = 0


@dataclass(slots=True)
class GroupHealth:
    """How a group keeps up with its interval."""

    group: str
    source: str
    skipped: int = 0
    """Intervals that passed without an evaluation."""
    last_evaluation_ns: int | None = None
    duration_ns: int = 0


@dataclass(slots=True)
class _RuleRun:
    """A rule at work."""

    rule: Rule
    group: _GroupRun
    evidence: Evidence
    health: RuleHealth
    alerts: RuleAlerts | None = None
    """None for a recording rule."""
    prefilter: Prefilter | None = None
    pending: list[Times] = field(default_factory=list)
    """Arrival instants not evaluated yet."""
    last_ns: int = 0
    """Newest instant evaluated."""
    rest_until_ns: int = 0
    recorded: set[Labels] = field(default_factory=set)
    """Series of a recording rule's last result."""

    def take_instants(self) -> Times:
        """Take the pending instants, rising and each once, with those of time among them.

        An interval or a ``for`` that ends between two arrivals is an instant like them: something
        may have become true by then and untrue with the second.
        """
        pending, self.pending = self.pending, []
        instants = pending[0] if len(pending) == 1 else np.unique(np.concatenate(pending))
        last = int(instants[-1])
        interval = self.group.group.interval_ns
        restored = bool(self.alerts and self.alerts.episodes) and not self.last_ns
        if restored:
            # Of what was before the first arrival after a restart nothing is known.
            since = int(instants[0])
        else:
            since = self.last_ns or min(int(instants[0]), self.group.due_ns - interval)
        # A backlog of months must not make millions of instants.
        since = max(since, last - MAX_INSTANTS * interval)
        between = list(range(_next_multiple(since, interval), last, interval))
        deadline = self.alerts.deadline_ns() if self.alerts and self.alerts.episodes else None
        if deadline is not None and since < deadline < last:
            between.append(deadline)
        if not between:
            return instants
        return np.union1d(instants, np.array(between, dtype=np.int64))


@dataclass(slots=True)
class _GroupRun:
    group: RuleGroup
    health: GroupHealth
    due_ns: int
    runs: list[_RuleRun] = field(default_factory=list)


class RuleEvaluator:
    """Keeps every rule's alerts. One caller at a time; never waits, never reads a wall clock.

    In one round of the caller: first ``resolve_for`` what said goodbye, then ``on_arrival`` with
    everything that arrived, then ``on_interval`` if it is due and no backlog is being read.

    Args:
        groups: Rule groups in evaluation order.
        queries: The query engine.
        started_ns: When the daemon started; what happened before is marked replayed.
        record: Takes the samples of recording rules and of ``ALERTS``, at once readable.
        newest: Where samples that just arrived are found; without it nothing can be proved
            unchanged, and late samples correct every alert of a rule.
        monotonic: Stopwatch in seconds for durations and rests; without it no rule rests.
    """

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        queries: Queries,
        *,
        started_ns: int,
        record: Record | None = None,
        newest: NewestSamples | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._queries = queries
        self._record = record
        self._newest = newest
        self._monotonic = monotonic
        self._started_ns = started_ns
        self._orphans: list[Alert] = []
        self._set_groups(groups, started_ns)

    # -- what comes in ------------------------------------------------------------------------

    def on_arrival(self, changed: Mapping[str, Times], now_ns: int) -> list[Transition]:
        """Evaluate the rules that read what arrived.

        Args:
            changed: For each metric name the instants of its new samples, rising.
            now_ns: The time; used for rests only, the evaluation happens at the instants.

        Returns:
            Transitions by event time.
        """
        woken: dict[int, list[Times]] = {}
        for name, times in changed.items():
            if len(times):
                for position in self._index.readers(name):
                    woken.setdefault(position, []).append(times)
        if self._newest is not None:
            windows: dict[tuple[int, int], list[Feed]] = {}
            for name, feeds in self._feeds.items():
                times_of = changed.get(name)
                if times_of is not None and len(times_of):
                    window = int(times_of[0]), int(times_of[-1])
                    windows.setdefault(window, []).extend(feeds)
            for (start_ns, end_ns), feeds in windows.items():
                refresh(feeds, self._newest, start_ns, end_ns)
        for position, arrived in woken.items():
            run = self._runs[position]
            if run.group.group.event_driven and not self._is_steady(run, arrived):
                run.pending += arrived
                self._waiting.add(position)
        return self._round(now_ns)

    def on_interval(self, now_ns: int) -> list[Transition]:
        """Evaluate what time alone may change: intervals, ends of ``for``, rests that are over."""
        transitions = [
            ended(alert, TransitionReason.RULE_REMOVED, now_ns) for alert in self._orphans
        ]
        self._orphans = []
        forced: set[int] = set()
        for position, run in enumerate(self._runs):
            deadline = run.alerts.deadline_ns() if run.alerts and run.alerts.episodes else None
            if deadline is not None and deadline <= now_ns:
                self._add_instant(run, deadline, position, forced)
        due = [group for group in self._groups if group.due_ns <= now_ns]
        for group in due:
            interval = group.group.interval_ns
            missed, late_ns = divmod(now_ns - group.due_ns, interval)
            group.health.skipped += missed
            instant = now_ns - late_ns
            at = np.array([instant], dtype=np.int64)
            for run in group.runs:
                if not self._is_quiet(run, at):
                    self._add_instant(run, instant, self._position[id(run)], forced)
        transitions += self._round(now_ns, forced)
        for group in due:
            self._finish_interval(group, now_ns, forced)
        return transitions

    def settle(self, now_ns: int) -> list[Transition]:
        """Evaluate every rule that rests while instants wait, so that none is left to a crash.

        To be called before the offsets behind those instants are committed.
        """
        return self._round(now_ns, frozenset(self._waiting)) if self._waiting else []

    def next_deadline_ns(self) -> int:
        """Return when ``on_interval`` next has something to do."""
        deadlines = [group.due_ns for group in self._groups]
        deadlines += [self._runs[position].rest_until_ns for position in self._waiting]
        for run in self._runs:
            if run.alerts is not None and run.alerts.episodes:
                deadline = run.alerts.deadline_ns()
                if deadline is not None:
                    deadlines.append(deadline)
        if self._orphans:
            return 0
        return min(deadlines, default=FAR_NS)

    def resolve_for(
        self, labels: Mapping[str, str], reason: TransitionReason, now_ns: int
    ) -> list[Transition]:
        """End every alert that carries these labels, for example those of a stopped engine.

        The caller has ended the series too (stale markers), else the next evaluation raises
        alerts whose condition still holds anew.
        """
        transitions: list[Transition] = []
        for run in self._runs:
            if run.alerts is not None:
                transitions += run.alerts.end(reason, now_ns, labels)
        self._record_states(transitions)
        return transitions

    def forget_samples(self) -> None:
        """Prove nothing from samples known so far: others came that were not shown to us."""
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.forget()

    # -- life beyond one process --------------------------------------------------------------

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take up saved alerts after a restart.

        An alert whose rule is gone is resolved with that reason by the next ``on_interval``.
        """
        for alert in alerts:
            if alert.state is AlertState.RESOLVED:
                continue
            owner = next(
                (r.alerts for r in self._runs if r.alerts is not None and r.alerts.owns(alert)),
                None,
            )
            if owner is None:
                self._orphans.append(alert)
            else:
                owner.adopt(alert)

    def replace_groups(self, groups: Sequence[RuleGroup], now_ns: int) -> list[Transition]:
        """Put new rules in force; alerts of unchanged rules go on as if nothing had happened.

        Returns:
            The ends of alerts whose rule changed or went away, with that reason.
        """
        before = self._runs
        old_health = {(g.group.source, g.group.name): g for g in self._groups}
        self._set_groups(groups, now_ns)
        unclaimed = list(before)
        for run in self._runs:
            kept = next((old for old in unclaimed if _is_same(old, run)), None)
            if kept is not None:
                unclaimed.remove(kept)
                _carry_over(kept, run)
                if run.pending:
                    self._waiting.add(self._position[id(run)])
        for group in self._groups:
            known = old_health.get((group.group.source, group.group.name))
            if known is not None:
                group.health.skipped = known.health.skipped
        still = {(r.group.group.name, r.rule.name) for r in self._runs}
        transitions: list[Transition] = []
        for old in unclaimed:
            if old.alerts is not None:
                changed = (old.group.group.name, old.rule.name) in still
                reason = TransitionReason.RULE_CHANGED if changed else TransitionReason.RULE_REMOVED
                transitions += old.alerts.end(reason, now_ns)
            self._end_recorded(old, now_ns)
        self._record_states(transitions)
        for group in self._groups:
            group.due_ns = now_ns
        return transitions

    # -- what can be asked --------------------------------------------------------------------

    @property
    def groups(self) -> tuple[RuleGroup, ...]:
        """The groups in force."""
        return tuple(group.group for group in self._groups)

    def active(self) -> list[Alert]:
        """Return pending, firing and unknown alerts with their values as of now."""
        return list(self._alerts())

    def health(self) -> list[RuleHealth]:
        """Return how each rule's evaluations go, in evaluation order."""
        return [run.health for run in self._runs]

    def group_health(self) -> list[GroupHealth]:
        """Return how each group keeps up, in evaluation order."""
        return [group.health for group in self._groups]

    # -- how it is done -----------------------------------------------------------------------

    def _set_groups(self, groups: Sequence[RuleGroup], now_ns: int) -> None:
        feeds: dict[tuple[Matcher, ...], Feed] = {}
        identities: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._groups: list[_GroupRun] = []
        self._runs: list[_RuleRun] = []
        for group in groups:
            health_of_group = GroupHealth(group.name, group.source)
            due_ns = _next_multiple(now_ns, group.interval_ns)
            group_run = _GroupRun(group, health_of_group, due_ns)
            self._groups.append(group_run)
            for index, rule in enumerate(group.rules):
                health = RuleHealth(group.name, rule.name, index)
                run = _RuleRun(rule, group_run, Evidence(rule.expr), health)
                if isinstance(rule, AlertingRule):
                    identity = (rule.name, tuple(sorted(rule.labels.items())))
                    ordinal = identities.get(identity, 0)
                    identities[identity] = ordinal + 1
                    run.alerts = RuleAlerts(
                        rule, group, run.evidence, self._queries, self._started_ns, ordinal
                    )
                    # With an offset rules read older samples than those that arrive.
                    newest_are_read = group.event_driven and not group.query_offset_ns
                    if self._newest is not None and newest_are_read:
                        prefilter = Prefilter(rule.expr, feeds)
                        run.prefilter = prefilter if prefilter.is_useful else None
                group_run.runs.append(run)
                self._runs.append(run)
        self._position = {id(run): position for position, run in enumerate(self._runs)}
        self._index = DependencyIndex([run.rule for run in self._runs])
        self._waiting: set[int] = set()
        """Positions of rules with pending instants."""
        self._feeds: dict[str, list[Feed]] = {}
        """By metric name."""
        for feed in feeds.values():
            self._feeds.setdefault(feed.name, []).append(feed)

    def _is_quiet(self, run: _RuleRun, at: Times) -> bool:
        """Prove that a rule without alerts still has none at an instant of its interval.

        An alert is always looked at: its series may have ended, which no arrival tells.
        """
        if run.alerts is None or run.alerts.episodes or run.last_ns > at[0]:
            return False
        return self._is_steady(run, [at])

    def _is_steady(self, run: _RuleRun, arrived: list[Times]) -> bool:
        """Prove that the arrivals change nothing, and note them as evaluated."""
        if run.prefilter is None or run.alerts is None or run.pending or self._newest is None:
            return False
        last = arrived[0] if len(arrived) == 1 else max(arrived, key=_last)
        for feed in run.prefilter.feeds:
            if not feed.loaded:
                refresh((feed,), self._newest, int(last[0]), int(last[-1]))
        if not run.prefilter.proves_steady(run.alerts, last):
            return False
        run.last_ns = max(run.last_ns, int(last[-1]))
        run.health.last_evaluation_ns = run.last_ns
        run.health.steady += 1
        return True

    def _add_instant(self, run: _RuleRun, instant_ns: int, position: int, forced: set[int]) -> None:
        # What was evaluated at a later instant already is looked at again there.
        at_ns = max(instant_ns, run.last_ns)
        run.pending.append(np.array([at_ns], dtype=np.int64))
        self._waiting.add(position)
        forced.add(position)

    def _finish_interval(self, group: _GroupRun, now_ns: int, evaluated: set[int]) -> None:
        interval = group.group.interval_ns
        own_ns = sum(
            run.health.duration_ns for run in group.runs if self._position[id(run)] in evaluated
        )
        group.health.last_evaluation_ns = now_ns
        group.health.duration_ns = own_ns
        # A group slower than its interval leaves others as much time as it took.
        free_ns = now_ns + 2 * own_ns if own_ns > interval else now_ns
        group.health.skipped += free_ns // interval - now_ns // interval
        group.due_ns = _next_multiple(free_ns, interval)
        if self._record is not None:
            # Written again, so that the series do not look stale while nothing changes.
            for run in group.runs:
                for alert in run.alerts.alerts() if run.alerts is not None else ():
                    state = _shown_state(alert.state)
                    if state is not None:
                        self._record_alert(alert, state, max(now_ns, alert.updated_at_ns))

    def _round(self, now_ns: int, forced: Iterable[int] = ()) -> list[Transition]:
        """Evaluate waiting rules in order, each at most once.

        A rule that stands before a recording rule that it reads is evaluated behind it, if it
        was not evaluated already.
        """
        forced = frozenset(forced)
        done: set[int] = set()
        transitions: list[Transition] = []
        sharing = max(len(self._waiting), MIN_RULES_SHARING)
        moved = bool(self._waiting)
        while moved:
            moved = False
            for position, run in enumerate(self._runs):
                if position not in self._waiting or position in done:
                    continue
                if position in forced or run.rest_until_ns <= now_ns:
                    done.add(position)
                    transitions += self._run_one(position, now_ns, sharing)
                    moved = True
        transitions.sort(key=lambda t: t.event_ns)
        return transitions

    def _run_one(self, position: int, now_ns: int, sharing: int) -> list[Transition]:
        run = self._runs[position]
        self._waiting.discard(position)
        instants = run.take_instants()
        started = self._read_stopwatch()
        transitions: list[Transition] = []
        health = run.health
        try:
            for start in range(0, len(instants), MAX_INSTANTS):
                transitions += self._evaluate(run, instants[start : start + MAX_INSTANTS])
            health.last_error = ""
        except QueryError as error:
            health.last_error = str(error)
            health.failures += 1
        except Exception as error:
            # A fault of ours in one rule must not end the evaluation of all the others.
            health.last_error = f"internal error: {type(error).__name__}: {error}"
            health.failures += 1
        run.last_ns = max(run.last_ns, int(instants[-1]))
        taken_ns = round((self._read_stopwatch() - started) * SECOND)
        # One slow evaluation may be the machine's doing; the rule is judged by the faster of two.
        alone_ns = min(taken_ns, health.duration_ns) * REST_FACTOR
        run.rest_until_ns = now_ns + max(alone_ns, min(alone_ns * sharing, MAX_SHARED_REST_NS))
        health.last_evaluation_ns = run.last_ns
        health.duration_ns = taken_ns
        health.evaluations += 1
        self._record_states(transitions)
        return transitions

    def _evaluate(self, run: _RuleRun, instants: Times) -> list[Transition]:
        offset = run.group.group.query_offset_ns
        if run.alerts is None:
            self._store(run, self._queries.at(run.rule.expr, instants - offset), instants)
            return []
        late = instants[instants < run.last_ns]
        transitions: list[Transition] = []
        if len(late):
            transitions += self._correct(run, run.alerts, late)
        fresh = instants[len(late) :]
        if len(fresh):
            matrix = self._queries.at(run.rule.expr, fresh - offset)
            transitions += run.alerts.apply(_at(matrix, fresh))
        return transitions

    def _correct(self, run: _RuleRun, alerts: RuleAlerts, late: Times) -> list[Transition]:
        """Evaluate instants again whose samples arrived after they were evaluated."""
        times = np.append(late, run.last_ns)
        matrix = self._queries.at(run.rule.expr, times)
        if self._newest is None:
            return alerts.apply(matrix)
        return alerts.apply(matrix, run.evidence.arrived(self._newest, late))

    def _store(self, run: _RuleRun, matrix: StepMatrix, instants: Times) -> None:
        """Record a recording rule's result, and the end of series that it no longer has."""
        rule = run.rule
        assert isinstance(rule, RecordingRule)  # noqa: S101
        limit = run.group.group.limit
        if limit and len(matrix.labels) > limit:
            raise QueryError(
                f"exceeded the group's limit of {limit} with {len(matrix.labels)} series"
            )
        if self._record is None:
            return
        seen: set[Labels] = set()
        for index, row in enumerate(matrix.labels):
            labels = row.merged({**rule.labels, METRIC_NAME: rule.name})
            if labels in seen:
                raise QueryError(f"two results have the same labels: {labels}")
            seen.add(labels)
            present = matrix.present[index]
            values = matrix.values[index]
            if labels in run.recorded and not present[0]:
                self._record(labels, int(instants[0]), STALE)
            for at in np.flatnonzero(present).tolist():
                self._record(labels, int(instants[at]), float(values[at]))
            for at in (np.flatnonzero(present[:-1] & ~present[1:]) + 1).tolist():
                self._record(labels, int(instants[at]), STALE)
            if present[-1]:
                run.recorded.add(labels)
            else:
                run.recorded.discard(labels)
        for labels in run.recorded - seen:
            self._record(labels, int(instants[0]), STALE)
        run.recorded &= seen
        self._wake_readers(rule.name, instants)

    def _wake_readers(self, name: str, instants: Times) -> None:
        for feed in self._feeds.get(name, ()):
            feed.forget()
        for position in self._index.readers(name):
            reader = self._runs[position]
            if reader.group.group.event_driven:
                reader.pending.append(instants)
                self._waiting.add(position)

    def _record_states(self, transitions: Sequence[Transition]) -> None:
        """Write ``ALERTS`` and ``ALERTS_FOR_STATE`` where a state changed."""
        if self._record is None or not transitions:
            return
        for transition in transitions:
            alert, at_ns = transition.alert, transition.event_ns
            before, after = _shown_state(transition.previous), _shown_state(alert.state)
            if before is not None and before != after:
                self._record(_alerts_series(alert, before), at_ns, STALE)
            if after is not None:
                self._record_alert(alert, after, at_ns)
            else:
                self._record(_for_state_series(alert), at_ns, STALE)
        times = np.unique(np.array([t.event_ns for t in transitions], dtype=np.int64))
        self._wake_readers(ALERTS, times)
        self._wake_readers(ALERTS_FOR_STATE, times)

    def _record_alert(self, alert: Alert, state: str, at_ns: int) -> None:
        assert self._record is not None  # noqa: S101
        self._record(_alerts_series(alert, state), at_ns, 1.0)
        self._record(_for_state_series(alert), at_ns, alert.active_at_ns // SECOND)

    def _end_recorded(self, run: _RuleRun, now_ns: int) -> None:
        if self._record is not None:
            for labels in run.recorded:
                self._record(labels, now_ns, STALE)

    def _alerts(self) -> Iterator[Alert]:
        for run in self._runs:
            if run.alerts is not None:
                yield from run.alerts.alerts()
        yield from self._orphans

    def _read_stopwatch(self) -> float:
        return self._monotonic() if self._monotonic is not None else 0.0


def _last(times: Times) -> int:
    return int(times[-1])


def _next_multiple(at_ns: int, interval_ns: int) -> int:
    return at_ns - at_ns % interval_ns + interval_ns


def _at(matrix: StepMatrix, times: Times) -> StepMatrix:
    """Return the matrix with other instants: those of the group, not of the shifted query."""
    if matrix.times is times:
        return matrix
    return StepMatrix(times, matrix.labels, matrix.values, matrix.present)


def _is_same(old: _RuleRun, new: _RuleRun) -> bool:
    if (old.group.group.name, old.group.group.source) != (
        new.group.group.name,
        new.group.group.source,
    ):
        return False
    if isinstance(old.rule, AlertingRule) and isinstance(new.rule, AlertingRule):
        return old.rule.same_condition(new.rule)
    return old.rule == new.rule


def _carry_over(old: _RuleRun, new: _RuleRun) -> None:
    if old.alerts is not None and new.alerts is not None:
        new.alerts.episodes = old.alerts.episodes
    new.pending = old.pending
    new.last_ns = old.last_ns
    new.recorded = old.recorded
    kept = old.health
    new.health.evaluations, new.health.failures = kept.evaluations, kept.failures
    new.health.steady, new.health.last_evaluation_ns = kept.steady, kept.last_evaluation_ns


def _shown_state(state: AlertState | None) -> str | None:
    if state is AlertState.UNKNOWN:
        return AlertState.FIRING.value
    if state is AlertState.FIRING or state is AlertState.PENDING:
        return state.value
    return None


def _alerts_series(alert: Alert, state: str) -> Labels:
    return alert.labels.merged({METRIC_NAME: ALERTS, "alertstate": state})


def _for_state_series(alert: Alert) -> Labels:
    return alert.labels.merged({METRIC_NAME: ALERTS_FOR_STATE})
