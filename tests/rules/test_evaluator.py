"""Timelines of rule evaluation: at t this arrives, by t' exactly these transitions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tapewatch.model.alert import AlertState, TransitionReason
from tapewatch.model.clock import SECOND
from tapewatch.model.labels import Labels
from tapewatch.series.querier import is_stale

SIMPLE = """
  - alert: High
    expr: x > 5
    labels: {severity: critical}
    annotations: {summary: '{{ $labels.engine }} is at {{ $value }}'}
"""
HELD = """
  - alert: Held
    expr: x > 5
    for: 10s
"""


def test_every_value_between_two_batches_counts_and_the_alert_fires_and_ends_in_one(
    world: Any,
) -> None:
    w = world(SIMPLE)
    out = w.arrive({'x{engine="a"}': [(1, 1), (2, 9), (3, 2), (4, 3)]})
    assert w.words(out) == [(2, "High", None, "firing"), (3, "High", "firing", "resolved")]
    assert out[0].alert.message == "a is at 9"
    assert out[1].alert.value == 9
    assert out[0].alert.id == out[1].alert.id
    assert out[1].alert.resolved_at_ns == w.at(3)


def test_the_alert_id_is_its_fingerprint_and_the_instant_it_turned_true(world: Any) -> None:
    w = world(SIMPLE)
    alert = w.arrive({'x{engine="a"}': [(2, 9)]})[0].alert
    assert alert.id == f"{alert.labels.fingerprint()}-{w.at(2):x}"
    assert alert.labels.as_dict() == {"alertname": "High", "engine": "a", "severity": "critical"}
    assert (alert.severity.label, alert.group) == ("critical", "g")


def test_engines_have_alerts_of_their_own(world: Any) -> None:
    w = world(SIMPLE)
    out = w.arrive({'x{engine="a"}': [(2, 9)], 'x{engine="b"}': [(2.5, 1), (3, 7)]})
    assert w.words(out) == [(2, "High", None, "firing"), (3, "High", None, "firing")]
    assert [t.alert.labels.get("engine") for t in out] == ["a", "b"]


def test_for_counts_event_time_inside_one_batch(world: Any) -> None:
    w = world(HELD)
    out = w.arrive({"x": [(1, 9), (6, 9), (11, 9), (12, 1)]})
    assert w.words(out) == [
        (1, "Held", None, "pending"),
        (11, "Held", "pending", "firing"),
        (12, "Held", "firing", "resolved"),
    ]


def test_a_pending_alert_fires_at_its_deadline_without_any_arrival(world: Any) -> None:
    w = world(HELD)
    w.arrive({"x": [(1, 9)]})
    assert w.evaluator.next_deadline_ns() == w.at(11)
    assert w.words(w.interval(11.004)) == [(11, "Held", "pending", "firing")]
    assert w.evaluator.active()[0].fired_at_ns == w.at(11)


def test_a_pending_alert_that_clears_leaves_nothing_behind(world: Any) -> None:
    w = world(HELD)
    w.arrive({"x": [(1, 9)]})
    out = w.arrive({"x": [(2, 1)]})
    assert w.words(out) == [(2, "Held", "pending", "resolved")]
    assert not out[0].notifies
    assert out[0].alert.fired_at_ns is None
    assert w.evaluator.active() == []


def test_keep_firing_for_ends_at_its_deadline_without_any_arrival(world: Any) -> None:
    w = world("  - {alert: Kept, expr: x > 5, keep_firing_for: 30s}")
    w.arrive({"x": [(1, 9), (2, 1)]})
    assert w.evaluator.active()[0].state is AlertState.FIRING
    deadline = w.evaluator.next_deadline_ns()
    out = []
    while w.evaluator.next_deadline_ns() <= w.at(32):
        deadline = w.evaluator.next_deadline_ns()
        out += w.evaluator.on_interval(deadline)
    assert w.words(out) == [(32, "Kept", "firing", "resolved")]


@pytest.mark.requirement("F59")
def test_in_a_pack_a_firing_alert_whose_series_end_is_unknown(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    out = w.stale(2, 'x{engine="a"}')
    assert w.words(out) == [(2, "High", "firing", "unknown")]
    assert out[0].alert.reason is TransitionReason.SERIES_VANISHED
    back = w.arrive({'x{engine="a"}': [(3, 8)]})
    assert w.words(back) == [(3, "High", "unknown", "firing")]
    assert back[0].alert.reason is TransitionReason.SERIES_RETURNED


@pytest.mark.requirement("F59")
def test_an_unknown_alert_is_resolved_when_the_series_come_back_below_the_limit(
    world: Any,
) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    w.stale(2, 'x{engine="a"}')
    assert w.words(w.arrive({'x{engine="a"}': [(3, 2)]})) == [(3, "High", "unknown", "resolved")]


def test_in_an_imported_file_it_resolves_as_in_prometheus(world: Any) -> None:
    w = world(SIMPLE, unknown=False)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    assert w.words(w.stale(2, 'x{engine="a"}')) == [(2, "High", "firing", "resolved")]


@pytest.mark.requirement("F59")
def test_series_that_fall_silent_make_the_alert_unknown_when_no_query_finds_them_any_more(
    world: Any,
) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    out = []
    for second in range(15, 331, 15):
        out += w.interval(second)
    assert w.words(out) == [(315, "High", "firing", "unknown")]


def test_another_engines_series_do_not_keep_an_alert_known(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)], 'x{engine="b"}': [(1, 1)]})
    assert w.words(w.stale(2, 'x{engine="a"}')) == [(2, "High", "firing", "unknown")]


def test_if_either_side_of_a_join_vanishes_the_alert_is_unknown(world: Any) -> None:
    w = world("  - {alert: Both, expr: x > 5 and on (engine) y == 1}")
    w.arrive({'x{engine="a"}': [(1, 9)], 'y{engine="a"}': [(1, 1)]})
    assert w.words(w.stale(2, 'y{engine="a"}')) == [(2, "Both", "firing", "unknown")]
    assert w.words(w.arrive({'y{engine="a"}': [(3, 0)]})) == [(3, "Both", "unknown", "resolved")]


def test_one_of_many_series_behind_a_sum_may_go(world: Any) -> None:
    w = world("  - {alert: Sum, expr: sum by (engine) (x) > 5}")
    w.arrive({'x{engine="a",s="1"}': [(1, 4)], 'x{engine="a",s="2"}': [(1, 4)]})
    assert w.words(w.stale(2, 'x{engine="a",s="1"}')) == [(2, "Sum", "firing", "resolved")]


def test_rules_of_absence_never_become_unknown(world: Any) -> None:
    w = world("  - {alert: Gone, expr: absent(x)}")
    assert w.words(w.interval(15)) == [(15, "Gone", None, "firing")]
    assert w.words(w.arrive({"x": [(16, 1)]})) == [(16, "Gone", "firing", "resolved")]


def test_rules_of_time_are_judged_at_the_interval(world: Any) -> None:
    w = world("  - {alert: Old, expr: time() - stamp > 60}")
    w.arrive({"stamp": [(1, w.start / SECOND)]})
    out = []
    for second in range(15, 91, 15):
        out += w.interval(second)
    assert w.words(out) == [(75, "Old", None, "firing")]


def test_a_recording_rule_feeds_rules_behind_it_and_before_it_at_the_same_instant(
    world: Any,
) -> None:
    w = world(
        """
  - {alert: Before, expr: double > 10}
  - {record: double, expr: x * 2, labels: {kind: made}}
  - {alert: Behind, expr: double > 10}
"""
    )
    out = w.arrive({'x{engine="a"}': [(1, 2), (2, 6)]})
    assert w.words(out) == [(2, "Behind", None, "firing"), (2, "Before", None, "firing")]
    assert [r for r in w.recorded if r[0].startswith("double")] == [
        ('double{engine="a", kind="made"}', 1, 4),
        ('double{engine="a", kind="made"}', 2, 12),
    ]


def test_a_recording_rules_series_ends_when_its_source_does(world: Any) -> None:
    w = world("  - {record: double, expr: x * 2}")
    w.arrive({"x": [(1, 2)]})
    w.stale(2, "x")
    name, at, value = w.recorded[-1]
    assert (name, at) == ("double", 2)
    assert math.isnan(value)
    import numpy as np

    assert is_stale(np.array([value])).all()


def test_the_state_of_alerts_is_recorded_as_series(world: Any) -> None:
    w = world(HELD + "  - {alert: Meta, expr: 'count(ALERTS{alertstate=\"firing\"}) > 0'}")
    w.arrive({"x": [(1, 9)]})
    out = w.interval(11)
    assert w.words(out) == [(11, "Held", "pending", "firing"), (11, "Meta", None, "firing")]
    states = [(n, at) for n, at, v in w.recorded if v == v and "Held" in n]
    assert ('ALERTS{alertname="Held", alertstate="pending"}', 1) in states
    assert ('ALERTS{alertname="Held", alertstate="firing"}', 11) in states
    since = [v for n, _, v in w.recorded if n.startswith("ALERTS_FOR_STATE") and "Held" in n]
    assert since[0] == w.at(1) // SECOND


def test_an_unknown_alert_shows_as_firing_in_the_series(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    w.stale(2, 'x{engine="a"}')
    w.interval(15)
    assert w.recorded[-2][:2] == (
        'ALERTS{alertname="High", alertstate="firing", engine="a", severity="critical"}',
        15,
    )


def test_late_samples_of_one_engine_do_not_disturb_the_alerts_of_another(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="b"}': [(9, 1), (10, 9)]})
    # Engine a's samples of 8 to 9.5 come after those instants were evaluated.
    out = w.arrive({'x{engine="a"}': [(8, 1), (9, 7), (9.5, 2)]}, now=10.1)
    assert [(t.alert.labels.get("engine"), *x) for t, x in zip(out, w.words(out), strict=True)] == [
        ("a", 9, "High", None, "firing"),
        ("a", 9.5, "High", "firing", "resolved"),
    ]
    assert [a.labels.get("engine") for a in w.evaluator.active()] == ["b"]


def test_a_late_correction_never_goes_back_behind_what_was_told(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(10, 9)]})
    out = w.arrive({'x{engine="a"}': [(9, 1)]}, now=10.1)
    assert all(t.alert.updated_at_ns >= w.at(10) for t in out)
    assert [a.state for a in w.evaluator.active()] == [AlertState.FIRING]


@pytest.mark.requirement("F62")
def test_removing_a_rule_resolves_its_alert_with_that_reason(world: Any) -> None:
    w = world(SIMPLE + HELD)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    out = w.evaluator.replace_groups(w.groups(HELD), w.at(2))
    assert w.words(out) == [(2, "High", "firing", "resolved")]
    assert out[0].alert.reason is TransitionReason.RULE_REMOVED
    assert [a.rule for a in w.evaluator.active()] == ["Held"]


@pytest.mark.requirement("F62")
def test_changing_a_threshold_resolves_and_raises_anew_only_if_it_still_holds(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    out = w.evaluator.replace_groups(w.groups(SIMPLE.replace("> 5", "> 8")), w.at(2))
    assert out[0].alert.reason is TransitionReason.RULE_CHANGED
    assert w.evaluator.next_deadline_ns() == w.at(2)
    assert w.words(w.interval(2)) == [(2, "High", None, "firing")]
    out = w.evaluator.replace_groups(w.groups(SIMPLE.replace("> 5", "> 10")), w.at(3))
    assert w.words(out) == [(3, "High", "firing", "resolved")]
    assert w.interval(3) == []


@pytest.mark.requirement("F61")
def test_an_unchanged_rule_keeps_its_alerts_and_its_pending_time_over_a_reload(
    world: Any,
) -> None:
    w = world(HELD)
    w.arrive({"x": [(1, 9)]})
    changed_texts = HELD.rstrip() + "\n    annotations: {summary: new words}\n"
    assert w.evaluator.replace_groups(w.groups("\n# moved\n" + changed_texts), w.at(5)) == []
    out = w.interval(11)
    assert w.words(out) == [(11, "Held", "pending", "firing")]
    assert out[0].alert.message == "new words"


def test_a_restart_goes_on_where_it_was(world: Any) -> None:
    first = world(HELD + SIMPLE)
    first.arrive({'x{engine="a"}': [(1, 9)]})
    saved = first.evaluator.active()
    w = world(HELD + SIMPLE)
    w.evaluator.restore(saved)
    assert {a.id for a in w.evaluator.active()} == {a.id for a in saved}
    out = w.arrive({'x{engine="a"}': [(12, 9), (13, 1)]})
    assert w.words(out) == [
        (12, "Held", "pending", "firing"),
        (13, "Held", "firing", "resolved"),
        (13, "High", "firing", "resolved"),
    ]


def test_a_saved_alert_without_its_rule_is_resolved_and_not_an_orphan(world: Any) -> None:
    first = world(SIMPLE)
    first.arrive({'x{engine="a"}': [(1, 9)]})
    w = world(HELD)
    w.evaluator.restore(first.evaluator.active())
    assert w.evaluator.next_deadline_ns() == 0
    out = w.interval(2)
    assert [(t.alert.rule, t.alert.reason) for t in out] == [
        ("High", TransitionReason.RULE_REMOVED)
    ]
    assert w.evaluator.active() == []


@pytest.mark.requirement("F59")
def test_a_restored_alert_whose_series_did_not_come_back_is_unknown(world: Any) -> None:
    first = world(SIMPLE)
    first.arrive({'x{engine="a"}': [(1, 9)]})
    w = world(SIMPLE)
    w.evaluator.restore(first.evaluator.active())
    assert w.words(w.interval(15)) == [(15, "High", "firing", "unknown")]
    assert w.words(w.arrive({'x{engine="a"}': [(16, 1)]})) == [(16, "High", "unknown", "resolved")]


def test_a_clean_stop_resolves_the_engines_alerts_with_that_reason(world: Any) -> None:
    w = world(SIMPLE + HELD)
    w.arrive({'x{engine="a"}': [(1, 9)], 'x{engine="b"}': [(1, 9)]})
    w.head.mark_stale([x.labels for x in w.head.select([], 0, w.at(9))][:0], w.at(2))
    out = w.evaluator.resolve_for({"engine": "a"}, TransitionReason.ENGINE_STOPPED, w.at(2))
    assert w.words(out) == [(2, "High", "firing", "resolved"), (2, "Held", "pending", "resolved")]
    assert out[0].alert.reason is TransitionReason.ENGINE_STOPPED
    assert {a.labels.get("engine") for a in w.evaluator.active()} == {"b"}


def test_what_happened_before_the_start_is_marked_replayed(world: Any) -> None:
    w = world(SIMPLE)
    out = w.arrive({'x{engine="a"}': [(-20, 9), (-10, 1), (5, 9)]})
    assert [t.alert.replayed for t in out] == [True, True, False]


def test_an_evaluation_error_is_kept_and_hurts_nobody_else(world: Any) -> None:
    w = world("  - {alert: Bad, expr: x + on (s) group_left y > 0}\n" + SIMPLE)
    out = w.arrive({'x{engine="a",s="1"}': [(1, 9)], 'y{a="1",s="1"}': [(1, 1)],
                    'y{a="2",s="1"}': [(1, 1)]})  # fmt: skip
    assert w.words(out) == [(1, "High", None, "firing")]
    bad, good = w.evaluator.health()
    assert "duplicate series" in bad.last_error
    assert (bad.failures, good.last_error) == (1, "")
    w.stale(2, 'y{a="2",s="1"}')
    assert w.evaluator.health()[0].last_error == ""


def test_alerts_stay_while_their_rule_cannot_be_evaluated(world: Any) -> None:
    w = world("  - {alert: Join, expr: x * on (s) y > 5}")
    w.arrive({'x{s="1"}': [(1, 9)], 'y{s="1"}': [(1, 1)]})
    assert w.arrive({'y{s="1",a="2"}': [(2, 1)], 'x{s="1"}': [(2, 0)]}) == []
    assert w.evaluator.active()[0].state is AlertState.FIRING


def test_results_that_become_one_alert_are_an_error(world: Any) -> None:
    w = world("  - {alert: Same, expr: x > 0, labels: {s: all}}")
    w.arrive({'x{s="1"}': [(1, 1)], 'x{s="2"}': [(1, 1)]})
    assert "same labels" in w.evaluator.health()[0].last_error


def test_a_groups_limit_stops_new_alerts_and_keeps_those_that_fire(world: Any) -> None:
    w = world(
        """
groups:
  - name: g
    limit: 2
    rules:
      - {alert: Many, expr: x > 0}
      - {record: r, expr: x}
"""
    )
    w.arrive({'x{s="1"}': [(1, 1)], 'x{s="2"}': [(1, 1)]})
    w.arrive({'x{s="3"}': [(2, 1)]})
    assert len(w.evaluator.active()) == 2
    assert [h.last_error for h in w.evaluator.health()] == [
        "exceeded the group's limit of 2 with 3 alerts",
        "exceeded the group's limit of 2 with 3 series",
    ]


def test_two_rules_of_one_name_and_labels_have_alerts_of_their_own(world: Any) -> None:
    w = world("  - {alert: A, expr: x > 5}\n  - {alert: A, expr: y > 5}")
    out = w.arrive({"x": [(1, 9)], "y": [(1, 9)]})
    assert len({t.alert.id for t in out}) == 2
    assert len({t.alert.fingerprint for t in out}) == 1
    w.arrive({"x": [(2, 1)]})
    assert [a.state for a in w.evaluator.active()] == [AlertState.FIRING]
    again = world("  - {alert: A, expr: x > 5}\n  - {alert: A, expr: y > 5}")
    again.evaluator.restore(w.evaluator.active())
    assert [a.id for a in again.evaluator.active()] == [a.id for a in w.evaluator.active()]


def test_a_label_that_shows_the_value_makes_another_alert_when_it_changes(world: Any) -> None:
    w = world(
        """
  - alert: Level
    expr: x > 0
    labels: {level: '{{ if gt $value 5.0 }}high{{ else }}low{{ end }}'}
"""
    )
    out = w.arrive({"x": [(1, 1), (2, 9)]})
    assert [(w.seconds(t.event_ns), t.alert.labels.get("level"), t.alert.state.value)
            for t in out] == [(1, "low", "firing"), (2, "low", "resolved"),
                              (2, "high", "firing")]  # fmt: skip


def test_a_template_that_fails_shows_its_text_and_why(world: Any) -> None:
    w = world("  - {alert: T, expr: x > 0, annotations: {summary: '{{ query \"up\" }} now'}}")
    out = w.arrive({"x": [(1, 1)]})
    assert out[0].alert.message == (
        '{{ query "up" }} now (template error: function query is not supported)'
    )


def test_the_value_of_an_active_alert_follows_the_data(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    assert w.arrive({'x{engine="a"}': [(2, 12)]}) == []
    assert w.evaluator.health()[0].steady == 1
    (alert,) = w.evaluator.active()
    assert (alert.value, alert.message) == (12, "a is at 12")


def test_a_scalar_rule_has_one_alert_without_labels(world: Any) -> None:
    w = world("  - {alert: Always, expr: vector(1)}\n  - {alert: Number, expr: '1'}")
    assert w.words(w.interval(15)) == [
        (15, "Always", None, "firing"),
        (15, "Number", None, "firing"),
    ]


def test_a_group_with_an_offset_looks_back_and_runs_at_the_interval_only(world: Any) -> None:
    w = world(
        """
groups:
  - {name: g, interval: 10s, query_offset: 5s, rules: [{alert: A, expr: x > 5}]}
"""
    )
    assert w.arrive({"x": [(8, 9)]}) == []
    assert w.interval(10) == []
    assert w.words(w.interval(20)) == [(20, "A", None, "firing")]


@pytest.mark.requirement("F57")
def test_intervals_that_passed_unseen_are_counted(world: Any) -> None:
    w = world(SIMPLE)
    w.interval(15)
    w.interval(62)
    (health,) = w.evaluator.group_health()
    assert health.skipped == 2
    assert w.evaluator.next_deadline_ns() == w.at(75)


def test_a_rule_that_cannot_have_become_true_is_not_evaluated_at_its_interval(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({"x": [(1, 1)]})
    w.interval(15)
    (health,) = w.evaluator.health()
    assert (health.evaluations, health.last_evaluation_ns) == (0, w.at(15))

    w.head.append(Labels.of("x", engine="late"), w.at(16), 9.0)  # nobody was shown this one
    w.evaluator.forget_samples()
    assert w.words(w.interval(30)) == [(30, "High", None, "firing")]
    w.head.mark_stale([Labels.of("x", engine="late")], w.at(31))
    assert w.words(w.interval(45)) == [(45, "High", "firing", "resolved")]


@pytest.mark.requirement("F57")
def test_a_slow_group_gives_way_and_others_keep_their_time(world: Any) -> None:
    now = [0.0]

    def stopwatch() -> float:
        now[0] += 6.0  # every look at the watch costs six seconds: each evaluation lasts six
        return now[0]

    rules = """
groups:
  - {name: slow, interval: 5s, rules: [{alert: A, expr: 'rate(x[1m]) > 5'}]}
  - {name: calm, interval: 60s, rules: [{alert: B, expr: y > 5}]}
"""
    w = world(rules, stopwatch=stopwatch)
    w.interval(5)
    slow, _ = w.evaluator.group_health()
    assert slow.skipped == 2
    assert w.evaluator.next_deadline_ns() == w.at(20)


def test_a_rule_that_was_evaluated_in_full_rests_and_misses_nothing(world: Any) -> None:
    now = [0.0]

    def stopwatch() -> float:
        now[0] += 0.01
        return now[0]

    w = world("  - {alert: Odd, expr: x % 2 == 1}", stopwatch=stopwatch)
    w.arrive({"x": [(0.5, 2)]})
    w.arrive({"x": [(1, 2)]})
    assert w.arrive({"x": [(1.02, 3)]}) == []
    assert w.arrive({"x": [(1.03, 4)]}) == []
    assert w.evaluator.next_deadline_ns() == w.at(1.04)
    assert w.words(w.interval(1.04)) == [
        (1.02, "Odd", None, "firing"),
        (1.03, "Odd", "firing", "resolved"),
    ]


def test_context_holds_the_threshold_and_looked_up_values(world: Any) -> None:
    from dataclasses import replace

    from tapewatch.promql import parse

    (group,) = world.groups(SIMPLE)
    rule = replace(group.rules[0], context={"open": parse("y"), "gone": parse("z")})
    w = world([replace(group, rules=(rule,))])
    out = w.arrive({'x{engine="a"}': [(1, 9)], 'y{engine="a"}': [(1, 3)],
                    'y{engine="b"}': [(1, 4)]})  # fmt: skip
    assert out[0].alert.context == {"threshold": 5.0, "open": 3.0, "gone": None}


def test_a_selector_by_pattern_is_woken_by_the_names_it_matches(world: Any) -> None:
    w = world(
        """
  - alert: P
    expr: '{__name__=~"conn_.+"} == 0'
    labels: {m: '{{ $labels.__name__ }}'}
"""
    )
    out = w.arrive({"conn_a": [(1, 0)], "other": [(1, 0)], "conn_b": [(1, 1)]})
    assert [t.alert.labels.get("m") for t in out] == ["conn_a"]
    w.arrive({"other": [(2, 0)]})
    assert w.evaluator.health()[0].evaluations == 1


def test_a_rule_that_rests_is_evaluated_when_the_caller_must_commit(world: Any) -> None:
    now = [0.0]

    def stopwatch() -> float:
        now[0] += 0.01
        return now[0]

    w = world("  - {alert: Odd, expr: x % 2 == 1}", stopwatch=stopwatch)
    assert w.evaluator.settle(w.at(0)) == []
    for second in (0.5, 1):
        w.arrive({"x": [(second, 2)]})
    assert w.arrive({"x": [(1.02, 3)]}) == []
    assert w.words(w.evaluator.settle(w.at(1.02))) == [(1.02, "Odd", None, "firing")]
    assert w.evaluator.settle(w.at(1.02)) == []


def test_a_reload_keeps_instants_that_wait_and_ends_series_of_rules_that_are_gone(
    world: Any,
) -> None:
    now = [0.0]

    def stopwatch() -> float:
        now[0] += 0.01
        return now[0]

    odd = "  - {alert: Odd, expr: x % 2 == 1}\n"
    w = world(odd + "  - {record: twice, expr: x * 2}", stopwatch=stopwatch)
    for second in (0.5, 1):
        w.arrive({"x": [(second, 2)]})
    w.arrive({"x": [(1.02, 3)]})
    assert w.evaluator.replace_groups(w.groups(odd), w.at(1.03)) == []
    name, at, value = w.recorded[-1]
    assert (name, at) == ("twice", 1.03)
    assert math.isnan(value)
    assert w.words(w.interval(1.2))[0] == (1.02, "Odd", None, "firing")


def test_a_reload_may_bring_and_take_groups(world: Any) -> None:
    w = world(SIMPLE)
    w.interval(62)
    both = "groups:\n- {name: h, rules: [{alert: B, expr: x > 1}]}\n- name: g\n  rules:" + SIMPLE
    w.evaluator.replace_groups(w.groups(both), w.at(63))
    assert [g.name for g in w.evaluator.groups] == ["h", "g"]
    assert [h.skipped for h in w.evaluator.group_health()] == [0, 3]
    w.evaluator.replace_groups([], w.at(64))
    assert w.evaluator.next_deadline_ns() > w.at(1e6)


def test_without_a_recorder_nothing_is_recorded_and_alerts_are_raised(world: Any) -> None:
    w = world(SIMPLE + "  - {record: twice, expr: x * 2}")
    w.evaluator._record = None
    assert w.words(w.arrive({"x": [(1, 9)]})) == [(1, "High", None, "firing")]
    w.interval(15)
    w.evaluator.replace_groups([], w.at(16))
    assert w.recorded == []


def test_a_recorded_series_with_a_gap_is_stale_in_the_gap(world: Any) -> None:
    w = world("  - {record: high, expr: x > 5}\n  - {record: bad, expr: 'max by (z) (q)'}")
    w.arrive({"x": [(1, 9)]})
    w.arrive({"x": [(2, 1), (3, 9), (4, 1), (5, 9)]})
    high = [(at, v if v == v else None) for n, at, v in w.recorded if n == "high"]
    assert sorted(high, key=lambda p: p[0]) == [
        (1, 9), (2, None), (3, 9), (4, None), (5, 9),
    ]  # fmt: skip


def test_results_that_become_one_recorded_series_are_an_error(world: Any) -> None:
    w = world("  - {record: r, expr: x, labels: {s: all}}")
    w.arrive({'x{s="1"}': [(1, 1)], 'x{s="2"}': [(1, 1)]})
    assert "same labels" in w.evaluator.health()[0].last_error


def test_groups_in_compat_mode_are_not_woken_by_what_other_rules_record(world: Any) -> None:
    from dataclasses import replace

    (group,) = world.groups(
        "  - {alert: Seen, expr: twice > 5}\n  - {alert: A, expr: count(ALERTS) > 0}"
    )
    (recording,) = world.groups("  - {record: twice, expr: x * 2}\n  - {alert: Z, expr: x > 1}")
    w = world([replace(recording, name="r"), replace(group, event_driven=False)])
    assert w.words(w.arrive({"x": [(1, 9)]})) == [(1, "Z", None, "firing")]
    assert sorted(w.words(w.interval(15))) == [
        (15, "A", None, "firing"),
        (15, "Seen", None, "firing"),
    ]


def test_a_saved_alert_that_is_over_is_not_taken_up(world: Any) -> None:
    first = world(SIMPLE)
    out = first.arrive({"x": [(1, 9), (2, 1)]})
    w = world(SIMPLE)
    w.evaluator.restore([out[-1].alert])
    assert w.evaluator.active() == []


def test_late_samples_without_a_place_to_find_them_correct_all_alerts(world: Any) -> None:
    w = world(SIMPLE, proof=False)
    w.arrive({'x{engine="b"}': [(10, 9)]})
    out = w.arrive({'x{engine="a"}': [(9, 7), (9.5, 2)]}, now=10.1)
    assert ("a", "firing") in [(t.alert.labels.get("engine"), t.alert.state.value) for t in out]


def test_an_alert_that_fires_and_vanishes_in_one_batch_is_unknown(world: Any) -> None:
    w = world(SIMPLE)
    labels = {'x{engine="a"}': [(1, 1), (2, 9), (3, float("nan"))]}
    out = w.arrive(labels)
    assert w.words(out) == [(2, "High", None, "firing"), (3, "High", "firing", "unknown")]


def test_an_unknown_alert_stays_so_while_nothing_comes(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    w.stale(2, 'x{engine="a"}')
    for second in (15, 30, 45):
        assert w.interval(second) == []
    assert [a.state for a in w.evaluator.active()] == [AlertState.UNKNOWN]


def test_windows_and_subqueries_are_looked_into_for_what_feeds_an_alert(world: Any) -> None:
    w = world(
        """
  - {alert: Mean, expr: 'avg_over_time(x[20s]) > 5'}
  - {alert: Peak, expr: 'max_over_time(y[20s:5s]) > 5'}
  - {alert: None, expr: 'z > 5 or absent_over_time(z[20s])'}
"""
    )
    w.arrive({"x": [(1, 9)], "y": [(1, 9)], "z": [(1, 9)]})
    w.interval(15)
    assert len(w.evaluator.active()) == 3
    states = {}
    for second in range(30, 721, 15):
        w.interval(second)
        states |= {a.rule: a.state.value for a in w.evaluator.active()}
    # x is gone after its window; y also after the lookback inside the subquery; z's absence fires.
    assert states == {"Mean": "unknown", "Peak": "unknown", "None": "firing"}


def test_context_that_cannot_be_looked_up_never_keeps_an_alert_back(world: Any) -> None:
    from dataclasses import replace

    from tapewatch.promql import parse
    from tapewatch.promql.ast import NumberLiteral

    (group,) = world.groups("  - {alert: A, expr: 5 < x}")
    wanted = {
        "bad": parse("y + on () group_left y"),
        "seven": NumberLiteral(7.0),
        "other": parse("y"),
    }
    rule = replace(group.rules[0], context=wanted)
    w = world([replace(group, rules=(rule,))])
    w.arrive({'y{engine="b"}': [(1, 3)], 'y{engine="c"}': [(1, 3)]})
    out = w.arrive({'x{engine="a"}': [(1, 9)]})
    assert out[0].alert.context == {"threshold": 5.0, "bad": None, "seven": 7.0, "other": None}


@pytest.mark.requirement("F62")
def test_a_rule_whose_expression_becomes_another_kind_is_a_changed_rule(world: Any) -> None:
    w = world(SIMPLE)
    w.arrive({'x{engine="a"}': [(1, 9)]})
    out = w.evaluator.replace_groups(w.groups(SIMPLE.replace("x > 5", "absent(x)")), w.at(2))
    assert [t.alert.reason for t in out] == [TransitionReason.RULE_CHANGED]


@pytest.mark.requirement("F53")
def test_a_storm_of_alerts_asks_no_more_than_one_alert(world: Any) -> None:
    from dataclasses import replace

    from tapewatch.promql import parse

    (group,) = world.groups(SIMPLE)
    rule = replace(group.rules[0], context={"y": parse("y")})

    def queries_of(engines: int) -> tuple[int, int]:
        w = world([replace(group, rules=(rule,))])
        asked = [0]
        at = w.evaluator._queries.at

        class Counting:
            def at(self, *args: Any) -> Any:
                asked[0] += 1
                return at(*args)

        for run in w.evaluator._runs:
            run.alerts._queries = Counting()
        names = [f"e{number}" for number in range(engines)]
        up = w.arrive(
            {f'x{{engine="{n}"}}': [(1, 9)] for n in names}
            | {f'y{{engine="{n}"}}': [(1, 7)] for n in names}
        )
        assert [t.alert.context["y"] for t in up] == [7.0] * engines
        down = w.arrive({f'x{{engine="{n}"}}': [(2, 1)] for n in names})
        assert [t.alert.state.value for t in down] == ["resolved"] * engines
        return asked[0], len(up) + len(down)

    few, many = queries_of(1), queries_of(500)
    assert many == (few[0], 1000)


@pytest.mark.requirement("T20")
def test_a_bomb_of_series_does_not_become_one_of_alerts(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapewatch.rules.alerting.MAX_ALERTS", 3)
    w = world(SIMPLE)
    w.arrive({f'x{{engine="{n}"}}': [(1, 9)] for n in range(3)})
    w.arrive({f'x{{engine="{n}"}}': [(2, 9)] for n in range(3, 9)})
    assert len(w.evaluator.active()) == 3
    assert w.evaluator.health()[0].last_error == "exceeded a rule's limit of 3 with 9 alerts"


def test_alerts_of_many_instants_are_explained_by_their_threshold_alone(world: Any) -> None:
    from dataclasses import replace

    from tapewatch.promql import parse
    from tapewatch.rules.context import MAX_INSTANTS as MOST

    (group,) = world.groups(SIMPLE)
    rule = replace(group.rules[0], context={"y": parse("y")})
    w = world([replace(group, rules=(rule,))])
    out = w.arrive(
        {"y": [(0.5, 7)]} | {f'x{{engine="{n}"}}': [(1 + n / 1000, 9)] for n in range(MOST + 5)}
    )
    contexts = [t.alert.context for t in out]
    assert contexts[:MOST] == [{"threshold": 5.0, "y": 7.0}] * MOST
    assert contexts[MOST:] == [{"threshold": 5.0}] * 5
