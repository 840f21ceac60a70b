"""The trading itself: a bar comes in, orders go out, the account follows from the fills."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tapewatch.demo.book import Book, ClosedTrade
from tapewatch.demo.broker import BrokerError, PaperBroker
from tapewatch.demo.market import Bar
from tapewatch.demo.models import DEFAULT_VOLATILITY, Models
from tapewatch.demo.strategy import Crossover

START_CASH = 1_000_000.0
"""US dollars."""
LOSS_LIMIT_PCT = -5.0
"""Daily loss in percent of the day's first equity at which the breaker trips."""


@dataclass(frozen=True, slots=True)
class TradingError:
    """Something that went wrong in a decision or an order, for the error record."""

    type: str
    message: str
    context: Mapping[str, Any]


@dataclass(slots=True)
class Trader:
    """One account, one strategy per share, one circuit breaker. Knows no clock and no process.

    A decision made at a day's close is executed at the same share's next open, so nothing is
    decided on a price that was not yet known. When the day's loss reaches LOSS_LIMIT_PCT the
    breaker trips: everything is sold, and nothing is bought until ``rearm`` is called.
    """

    models: Models
    broker: PaperBroker = field(default_factory=PaperBroker)
    book: Book = field(default_factory=lambda: Book(START_CASH))
    day: date | None = None
    breaker_active: bool = False
    bars_total: int = 0
    trades: list[ClosedTrade] = field(default_factory=list)
    """Closed since the list was last emptied by the caller."""
    errors: list[TradingError] = field(default_factory=list)
    """Likewise."""
    _strategies: dict[str, Crossover] = field(default_factory=dict)
    _wanted: dict[str, float] = field(default_factory=dict)

    def warm_up(self, bars: Iterable[Bar]) -> None:
        """Let the strategies see past closes, so that they have an opinion at the first bar."""
        for bar in bars:
            self._wanted[bar.symbol] = self._strategy(bar.symbol).weight(bar.close)

    def on_bar(self, bar: Bar) -> None:
        """Trade one share's day: orders at the open, marks and the next decision at the close."""
        if bar.day != self.day:
            self.day = bar.day
            self.book.start_day()
        self.bars_total += 1
        symbol = bar.symbol
        self.broker.quotes[symbol] = bar.open
        self.book.mark(symbol, self.broker.price(symbol))
        if symbol in self._wanted and not self.breaker_active:
            self._trade_towards(symbol, self._wanted[symbol])
        self.broker.quotes[symbol] = bar.close
        self._wanted[symbol] = self._strategy(symbol).weight(bar.close)
        self.revalue()

    def revalue(self) -> None:
        """Value what is held at the venue's prices, and let the breaker judge the loss."""
        for symbol in tuple(self.book.positions):
            self.book.mark(symbol, self.broker.price(symbol))
        if self.book.daily_loss_pct <= LOSS_LIMIT_PCT and not self.breaker_active:
            self.breaker_active = True
        if self.breaker_active:
            self.flatten()

    def flatten(self) -> None:
        """Sell everything. What the venue refuses stays held and is tried again at the next bar."""
        for symbol, position in tuple(self.book.positions.items()):
            self._order(symbol, -position.quantity)

    def rearm(self) -> None:
        """A person lets trading go on after the breaker: a new day's account begins."""
        self.breaker_active = False
        self.book.start_day()

    def buy_value(self, symbol: str, value: float) -> None:
        """Buy for that many US dollars, past the sizing rule (the oversized order of the demo)."""
        self._order(symbol, value / self.broker.price(symbol))

    def _strategy(self, symbol: str) -> Crossover:
        strategy = self._strategies.get(symbol)
        if strategy is None:
            volatility = self.models.volatilities.get(symbol, DEFAULT_VOLATILITY)
            strategy = Crossover(self.models.parameters, volatility)
            self._strategies[symbol] = strategy
        return strategy

    def _trade_towards(self, symbol: str, weight: float) -> None:
        """Enter when flat and wanted, leave when held and not; a held position is not resized."""
        held = self.book.positions.get(symbol)
        if weight > 0.0 and held is None:
            self._order(symbol, weight * self.book.equity / self.broker.price(symbol))
        elif weight == 0.0 and held is not None:
            self._order(symbol, -held.quantity)

    def _order(self, symbol: str, quantity: float) -> None:
        try:
            fill = self.broker.market_order(symbol, quantity)
        except BrokerError as error:
            side = "buy" if quantity > 0 else "sell"
            self.errors.append(TradingError("broker", str(error), {"symbol": symbol, "side": side}))
            return
        trade = self.book.apply(fill)
        if trade is not None:
            self.trades.append(trade)
