"""How paths become metric names."""

from __future__ import annotations

import pytest

from tapewatch.ingest.naming import metric_name, name_columns
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue, MetricDefinition

CATALOGUE = MetricCatalogue(
    [
        MetricDefinition(
            "risk_circuit_breaker_active",
            path="risk.circuit_breaker_active",
            aliases=("circuit_breaker_active",),
        )
    ]
)


@pytest.mark.requirement("S5-47")
def test_a_flat_alias_means_the_same_metric_as_its_nested_path() -> None:
    assert metric_name("circuit_breaker_active", CATALOGUE) == "risk_circuit_breaker_active"
    assert metric_name("risk.circuit_breaker_active", CATALOGUE) == "risk_circuit_breaker_active"


@pytest.mark.parametrize(
    ("path", "name"),
    [("pnl.daily", "pnl_daily"), ("BTC/USDT price", "BTC_USDT_price"), ("5m.vol", "_5m_vol")],
)
def test_an_unknown_path_is_joined_and_made_valid(path: str, name: str) -> None:
    assert metric_name(path, CATALOGUE) == name


def test_two_paths_of_one_name_collide_and_the_first_wins() -> None:
    named = name_columns(["a.b", "a_b", "c"], CATALOGUE, Labels({"engine": "e"}))

    assert [labels.name for labels in named.labels] == ["a_b", "c"]
    assert named.columns == (0, 2)
    assert named.collisions == 1
