"""The rules that Tapewatch keeps about itself."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("metric", "quiet", "loud", "rule", "severity"),
    [
        ("tapewatch_storage_degraded", 0, 1, "storage_degraded", "critical"),
        ("tapewatch_config_reload_successful", 1, 0, "config_reload_failed", "warning"),
        ("tapewatch_clock_jump_seconds", 2, 2.1, "clock_jump", "warning"),
        ("tapewatch_clock_jump_seconds", -2, -3600, "clock_jump", "warning"),
        ("tapewatch_rules_failing", 0, 1, "rules_failing", "critical"),
        ("tapewatch_stores_recovered", 0, 1, "store_recovered", "warning"),
        ("tapewatch_tapes_unreadable", 0, 1, "tapes_unreadable", "warning"),
        ("tapewatch_receiver_up", 1, 0, "receiver_down", "warning"),
    ],
)
@pytest.mark.requirement("F35", "F44", "F47", "F61")
def test_a_state_raises_its_alert_and_ends_it(
    pack_world: Any, metric: str, quiet: float, loud: float, rule: str, severity: str
) -> None:
    world = pack_world("self")
    world.tick(1, {metric: quiet})
    assert world.firing() == []
    world.tick(2, {metric: loud})
    assert world.firing() == [(rule, severity)]
    world.tick(3, {metric: quiet})
    assert world.firing() == []


@pytest.mark.parametrize(
    ("metric", "rule", "severity"),
    [
        ("tapewatch_engine_frames_lost_total", "frames_lost", "warning"),
        ("tapewatch_engine_events_lost_total", "events_lost", "critical"),
        ("tapewatch_engine_records_dropped_total", "records_dropped", "warning"),
        ("tapewatch_notifications_failed_total", "notifications_failed", "warning"),
    ],
)
def test_a_counter_that_rises_raises_its_alert_for_five_minutes(
    pack_world: Any, metric: str, rule: str, severity: str
) -> None:
    world = pack_world("self")
    world.tick(0, {metric: 4})
    world.wait(60, repeat=lambda s: world.tick(s, {metric: 4}))
    assert world.firing() == []
    world.tick(61, {metric: 5})
    assert world.firing() == [(rule, severity)]
    world.wait(60 + 330, repeat=lambda s: world.tick(s, {metric: 5}))
    assert world.firing() == []


def test_two_engines_of_one_name_are_told_after_ten_seconds(pack_world: Any) -> None:
    world = pack_world("self")
    world.tick(0, {"tapewatch_engine_instances": 2})
    world.wait(9, step=1)
    assert world.firing() == []
    world.wait(10, step=1)
    assert world.firing() == [("engine_duplicated", "warning")]


def test_the_watchdog_is_silent_until_it_is_turned_on(pack_world: Any) -> None:
    quiet, loud = pack_world("self"), pack_world("self", watchdog=1)
    quiet.wait(30)
    loud.wait(30)
    assert quiet.active() == []
    assert loud.firing() == [("watchdog", "info")]
