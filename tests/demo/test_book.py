"""Profit is the account's own arithmetic: checked against a slow ledger of every fill."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.demo.book import Book, Fill

SYMBOLS = ("AAPL", "IBM")
prices = st.floats(1.0, 500.0)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("buy"), st.sampled_from(SYMBOLS), prices, st.floats(1.0, 100.0)),
        st.tuples(st.just("sell"), st.sampled_from(SYMBOLS), prices, st.floats(0.1, 1.0)),
        st.tuples(st.just("mark"), st.sampled_from(SYMBOLS), prices, st.just(0.0)),
        st.tuples(st.just("day"), st.just(""), st.just(0.0), st.just(0.0)),
    ),
    max_size=40,
)


@given(steps)
def test_equity_is_cash_spent_plus_what_is_held_at_its_mark(
    run: list[tuple[str, str, float, float]],
) -> None:
    book = Book(10_000.0)
    cash, held, mark = 10_000.0, dict.fromkeys(SYMBOLS, 0.0), dict.fromkeys(SYMBOLS, 0.0)
    day_start, realized = 10_000.0, 0.0
    for kind, symbol, price, amount in run:
        if kind == "day":
            day_start = book.equity
            book.start_day()
        elif kind == "mark":
            mark[symbol] = price
            book.mark(symbol, price)
        else:
            quantity = amount if kind == "buy" else -amount * held[symbol]
            if not quantity:
                continue
            trade = book.apply(Fill(symbol, quantity, price, 0.5))
            cash -= quantity * price + 0.5
            held[symbol] += quantity
            mark[symbol] = price
            if trade is not None:
                realized += trade.pnl
        equity = cash + sum(held[s] * mark[s] for s in SYMBOLS)
        assert book.equity == pytest.approx(equity, abs=1e-3)
        # S5's rule of consistency: the day's profit is realised plus unrealised.
        assert book.daily == pytest.approx(equity - day_start, abs=1e-3)
        assert book.realized_total == pytest.approx(realized, abs=1e-3)
        assert book.drawdown >= -1e-12


@pytest.mark.requirement("S5-14", "S5-52", "S5-53")
def test_a_loss_is_negative_and_counts_from_the_days_first_equity() -> None:
    book = Book(1_000.0)
    book.apply(Fill("IBM", 5.0, 100.0, 0.0))
    book.mark("IBM", 90.0)
    assert book.daily == -50.0
    assert book.daily_loss_pct == -5.0
    assert book.drawdown == pytest.approx(0.05)
    book.start_day()
    assert book.daily == 0.0
    book.mark("IBM", 99.5)
    assert book.daily_loss_pct == pytest.approx(5.0)


def test_a_closed_trade_pays_the_fees_of_both_sides() -> None:
    book = Book(1_000.0)
    book.apply(Fill("IBM", 4.0, 100.0, 1.0))
    trade = book.apply(Fill("IBM", -4.0, 110.0, 1.5))
    assert trade is not None
    assert trade.pnl == pytest.approx(40.0 - 2.5)
    assert book.positions == {}
    assert book.equity == pytest.approx(1_037.5)


def test_selling_more_than_is_held_is_refused() -> None:
    with pytest.raises(ValueError, match=r"IBM: sold 1\.0 shares"):
        Book(1_000.0).apply(Fill("IBM", -1.0, 100.0, 0.0))
