"""The summary counts what was injected, told, missing and unexpected, and how long it took."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.demo.faults import Fault
from tapewatch.demo.ledger import Ledger, Notice, percentile
from tapewatch.demo.sink import notices_in
from tapewatch.demo.timetable import (
    OFFSETS,
    SCENARIOS,
    SETTLE_SECONDS,
    Scenario,
    one_round,
    stretch_for,
    timetable,
)

MS = 1_000_000


def scenario(fault: Fault) -> Scenario:
    return next(s for s in SCENARIOS if s.fault is fault)


def told(alert: str, severity: str, at_ms: float, *, firing: bool = True) -> Notice:
    return Notice(alert, severity, "paper", firing, int(at_ms * MS), "")


def test_latency_runs_from_the_first_evidence_to_the_receivers_call() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.BROKER_SESSION), 100 * MS)
    ledger.evidence("broker_session_lost", 140 * MS)
    outcome = ledger.notice(told("breeze_connectivity_lost", "critical", 145.5))
    assert outcome is not None
    assert outcome.latency_ms == pytest.approx(5.5)
    assert ledger.missing() == []


def test_the_evidence_line_may_come_after_the_alert_that_outran_it() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.BROKER_SESSION), 0)
    ledger.notice(told("breeze_connectivity_lost", "critical", 12.0))
    ledger.evidence("broker_session_lost", 10 * MS)
    assert ledger.to_json()["latency_ms"] == {"p50": 2.0, "p99": 2.0, "max": 2.0}


def test_a_stall_counts_from_the_end_of_its_silence() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.ENGINE_STALL), 0)
    ledger.evidence("loop_hung", 0)
    outcome = ledger.notice(told("heartbeat_lapsed", "critical", 2_010.0))
    assert outcome is not None
    assert outcome.latency_ms == pytest.approx(10.0)


def test_what_nobody_was_told_is_missing() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.LOSS_LIMIT), 0)
    ledger.notice(told("daily_loss_high", "warning", 1.0))
    assert ledger.missing() == [
        "loss_limit: position_limits_breached (critical)",
        "loss_limit: daily_loss_high (critical)",
        "loss_limit: circuit_breaker_triggered (critical)",
    ]
    assert ledger.to_json()["latency_ms"] == {"p50": None, "p99": None, "max": None}


def test_an_alert_that_no_fault_explains_is_unexpected() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.BROKER_SESSION), 0)
    ledger.notice(told("circuit_breaker_triggered", "critical", 1.0))
    assert ledger.to_json()["unexpected"] == ["circuit_breaker_triggered (critical) paper"]


def test_a_consequence_a_repeat_and_a_resolved_notice_are_not_unexpected() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.CRASH), 0)
    ledger.notice(told("engine_crashed", "critical", 1.0))
    ledger.notice(told("engine_crashed", "critical", 2.0))
    ledger.notice(told("heartbeat_lapsed", "critical", 3.0))
    ledger.notice(told("engine_crashed", "critical", 4.0, firing=False))
    ledger.notice(told("never_seen", "info", 5.0, firing=False))
    assert ledger.unexpected == []
    [(_, outcome)] = ledger.outcomes()
    assert (outcome.received_ns, outcome.resolved_ns) == (1 * MS, 4 * MS)


def test_a_second_round_has_outcomes_of_its_own() -> None:
    ledger = Ledger()
    for start in (0, 1_000):
        ledger.inject(scenario(Fault.CRASH), start * MS)
        ledger.evidence("killed", (start + 10) * MS)
        ledger.notice(told("engine_crashed", "critical", start + 20))
        ledger.notice(told("engine_crashed", "critical", start + 30, firing=False))
    assert [o.latency_ms for _, o in ledger.outcomes()] == [10.0, 10.0]


def test_the_json_summary_names_each_fault_with_its_alerts() -> None:
    ledger = Ledger()
    ledger.inject(scenario(Fault.CRASH), 0)
    ledger.heal(Fault.CRASH, 5)
    summary = json.loads(json.dumps(ledger.to_json()))
    assert set(summary) == {"faults", "missing", "unexpected", "latency_ms"}
    assert summary["faults"] == [
        {
            "fault": "crash",
            "alerts": [
                {
                    "alert": "engine_crashed",
                    "severity": "critical",
                    "raised": False,
                    "resolved": False,
                    "latency_ms": None,
                }
            ],
        }
    ]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_a_percentile_is_one_of_the_values_with_enough_at_or_below_it(
    values: list[float], ratio: float
) -> None:
    found = percentile(values, ratio)
    assert found in values
    assert sum(value <= found for value in values) >= ratio * len(values) - 1e-9


# --- the timetable ---


def test_forty_seconds_hold_every_fault_with_time_to_settle() -> None:
    switches, left_out = timetable(40.0)
    assert left_out == []
    assert [s.scenario.fault for s in switches if s.begins] == list(Fault)
    assert switches[-1].at_s <= 40.0 - SETTLE_SECONDS


@given(st.floats(1.0, 1_000.0))
def test_whatever_is_injected_is_also_healed_and_nothing_overlaps(seconds: float) -> None:
    switches, left_out = timetable(seconds)
    assert [s.begins for s in switches] == [True, False] * (len(switches) // 2)
    assert [s.at_s for s in switches] == sorted(s.at_s for s in switches)
    assert all(s.at_s <= seconds - SETTLE_SECONDS for s in switches)
    assert {s.scenario.fault for s in switches} | set(left_out) == set(Fault)


def test_longer_runs_repeat_whole_rounds_at_an_easier_pace() -> None:
    switches, _ = timetable(200.0)
    assert sum(s.begins for s in switches) == 3 * len(Fault)
    assert stretch_for(None) == stretch_for(200.0) == 1.5


def test_every_fault_has_a_story_a_time_and_an_alert() -> None:
    assert set(OFFSETS) == {s.fault for s in SCENARIOS} == set(Fault)
    assert all(s.expected and s.story for s in SCENARIOS)
    assert len(one_round(0.0, 1.0)) == 2 * len(Fault)


# --- what the receiver reads ---


def test_a_webhook_payload_becomes_one_notice_for_each_alert() -> None:
    body = {
        "version": "4",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "a", "severity": "CRITICAL", "engine": "paper"},
                "annotations": {"summary": "it broke"},
            },
            {"status": "resolved", "labels": {"alertname": "b"}},
        ],
    }
    assert notices_in(json.dumps(body).encode(), 7) == [
        Notice("a", "critical", "paper", True, 7, "it broke"),
        Notice("b", "", "", False, 7, ""),
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"alerts": 1}', b"\xff"])
def test_a_body_that_is_no_payload_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        notices_in(body, 0)


def test_a_run_too_short_for_an_alert_to_resolve_leaves_its_fault_out() -> None:
    switches, left_out = timetable(9.0)
    assert switches == []
    assert Fault.SENTIMENT_FAILURES in left_out
    switches, _ = timetable(15.5)
    assert {s.scenario.fault for s in switches} >= {Fault.SENTIMENT_FAILURES, Fault.STALE_MODEL}
    assert Fault.FEED_STALL not in {s.scenario.fault for s in switches}
