"""A paper venue: quotes from recorded bars, market orders filled with slippage and fees."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapewatch.demo.book import Fill

SLIPPAGE_BPS = 2.0
FEE_BPS = 1.0


class BrokerError(Exception):
    """The venue did not take a request."""


class SessionLostError(BrokerError):
    """The login session with the venue is gone; nothing works until somebody logs in again."""


@dataclass(slots=True)
class PaperBroker:
    """Fills every market order at once and in whole, at the quote plus slippage, for a fee."""

    authenticated: bool = True
    quotes: dict[str, float] = field(default_factory=dict)
    """Newest recorded price by symbol, US dollars."""
    gaps: dict[str, float] = field(default_factory=dict)
    """Factor on a symbol's quote while the market gaps against us (fault injection)."""

    def price(self, symbol: str) -> float:
        """Return the price that the venue shows now."""
        return self.quotes[symbol] * self.gaps.get(symbol, 1.0)

    def market_order(self, symbol: str, quantity: float) -> Fill:
        """Buy (positive) or sell (negative) shares at the venue's price, slippage against us.

        Raises:
            SessionLostError: not logged in.
            BrokerError: the venue has no quote of that symbol.
        """
        if not self.authenticated:
            raise SessionLostError(f"order for {symbol} refused: session expired, log in again")
        if symbol not in self.quotes:
            raise BrokerError(f"order for {symbol} refused: no quote yet")
        side = 1.0 if quantity > 0 else -1.0
        price = self.price(symbol) * (1.0 + side * SLIPPAGE_BPS / 10_000.0)
        return Fill(symbol, quantity, price, abs(quantity) * price * FEE_BPS / 10_000.0)
