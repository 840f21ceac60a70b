"""Every rule of the engine pack by itself: below, at and beyond its limit, and on a timeline."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tapewatch.model.alert import AlertState
from tapewatch.model.clock import HOUR, SECOND
from tapewatch.series.querier import STALE

NAN = math.nan
WARNING, CRITICAL = "warning", "critical"
LOSS_4 = ("daily_loss_high", WARNING)
LOSS_5 = ("daily_loss_high", CRITICAL)
BREAKER = ("circuit_breaker_triggered", CRITICAL)
POSITIONS = ("position_limits_breached", CRITICAL)
BREEZE = ("breeze_connectivity_lost", CRITICAL)
BROKER = ("broker_connectivity_lost", CRITICAL)
SENTIMENT = ("sentiment_failures_high", WARNING)
QUOTA = ("api_quota_low", WARNING)


@pytest.mark.requirement("S5-06", "S5-07", "S5-10", "S5-11", "S5-12", "S5-48", "S5-77", "S5-94")
@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("risk_circuit_breaker_active", 0, []),
        ("risk_circuit_breaker_active", 1, [BREAKER]),
        ("risk_circuit_breaker_active", NAN, []),
        ("risk_daily_loss_pct", 0, []),
        ("risk_daily_loss_pct", -3.9999, []),
        ("risk_daily_loss_pct", -4, []),  # exactly at the limit is within it
        ("risk_daily_loss_pct", -4.0001, [LOSS_4]),
        ("risk_daily_loss_pct", -5, [LOSS_4]),
        ("risk_daily_loss_pct", -5.0001, [LOSS_5, LOSS_4]),
        ("risk_daily_loss_pct", 4.5, []),  # a profit never alerts
        ("risk_daily_loss_pct", 500, []),
        ("risk_daily_loss_pct", -math.inf, [LOSS_5, LOSS_4]),
        ("risk_daily_loss_pct", NAN, []),
        ("positions_count", 20, []),
        ("positions_count", 21, [POSITIONS]),
        ("risk_max_position_value", 1e300, []),  # off until it is set
        ("risk_max_position_value", math.inf, []),
        ("sentiment_provider_errors_1h", 5, []),
        ("sentiment_provider_errors_1h", 6, [SENTIMENT]),
        ("connectivity_breeze_authenticated", 1, []),
        ("connectivity_breeze_authenticated", 0, [BREEZE]),
        ("connectivity_breeze_authenticated", NAN, []),
        ("connectivity_kite_authenticated", 1, []),
        ("connectivity_kite_authenticated", 0, [BROKER]),
        ("connectivity_connected", 1, []),
        ("connectivity_connected", 0, [BROKER]),
        ("connectivity_api_quota_remaining", 10, []),
        ("connectivity_api_quota_remaining", 9, [QUOTA]),
        ("artifacts_teacher_model_age_hours", 24, []),
        ("artifacts_teacher_model_age_hours", 24.001, [("stale_teacher_model", WARNING)]),
        ("artifacts_student_model_age_hours", 24, []),
        ("artifacts_student_model_age_hours", 25, [("stale_student_model", WARNING)]),
        ("tapewatch_engine_crashed", 0, []),
        ("tapewatch_engine_crashed", 1, [("engine_crashed", CRITICAL)]),
        ("tapewatch_engine_never_started", 0, []),
        ("tapewatch_engine_never_started", 1, [("heartbeat_lapsed", CRITICAL)]),
        ("tapewatch_artifact_unreadable", 1, [("artifact_unreadable", WARNING)]),
        ("tapewatch_artifact_unreadable", 0, []),
    ],
)
def test_a_value_raises_exactly_these_alerts(
    pack_world: Any, metric: str, value: float, expected: list[tuple[str, str]]
) -> None:
    world = pack_world()
    world.tick(1, {metric: value})
    assert world.firing() == expected


@pytest.mark.requirement("S5-08", "S5-19", "S5-79", "S5-89")
@pytest.mark.parametrize(
    ("artifact", "age_s", "missing", "expected"),
    [
        ("teacher_model", 24 * 3600, 0, []),
        ("teacher_model", 24 * 3600 + 1, 0, [("stale_teacher_model", WARNING)]),
        ("student_model", 24 * 3600, 0, []),
        ("student_model", 24 * 3600 + 1, 0, [("stale_student_model", WARNING)]),
        ("universe", 24 * 3600, 0, []),
        ("universe", 24 * 3600 + 1, 0, [("stale_artifact", WARNING)]),
        ("teacher_model", None, 1, [("teacher_model_missing", WARNING)]),
        ("student_model", None, 1, [("student_model_missing", WARNING)]),
        ("universe", None, 1, [("artifact_missing", WARNING)]),
    ],
)
def test_the_file_itself_is_judged_and_a_missing_one_is_its_own_alert(
    pack_world: Any,
    artifact: str,
    age_s: float | None,
    missing: float,
    expected: list[tuple[str, str]],
) -> None:
    world = pack_world()
    values = {"tapewatch_artifact_missing": missing}
    if age_s is not None:
        values["tapewatch_artifact_age_seconds"] = age_s
    world.tick(1, values, artifact=artifact)
    assert world.firing() == expected


def test_a_model_that_file_and_engine_call_old_is_one_alert(pack_world: Any) -> None:
    world = pack_world()
    world.tick(1, {"artifacts_teacher_model_age_hours": 30})
    world.tick(2, {"tapewatch_artifact_age_seconds": 40 * 3600}, artifact="teacher_model")
    (alert,) = world.active()
    assert alert.message == "Teacher model not updated for 30.0 hours"
    assert alert.labels.as_dict() == {
        "alertname": "stale_teacher_model", "engine": "momentum", "severity": "warning",
    }  # fmt: skip
    # The engine has loaded a new one, but the file is old again: still stale.
    world.tick(3, {"artifacts_teacher_model_age_hours": 1})
    assert world.firing() == [("stale_teacher_model", WARNING)]
    world.tick(4, {"tapewatch_artifact_age_seconds": 60}, artifact="teacher_model")
    assert world.firing() == []


@pytest.mark.requirement("S5-25", "S5-23", "S5-24", "S5-58")
@pytest.mark.parametrize(
    ("thresholds", "metric", "at_limit", "beyond", "rule"),
    [
        ({"daily_loss_warning_pct": 2}, "risk_daily_loss_pct", -2, -2.01, LOSS_4),
        ({"daily_loss_warning_pct": -2}, "risk_daily_loss_pct", -2, -2.01, LOSS_4),
        (
            {"daily_loss_critical_pct": 2, "daily_loss_warning_pct": 50},
            "risk_daily_loss_pct", -2, -2.01, LOSS_5,
        ),
        ({"max_open_positions": 3}, "positions_count", 3, 4, POSITIONS),
        ({"max_position_value": 5e5}, "risk_max_position_value", 5e5, 500_001, POSITIONS),
        ({"max_sentiment_failures": 0}, "sentiment_provider_errors_1h", 0, 1, SENTIMENT),
        ({"min_api_quota": 100}, "connectivity_api_quota_remaining", 100, 99, QUOTA),
        (
            {"artifact_stale_hours": 1}, "artifacts_teacher_model_age_hours", 1, 1.5,
            ("stale_teacher_model", WARNING),
        ),
    ],
)  # fmt: skip
def test_a_setting_moves_the_limit(
    pack_world: Any,
    thresholds: dict[str, float],
    metric: str,
    at_limit: float,
    beyond: float,
    rule: tuple[str, str],
) -> None:
    world = pack_world(**thresholds)
    world.tick(1, {metric: at_limit})
    assert world.firing() == []
    world.tick(2, {metric: beyond})
    assert world.firing() == [rule]


@pytest.mark.requirement("S5-12")
def test_count_and_value_of_positions_are_two_alerts(pack_world: Any) -> None:
    world = pack_world(max_position_value=1000)
    world.tick(1, {"positions_count": 30, "risk_max_position_value": 2000})
    assert sorted(a.labels.get("limit") for a in world.active()) == ["count", "value"]
    assert sorted(a.message for a in world.active()) == [
        "momentum: 30 open positions, more than the limit",
        "momentum: a position worth 2000, more than the limit",
    ]


@pytest.mark.requirement("S5-57", "S5-58")
def test_the_breakers_context_is_that_of_the_document(pack_world: Any) -> None:
    world = pack_world()
    out = world.tick(
        1,
        {
            "risk_circuit_breaker_active": 1,
            "risk_daily_loss_pct": -5.2,
            "positions_count": 3,
            "pnl_daily": -2600,
        },
    )
    alert = next(t.alert for t in out if t.alert.rule == "circuit_breaker_triggered")
    assert alert.message == "Circuit breaker active - daily loss limit exceeded"
    assert alert.context == {
        "daily_loss_pct": -5.2, "threshold": -5.0, "open_positions": 3, "daily_pnl": -2600,
    }  # fmt: skip


def test_the_context_is_of_the_engine_that_the_alert_is_about(pack_world: Any) -> None:
    world = pack_world(daily_loss_critical_pct=6)
    world.tick(1, {"positions_count": 7}, engine="other")
    world.tick(1, {"positions_count": 3})
    out = world.tick(2, {"risk_circuit_breaker_active": 1})
    assert out[0].alert.context["open_positions"] == 3
    assert out[0].alert.context["threshold"] == -6.0


@pytest.mark.requirement("S5-09", "S5-69", "S5-90")
def test_a_stalled_engine_lapses_and_its_next_tick_ends_that(pack_world: Any) -> None:
    world = pack_world()
    last = world.at(10) / SECOND
    life = {"tapewatch_engine_crashed": 0, "tapewatch_engine_never_started": 0}
    world.tick(11, life | {"tapewatch_engine_stalled": 0,
                           "tapewatch_engine_last_tick_timestamp_seconds": last})  # fmt: skip
    assert world.firing() == []
    (fired,) = world.tick(13, {"tapewatch_engine_stalled": 1})
    assert (fired.alert.rule, fired.alert.state) == ("heartbeat_lapsed", AlertState.FIRING)
    assert fired.alert.message == "momentum: no tick for 3s"
    assert fired.alert.context["last_tick_age_seconds"] == 3
    (ended,) = world.tick(14, {"tapewatch_engine_stalled": 0})
    assert ended.alert.state is AlertState.RESOLVED


def test_a_crash_takes_the_place_of_the_lapse(pack_world: Any) -> None:
    world = pack_world()
    last = {"tapewatch_engine_last_tick_timestamp_seconds": world.at(10) / SECOND}
    world.tick(13, last | {"tapewatch_engine_stalled": 1, "tapewatch_engine_crashed": 0})
    assert world.firing() == [("heartbeat_lapsed", CRITICAL)]
    world.tick(14, {"tapewatch_engine_crashed": 1})
    assert world.firing() == [("engine_crashed", CRITICAL)]


@pytest.mark.requirement("F58")
def test_invalid_data_are_told_after_a_minute_of_them(pack_world: Any) -> None:
    world = pack_world()
    world.tick(0, {"tapewatch_engine_invalid": 1})
    world.wait(59, step=1, repeat=lambda s: world.tick(s, {"tapewatch_engine_invalid": 1}))
    assert world.firing() == []
    world.wait(60, step=1)
    assert world.firing() == [("data_invalid", WARNING)]
    world.tick(61, {"tapewatch_engine_invalid": 0})
    assert world.firing() == []


@pytest.mark.requirement("F58")
def test_a_limit_that_was_passed_is_not_resolved_by_values_that_stop(pack_world: Any) -> None:
    world = pack_world()
    world.tick(1, {"risk_daily_loss_pct": -6})
    world.tick(2, {"risk_daily_loss_pct": NAN})
    assert {a.state for a in world.active()} == {AlertState.UNKNOWN}
    world.tick(3, {"risk_daily_loss_pct": -6})
    assert {a.state for a in world.active()} == {AlertState.FIRING}
    world.tick(4, {"risk_daily_loss_pct": STALE})
    assert {a.state for a in world.active()} == {AlertState.UNKNOWN}


@pytest.mark.requirement("S5-70", "S5-23")
def test_recorded_sentiment_errors_are_counted_over_a_sliding_hour(pack_world: Any) -> None:
    world = pack_world()
    total = "tapewatch_engine_errors_total"

    def errors(seconds: float, count: float) -> None:
        world.tick(seconds, {total: count}, type="sentiment")

    # Three long ago, so that the hour's own errors are a difference.
    for second in range(0, 7200, 60):
        errors(second, 3)
    errors(7300, 8)
    assert world.firing() == []  # five in the hour is the limit
    errors(7310, 9)
    (alert,) = world.active()
    assert (alert.rule, alert.message) == (
        "sentiment_failures_high", "Sentiment provider failures: 6/hour",
    )  # fmt: skip
    for second in range(7320, 7300 + 3600 + 120, 60):
        errors(second, 9)
    assert world.firing() == []  # they have left the window


def test_an_engine_whose_first_errors_these_are_is_counted_in_full(pack_world: Any) -> None:
    world = pack_world()
    world.tick(1, {"tapewatch_engine_errors_total": 5}, type="sentiment")
    assert world.firing() == []
    world.tick(2, {"tapewatch_engine_errors_total": 6}, type="sentiment")
    assert world.firing() == [SENTIMENT]
    world.tick(2, {"tapewatch_engine_errors_total": 60}, type="feed")
    assert world.firing() == [SENTIMENT]


def test_the_window_of_recorded_errors_can_be_set(pack_world: Any) -> None:
    world = pack_world(sentiment_window_seconds=600)
    for second in range(0, 700, 60):
        world.tick(second, {"tapewatch_engine_errors_total": 1}, type="sentiment")
    world.tick(700, {"tapewatch_engine_errors_total": 7}, type="sentiment")
    assert world.firing() == [SENTIMENT]
    for second in range(720, 1400, 60):
        world.tick(second, {"tapewatch_engine_errors_total": 7}, type="sentiment")
    assert world.firing() == []


@pytest.mark.requirement("S5-100")
def test_a_failed_login_is_told_at_once_and_for_five_minutes(pack_world: Any) -> None:
    world = pack_world()
    world.tick(1, {"tapewatch_engine_errors_total": 1}, type="authentication")
    assert world.firing() == [("authentication_failed", CRITICAL)]
    world.wait(
        330,
        repeat=lambda s: world.tick(s, {"tapewatch_engine_errors_total": 1}, type="authentication"),
    )
    assert world.firing() == []


@pytest.mark.requirement("S5-99")
def test_an_old_sentiment_score_is_told_after_an_hour_in_session(pack_world: Any) -> None:
    world = pack_world()
    stamp = {"sentiment_last_update_timestamp_seconds": world.at(0) / SECOND}
    world.wait(3600, repeat=lambda s: world.tick(s, stamp))
    assert world.firing() == []
    world.wait(3615, repeat=lambda s: world.tick(s, stamp))
    (alert,) = world.active()
    assert (alert.rule, alert.labels.get("reason")) == ("sentiment_data_stale", "old")
    assert alert.message == "momentum: the sentiment score is 1h 0m 15s old"


@pytest.mark.requirement("S5-99")
def test_outside_the_session_an_old_score_is_no_news(pack_world: Any) -> None:
    world = pack_world()

    def tick(session: float) -> Any:
        def run(seconds: float) -> Any:
            world.tick(seconds, {"tapewatch_session_open": session}, engine="", calendar="XNSE")
            world.tick(seconds, {"sentiment_last_update_timestamp_seconds": world.at(0) / SECOND})
            return []

        return run

    world.wait(2 * 3600, repeat=tick(0))
    assert world.firing() == []
    world.wait(2 * 3600 + 15, repeat=tick(1))
    assert world.firing() == [("sentiment_data_stale", WARNING)]


@pytest.mark.requirement("S5-99")
def test_a_provider_without_any_score_is_told_within_the_hour(pack_world: Any) -> None:
    world = pack_world()
    world.tick(0, {"sentiment_last_score": 0.5, "sentiment_provider_errors_1h": 0})
    quiet = {"sentiment_provider_errors_1h": 0.0}
    fired = world.wait(3700, repeat=lambda s: world.tick(s, quiet))
    (alert,) = world.active()
    assert (alert.rule, alert.labels.get("reason")) == ("sentiment_data_stale", "missing")
    # The last score was at 0; a query finds it for five minutes, then the 55 minutes begin.
    assert alert.fired_at_ns == world.at(0) + HOUR
    assert [t.alert.state for t in fired] == [AlertState.PENDING, AlertState.FIRING]
    world.tick(3701, quiet | {"sentiment_last_score": 0.1})
    world.wait(3720, repeat=lambda s: world.tick(s, quiet))
    assert world.firing() == []


def test_an_engine_without_sentiment_is_not_asked_for_any(pack_world: Any) -> None:
    world = pack_world()
    world.wait(2 * 3600, repeat=lambda s: world.tick(s, {"positions_count": 1}))
    assert world.active() == []


@pytest.mark.requirement("S5-52")
def test_parts_of_the_days_profit_must_add_up(pack_world: Any) -> None:
    world = pack_world()
    sample = {"pnl_daily": 2500.50, "pnl_unrealized": 1200.00, "pnl_realized": 1300.50}
    world.wait(120, repeat=lambda s: world.tick(s, sample))
    assert world.active() == []
    world.wait(240, repeat=lambda s: world.tick(s, sample | {"pnl_daily": 2500.0}))
    assert world.firing() == [("pnl_inconsistent", "info")]
    assert world.active()[0].message.endswith("unrealized by 0.50")


@pytest.mark.requirement("S5-92")
def test_the_documents_own_sample_raises_nothing(pack_world: Any) -> None:
    world = pack_world()
    sample = {
        "heartbeat_last_tick_timestamp_seconds": world.at(0) / SECOND,
        "heartbeat_uptime_seconds": 3600,
        "positions_count": 3,
        "positions_total_value": 150000.0,
        "positions_symbols": 3,
        "pnl_daily": 2500.50,
        "pnl_unrealized": 1200.00,
        "pnl_realized": 1300.50,
        "risk_circuit_breaker_active": 0,
        "risk_daily_loss_pct": -0.25,
        "risk_max_position_value": 50000.0,
        "sentiment_last_score": 0.65,
        "sentiment_provider_errors_1h": 0,
        "sentiment_cache_hit_rate": 0.85,
        "connectivity_breeze_authenticated": 1,
        "artifacts_teacher_model_age_hours": 12,
        "artifacts_student_model_age_hours": 6,
    }
    world.wait(300, repeat=lambda s: world.tick(s, sample))
    assert world.active() == []
    assert [h.last_error for h in world.evaluator.health() if h.last_error] == []


def test_every_rule_of_the_pack_is_raised_by_a_test_here() -> None:
    """The list above is the list of promises: nobody adds a rule without one."""
    from pathlib import Path

    from tapewatch.config.packs import load_pack
    from tapewatch.rules.model import AlertingRule

    text = Path(__file__).read_text(encoding="utf-8")
    names = {
        rule.name
        for group in load_pack("engine").groups
        for rule in group.rules
        if isinstance(rule, AlertingRule)
    }
    assert sorted(name for name in names if f'"{name}"' not in text) == []
