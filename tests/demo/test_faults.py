"""Each fault is a real state of the engine, seen in its ticks, and goes away when it is healed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tapewatch.demo.faults import Fault
from tapewatch.demo.market import read_bars
from tapewatch.demo.models import TRAINING_DAYS, train, write_models
from tapewatch.demo.paper_engine import DEMO_HOUR_SECONDS, PaperEngine
from tapewatch.demo.tick import EVIDENCE, POSITION_LIMIT

BARS = read_bars()
FIRST_DAY = sorted({bar.day for bar in BARS})[TRAINING_DAYS]
MODELS = train(BARS)
TICK_NS = 50_000_000


class Notebook:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.ticks: list[dict[str, Any]] = []
        self.trades: list[dict[str, Any]] = []
        self.errors: list[tuple[str, dict[str, Any]]] = []

    def record_tick(self, metrics: dict[str, Any]) -> None:
        self.ticks.append(metrics)

    def record_trade(self, trade: dict[str, Any]) -> None:
        self.trades.append(trade)

    def record_error(self, error: str, **context: Any) -> None:
        self.errors.append((error, context))


class Bench:
    """An engine on a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        write_models(MODELS, folder)
        self.notebook = Notebook()
        self.reports: list[dict[str, Any]] = []
        self.now_ns = self.begun_ns = 10**12
        self.begun_s = (folder / "teacher_model.json").stat().st_mtime
        self.engine = PaperEngine(
            bars=[bar for bar in BARS if bar.day >= FIRST_DAY],
            history=[bar for bar in BARS if bar.day < FIRST_DAY],
            models=MODELS,
            models_folder=folder,
            sink=self.notebook,
            report=self.reports.append,
            ticks_per_second=20.0,
            started_mono_ns=self.now_ns,
        )

    def run(self, ticks: int) -> dict[str, Any]:
        for _ in range(ticks):
            self.now_ns += TICK_NS
            self.engine.tick(self.now_ns, self.begun_s + (self.now_ns - self.begun_ns) / 1e9)
        return self.notebook.ticks[-1]

    def evidence(self) -> list[str]:
        return [report["evidence"] for report in self.reports if "evidence" in report]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(400)
    return bench


@pytest.mark.requirement("S5-49", "S5-50", "S5-51", "S5-54", "S5-55", "S5-56")
def test_a_tick_has_the_whole_schema_of_the_equity_engine(bench: Bench) -> None:
    tick = bench.run(1)
    assert {key: set(value) for key, value in tick.items() if key != "timestamp"} == {
        "heartbeat": {"last_tick", "uptime_seconds"},
        "positions": {"count", "total_value", "symbols"},
        "pnl": {"daily", "unrealized", "realized"},
        "risk": {"circuit_breaker_active", "daily_loss_pct", "max_position_value"},
        "sentiment": {"last_score", "provider_errors_1h", "cache_hit_rate"},
        "connectivity": {"breeze_authenticated", "last_api_call"},
        "artifacts": {"teacher_model_age_hours", "student_model_age_hours"},
        "account": {
            "equity",
            "cash",
            "drawdown_ratio",
            "realized_total",
            "unrealized_total",
            "fees_total",
        },
        "orders": {"fills_total"},
        "market": {"time", "bars_total", "feed_age_seconds"},
    }
    assert tick["timestamp"][-6] in "+-"
    assert tick["positions"]["count"] == len(tick["positions"]["symbols"]) > 0
    assert tick["pnl"]["daily"] == tick["pnl"]["realized"] + tick["pnl"]["unrealized"]


def test_without_a_fault_nothing_is_evident_over_the_whole_recording(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run(len(bench.engine.bars))
    assert bench.evidence() == []
    assert bench.notebook.errors == []
    assert len(bench.notebook.trades) > 100
    assert max(t["risk"]["max_position_value"] for t in bench.notebook.ticks) < POSITION_LIMIT


def test_the_recording_begins_again_with_a_new_account(bench: Bench) -> None:
    bench.run(len(bench.engine.bars))
    assert bench.engine.trader.bars_total == 400
    assert bench.evidence() == []


@pytest.mark.requirement("S5-70")
def test_sentiment_failures_are_errors_and_age_out_of_their_window(bench: Bench) -> None:
    bench.engine.inject(Fault.SENTIMENT_FAILURES)
    tick = bench.run(30)
    assert tick["sentiment"]["provider_errors_1h"] > 5
    assert bench.evidence()[-1] == "sentiment_failures"
    assert bench.notebook.errors[-1] == (
        "sentiment provider: HTTP 503 after 3 tries",
        {"type": "provider"},
    )
    bench.engine.heal(Fault.SENTIMENT_FAILURES)
    tick = bench.run(int(DEMO_HOUR_SECONDS * 20) + 5)
    assert tick["sentiment"]["provider_errors_1h"] == 0


def test_a_lost_session_refuses_orders_until_somebody_logs_in(bench: Bench) -> None:
    bench.engine.inject(Fault.BROKER_SESSION)
    tick = bench.run(1)
    assert tick["connectivity"]["breeze_authenticated"] is False
    assert bench.evidence()[-1] == "broker_session_lost"
    last_call = tick["connectivity"]["last_api_call"]
    tick = bench.run(300)
    assert tick["connectivity"]["last_api_call"] == last_call
    assert {context["type"] for _, context in bench.notebook.errors} == {"broker"}
    bench.engine.heal(Fault.BROKER_SESSION)
    assert bench.run(1)["connectivity"]["breeze_authenticated"] is True


def test_a_stale_model_is_an_old_file_and_retraining_heals_it(bench: Bench) -> None:
    bench.engine.inject(Fault.STALE_MODEL)
    tick = bench.run(1)
    assert 24.9 < tick["artifacts"]["teacher_model_age_hours"] < 25.1
    assert tick["artifacts"]["student_model_age_hours"] < 0.1
    assert bench.evidence()[-1] == "teacher_model_stale"
    bench.engine.heal(Fault.STALE_MODEL)
    assert bench.run(1)["artifacts"]["teacher_model_age_hours"] < 0.1


def test_a_stalled_feed_leaves_the_loop_ticking_on_old_prices(bench: Bench) -> None:
    bars = bench.run(1)["market"]["bars_total"]
    bench.engine.inject(Fault.FEED_STALL)
    tick = bench.run(30)
    assert tick["market"]["bars_total"] == bars
    assert tick["market"]["feed_age_seconds"] == pytest.approx(1.5)
    assert bench.evidence()[-1] == "feed_stalled"
    bench.engine.heal(Fault.FEED_STALL)
    assert bench.run(1)["market"]["feed_age_seconds"] == 0.0


@pytest.mark.requirement("S5-98")
def test_an_oversized_order_becomes_a_real_loss_that_trips_the_breaker(bench: Bench) -> None:
    before = bench.run(1)["account"]["equity"]
    seen = len(bench.evidence())
    bench.engine.inject(Fault.LOSS_LIMIT)
    bench.run(60)
    assert bench.evidence()[seen:] == [
        "position_too_large",
        "loss_above_4_percent",
        "breaker_tripped",
        "loss_at_5_percent",
    ]
    losses = [tick["risk"]["daily_loss_pct"] for tick in bench.notebook.ticks[-60:]]
    assert any(-4.6 < loss < -4.2 for loss in losses)
    tick = bench.notebook.ticks[-1]
    assert -6.0 < tick["risk"]["daily_loss_pct"] <= -5.0
    assert tick["positions"]["count"] == 0
    assert tick["account"]["equity"] < 0.96 * before
    assert tick["account"]["equity"] == pytest.approx(tick["account"]["cash"])
    bench.engine.heal(Fault.LOSS_LIMIT)
    tick = bench.run(1)
    assert tick["risk"]["circuit_breaker_active"] is False
    assert abs(tick["risk"]["daily_loss_pct"]) < 1.0


def test_an_order_refused_by_a_lost_session_makes_no_loss(bench: Bench) -> None:
    bench.engine.inject(Fault.BROKER_SESSION)
    bench.engine.inject(Fault.LOSS_LIMIT)
    tick = bench.run(60)
    assert tick["risk"]["daily_loss_pct"] > -4.0
    bench.engine.heal(Fault.LOSS_LIMIT)
    bench.engine.heal(Fault.BROKER_SESSION)
    assert bench.run(5)["positions"]["count"] >= 0


def test_every_piece_of_evidence_can_be_asked_of_a_tick(bench: Bench) -> None:
    tick = bench.run(1)
    assert [name for name, shows in EVIDENCE.items() if shows(tick)] == []
