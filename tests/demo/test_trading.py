"""The strategy trades the recorded market by itself, and keeps clear of its own breaker."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tapewatch.demo.broker import BrokerError, PaperBroker, SessionLostError
from tapewatch.demo.market import Bar, read_bars
from tapewatch.demo.models import TRAINING_DAYS, age_hours, read_models, train, write_models
from tapewatch.demo.strategy import (
    WEIGHT_LIMIT,
    Average,
    Crossover,
    Parameters,
    crossover_profit,
)
from tapewatch.demo.trader import LOSS_LIMIT_PCT, START_CASH, Trader

BARS = read_bars()
FIRST_DAY = sorted({bar.day for bar in BARS})[TRAINING_DAYS]
TRADED = [bar for bar in BARS if bar.day >= FIRST_DAY]
HISTORY = [bar for bar in BARS if bar.day < FIRST_DAY]
MODELS = train(BARS)


def new_trader() -> Trader:
    trader = Trader(MODELS)
    trader.warm_up(HISTORY)
    return trader


def test_eleven_years_of_real_bars_are_traded_without_an_error_or_a_tripped_breaker() -> None:
    trader, worst = new_trader(), 0.0
    for bar in TRADED:
        trader.on_bar(bar)
        worst = min(worst, trader.book.daily_loss_pct)
    assert trader.errors == []
    assert len(trader.trades) > 100
    # A loss alert in the demo is therefore always one that was injected.
    assert -3.0 < worst < -1.0
    assert not trader.breaker_active
    assert trader.book.fees_total > 0.0


def test_the_same_bars_give_the_same_account() -> None:
    first, second = new_trader(), new_trader()
    for bar in TRADED[:2_000]:
        first.on_bar(bar)
        second.on_bar(bar)
    assert first.book == second.book


def test_a_decision_does_not_know_the_future() -> None:
    """Changing every price from a day on changes nothing that was done before that day."""
    cut = TRADED[1_500].day
    altered = [b if b.day < cut else replace(b, open=b.open * 2, close=b.close * 2) for b in TRADED]
    real, other = new_trader(), new_trader()
    for bar, changed in zip(TRADED, altered, strict=True):
        if bar.day >= cut:
            break
        real.on_bar(bar)
        other.on_bar(changed)
    assert real.book == other.book
    assert train([bar for bar in BARS if bar.day < FIRST_DAY]) == MODELS


def test_an_average_is_the_mean_of_the_last_closes_or_nothing_yet() -> None:
    average = Average(3)
    assert [average.add(close) for close in (3.0, 6.0, 9.0, 12.0)] == [None, None, 6.0, 9.0]


def test_a_position_is_sized_by_volatility_and_capped() -> None:
    calm = Crossover(Parameters(1, 2), 0.001)
    calm.weight(100.0)
    assert calm.weight(100.1) == WEIGHT_LIMIT
    wild = Crossover(Parameters(1, 2), 0.1)
    wild.weight(100.0)
    assert 0.0 < wild.weight(101.0) < 0.03
    assert wild.weight(90.0) == 0.0


def test_a_falling_market_earns_a_crossover_nothing() -> None:
    assert crossover_profit([100.0 - i for i in range(50)], Parameters(2, 5)) == 0.0
    assert crossover_profit([100.0 + i for i in range(50)], Parameters(2, 5)) > 0.0


def test_the_venue_takes_slippage_and_a_fee_from_both_sides() -> None:
    broker = PaperBroker(quotes={"IBM": 100.0})
    bought, sold = broker.market_order("IBM", 10.0), broker.market_order("IBM", -10.0)
    assert (bought.price, sold.price) == (pytest.approx(100.02), pytest.approx(99.98))
    assert bought.fee == pytest.approx(0.10002)


def test_an_order_without_a_session_or_a_quote_is_refused() -> None:
    with pytest.raises(BrokerError, match="no quote"):
        PaperBroker().market_order("IBM", 1.0)
    with pytest.raises(SessionLostError, match="log in again"):
        PaperBroker(authenticated=False, quotes={"IBM": 1.0}).market_order("IBM", 1.0)


def a_bar(day: int, price: float) -> Bar:
    return Bar("IBM", date(2020, 1, day), price, price, price, price, 100)


def test_the_breaker_sells_everything_and_stays_until_a_person_rearms_it() -> None:
    trader = Trader(MODELS)
    trader.on_bar(a_bar(1, 100.0))
    trader.buy_value("IBM", START_CASH)
    trader.on_bar(a_bar(2, 94.0))
    assert trader.book.daily_loss_pct <= LOSS_LIMIT_PCT
    assert trader.breaker_active
    assert trader.book.positions == {}
    trader.on_bar(a_bar(3, 200.0))
    assert trader.breaker_active
    assert trader.book.positions == {}
    trader.rearm()
    assert not trader.breaker_active
    assert trader.book.daily == 0.0


def test_what_the_venue_refuses_is_an_error_and_is_tried_again() -> None:
    trader = Trader(MODELS)
    trader.on_bar(a_bar(1, 100.0))
    trader.buy_value("IBM", START_CASH)
    trader.broker.authenticated = False
    trader.on_bar(a_bar(2, 90.0))
    assert trader.breaker_active
    assert {error.type for error in trader.errors} == {"broker"}
    assert "IBM" in trader.book.positions
    trader.broker.authenticated = True
    trader.on_bar(a_bar(3, 90.0))
    assert trader.book.positions == {}


@pytest.mark.requirement("S5-45", "S5-79")
def test_models_survive_their_files_and_a_missing_file_has_no_age(tmp_path: Path) -> None:
    write_models(MODELS, tmp_path)
    assert read_models(tmp_path) == MODELS
    file = tmp_path / "teacher_model.json"
    assert age_hours(file, file.stat().st_mtime + 7200.0) == pytest.approx(2.0)
    file.unlink()
    assert age_hours(file, 0.0) is None
