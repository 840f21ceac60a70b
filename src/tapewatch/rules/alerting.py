"""The alerts of one rule: what each evaluation makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tapewatch.model.alert import Alert, AlertState, Transition, TransitionReason
from tapewatch.model.errors import QueryExecutionError
from tapewatch.model.labels import Labels
from tapewatch.promql.result import StepMatrix
from tapewatch.rules.agreement import AgreementIndex
from tapewatch.rules.alert_texts import AlertTexts
from tapewatch.rules.context import RuleContext
from tapewatch.rules.evidence import Evidence, EvidenceView, Fed
from tapewatch.rules.model import AlertingRule, RuleGroup, severity_of
from tapewatch.rules.queries import Queries
from tapewatch.rules.state import (
    INACTIVE,
    Change,
    Flags,
    Instance,
    Timing,
    advance,
    deadline_ns,
)
from tapewatch.series.querier import Times, Values

MAX_ALERTS = 20_000
"""Alerts of one rule whose group sets no limit: a bomb of series must not become one of alerts."""


@dataclass(slots=True)
class Episode:
    """One alert that is not inactive."""

    alert: Alert
    """As it was at its last change."""
    instance: Instance
    row: Labels
    """Labels of the result that raises it."""
    value: float
    """At the last evaluation that was true."""
    true_ns: int
    """The last instant at which the condition was found true."""
    fed: Fed | None = None
    """What fed it, while its state is unknown."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One alert's share of a result: the condition and the value at each instant."""

    labels: Labels
    """Of the result."""
    truth: Flags
    values: Values

    def since(self, first: int) -> _Row:
        """Return the row without the instants before this position."""
        return _Row(self.labels, self.truth[first:], self.values[first:])


class RuleAlerts:
    """Keeps the alerts of one rule and turns results into transitions.

    Args:
        rule: The rule.
        group: Its group: name, limit, and what vanished series mean.
        evidence: The rule's selectors.
        queries: Asked for what feeds an alert, only when its condition ends.
        started_ns: Events before it are marked replayed.
        ordinal: 0 for the first of several rules with one name and one set of labels. Later ones
            get it into their alerts' ids, so that one rule's end is not taken for the other's.
    """

    def __init__(
        self,
        rule: AlertingRule,
        group: RuleGroup,
        evidence: Evidence,
        queries: Queries,
        started_ns: int,
        ordinal: int = 0,
    ) -> None:
        self.rule = rule
        self.timing = Timing(rule.for_ns, rule.keep_firing_for_ns)
        self.episodes: dict[Labels, Episode] = {}
        """By alert labels."""
        self.texts = AlertTexts(rule)
        self._context = RuleContext(rule.expr, rule.context)
        self._group = group
        self._evidence = evidence
        self._queries = queries
        self._started_ns = started_ns
        self._suffix = f"-{ordinal}" if ordinal else ""
        self._tells_unknown = group.unknown_on_vanish and evidence.can_vanish

    # -- evaluation ---------------------------------------------------------------------------

    def apply(
        self, matrix: StepMatrix, arrived: Iterable[Labels] | None = None
    ) -> list[Transition]:
        """Take the rule's result at some instants.

        Args:
            matrix: The result; its instants rise.
            arrived: None for instants that lie behind all earlier ones. For instants that were
                evaluated before some of their samples arrived: the series that arrived since.
                Only alerts that these may feed are looked at again.

        Raises:
            QueryExecutionError: Two results have the same labels, or the group's limit would be
                exceeded; alerts stay as they are.
        """
        self._context.forget()
        view = EvidenceView(self._evidence, self._queries, matrix.times)
        rows = self._rows(matrix)
        known = list(self.episodes)
        if arrived is not None:
            late = AgreementIndex(arrived)
            rows = {key: row for key, row in rows.items() if late.agreeing(row.labels)}
            known = [key for key in known if late.agreeing(self.episodes[key].row)]
        self._check_limit(rows)
        transitions: list[Transition] = []
        for labels in dict.fromkeys((*known, *rows)):
            episode = self.episodes.get(labels)
            first = 0
            if arrived is not None and episode is not None:
                # What was told of an alert stands: late data count from its last change on.
                first = int(matrix.times.searchsorted(episode.alert.updated_at_ns))
            transitions += self._follow(labels, rows.get(labels), matrix.times, first, view)
        transitions.sort(key=lambda t: t.event_ns)
        return transitions

    def _rows(self, matrix: StepMatrix) -> dict[Labels, _Row]:
        rows: dict[Labels, _Row] = {}
        for labels, row in self._split(matrix):
            other = rows.get(labels)
            if other is None:
                rows[labels] = row
                continue
            if bool((other.truth & row.truth).any()):
                raise QueryExecutionError(
                    "two results have the same labels after the rule's labels are applied: "
                    f"{labels}"
                )
            # Different series one after the other, for example an engine's next run.
            values = np.where(row.truth, row.values, other.values)
            rows[labels] = _Row(other.labels, other.truth | row.truth, values)
        return rows

    def _split(self, matrix: StepMatrix) -> Iterator[tuple[Labels, _Row]]:
        for index, row in enumerate(matrix.labels):
            truth, values = matrix.present[index], matrix.values[index]
            if not self.texts.labels_use_value:
                first = int(truth.argmax())
                yield self.texts.labels(row, float(values[first])), _Row(row, truth, values)
                continue
            # The value is part of the identity: each instant belongs to the alert it names.
            by_labels: dict[Labels, list[int]] = {}
            for at in np.flatnonzero(truth).tolist():
                by_labels.setdefault(self.texts.labels(row, float(values[at])), []).append(at)
            for labels, places in by_labels.items():
                own = np.zeros(len(truth), dtype=np.bool_)
                own[places] = True
                yield labels, _Row(row, own, values)

    def _check_limit(self, rows: Mapping[Labels, _Row]) -> None:
        limit = self._group.limit or MAX_ALERTS
        new = rows.keys() - self.episodes.keys()
        if new and len(self.episodes) + len(new) > limit:
            whose = "the group's limit" if self._group.limit else "a rule's limit"
            raise QueryExecutionError(
                f"exceeded {whose} of {limit} with {len(self.episodes) + len(new)} alerts"
            )

    def _follow(
        self, labels: Labels, row: _Row | None, times: Times, first: int, view: EvidenceView
    ) -> list[Transition]:
        """Run one alert's state machine over the instants from position ``first`` on."""
        episode = self.episodes.get(labels)
        if row is not None:
            row = row.since(first)
        times = times[first:]
        truth = row.truth if row is not None else np.zeros(len(times), dtype=np.bool_)
        instance = episode.instance if episode is not None else INACTIVE
        vanished = None
        fed: list[Fed] = []
        if self._tells_unknown and not truth.all():

            def vanished() -> Flags:
                of = row.labels if row is not None else episode.row if episode else labels
                fed.append(_fed(episode, of, truth, first, view))
                return view.vanished(of, fed[0])[first:]

        after, changes = advance(instance, times, truth, self.timing, vanished)
        transitions = []
        for change in changes:
            episode, transition = self._change(change, labels, row, episode)
            transitions.append(transition)
        if episode is None:
            self.episodes.pop(labels, None)
        else:
            self.episodes[labels] = episode
            episode.instance = after
            if after.phase is AlertState.UNKNOWN:
                episode.fed = fed[0] if fed else episode.fed
            if row is not None and truth.any():
                last = len(truth) - 1 - int(truth[::-1].argmax())
                episode.value = float(row.values[last])
                episode.true_ns = int(times[last])
                episode.row = row.labels
        return transitions

    def _change(
        self, change: Change, labels: Labels, row: _Row | None, episode: Episode | None
    ) -> tuple[Episode | None, Transition]:
        """Make one change of state an episode and a transition."""
        at_ns = change.at_ns
        phase = change.after.phase
        replayed = at_ns < self._started_ns
        if change.before.phase is None or episode is None:
            assert row is not None and phase is not None  # noqa: S101
            value = float(row.values[change.index])
            fingerprint = labels.fingerprint()
            alert = Alert(
                id=f"{fingerprint}-{at_ns:x}{self._suffix}",
                fingerprint=fingerprint,
                rule=self.rule.name,
                group=self._group.name,
                severity=severity_of(labels.as_dict()),
                state=phase,
                labels=labels,
                annotations=self.texts.annotations(row.labels, value),
                value=value,
                active_at_ns=at_ns,
                updated_at_ns=at_ns,
                fired_at_ns=change.after.fired_at_ns,
                reason=change.reason,
                replayed=replayed,
                context=self._context.look_up(self._queries, labels, at_ns),
            )
            return (
                Episode(alert, change.after, row.labels, value, at_ns),
                Transition(alert, None, at_ns),
            )
        before = episode.alert
        # A correction by late data never goes back behind what was told.
        shown_ns = max(at_ns, before.updated_at_ns)
        value = episode.value
        if row is not None:
            told = np.flatnonzero(row.truth[: change.index + 1])
            if len(told):
                value = float(row.values[told[-1]])
                episode.row = row.labels
        ended = phase is None
        alert = replace(
            before,
            state=AlertState.RESOLVED if phase is None else phase,
            annotations=self.texts.annotations(episode.row, value),
            value=value,
            updated_at_ns=shown_ns,
            fired_at_ns=before.fired_at_ns or change.after.fired_at_ns,
            resolved_at_ns=shown_ns if ended else None,
            reason=change.reason,
            replayed=replayed,
            context=before.context if ended else self._look_up(before, at_ns),
        )
        transition = Transition(alert, before.state, at_ns)
        if ended:
            return None, transition
        return Episode(alert, change.after, episode.row, value, episode.true_ns), transition

    def _look_up(self, alert: Alert, at_ns: int) -> Mapping[str, float | str | bool | None]:
        return self._context.look_up(self._queries, alert.labels, at_ns)

    # -- what happens without an evaluation ---------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when the passing of time alone may next change an alert."""
        deadlines = (deadline_ns(e.instance, self.timing) for e in self.episodes.values())
        return min((d for d in deadlines if d is not None), default=None)

    def end(
        self, reason: TransitionReason, now_ns: int, labels: Mapping[str, str] | None = None
    ) -> list[Transition]:
        """Resolve the alerts that carry these labels, all if None."""
        transitions = []
        for key, episode in list(self.episodes.items()):
            if labels is not None and any(key.get(n) != v for n, v in labels.items()):
                continue
            del self.episodes[key]
            transitions.append(ended(episode.alert, reason, now_ns))
        return transitions

    def adopt(self, alert: Alert) -> None:
        """Take up an alert that was saved, as it was."""
        self.episodes[alert.labels] = Episode(
            alert=alert,
            instance=Instance(alert.state, alert.active_at_ns, alert.fired_at_ns),
            row=alert.labels.without(*self.texts.plain_labels),
            value=alert.value if alert.value is not None else float("nan"),
            true_ns=alert.updated_at_ns,
        )

    def owns(self, alert: Alert) -> bool:
        """Return True when a saved alert is one of this rule's."""
        return (
            alert.rule == self.rule.name
            and alert.group == self._group.name
            and alert.id.count("-") == (2 if self._suffix else 1)
            and alert.id.endswith(self._suffix)
            and all(alert.labels.get(n) == v for n, v in self.texts.plain_labels.items())
        )

    def alerts(self) -> Iterator[Alert]:
        """Yield every alert that is not inactive, with its value and texts as of now."""
        for episode in self.episodes.values():
            alert = episode.alert
            if alert.value != episode.value:
                texts = self.texts.annotations(episode.row, episode.value)
                alert = episode.alert = replace(alert, value=episode.value, annotations=texts)
            yield alert


def _fed(episode: Episode | None, row: Labels, truth: Flags, first: int, view: EvidenceView) -> Fed:
    """Return what fed the alert at its last true evaluation."""
    first_false = int((~truth).argmax())
    if first_false:
        return view.fed_at(row, first + first_false - 1)
    if episode is None:
        # It turns true behind the first of these instants.
        return view.fed_at(row, first + int(truth.argmax()))
    if episode.fed is not None:
        return episode.fed
    return view.fed_before(row, episode.true_ns)


def ended(alert: Alert, reason: TransitionReason, now_ns: int) -> Transition:
    """Return the transition that ends an alert for a reason that is no evaluation."""
    at_ns = max(now_ns, alert.updated_at_ns)
    over = replace(
        alert,
        state=AlertState.RESOLVED,
        updated_at_ns=at_ns,
        resolved_at_ns=at_ns,
        reason=reason,
    )
    return Transition(over, alert.state, now_ns)
