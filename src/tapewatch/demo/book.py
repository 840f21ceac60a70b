"""Positions, cash and profit of one account in US dollars, computed from its fills and marks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fill:
    """An order executed in whole."""

    symbol: str
    quantity: float
    """Shares; positive bought, negative sold."""
    price: float
    """US dollars per share, slippage included."""
    fee: float
    """US dollars, never negative."""


@dataclass(slots=True)
class Position:
    """One open long position."""

    quantity: float
    entry_price: float
    """Average price paid for what is held."""
    day_reference: float
    """Price that today's profit counts from: last mark of yesterday, or today's average entry."""
    mark: float
    """Newest price seen."""
    fees: float
    """Fees paid to build what is held, US dollars."""

    @property
    def value(self) -> float:
        return self.quantity * self.mark


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """A position, or a part of one, that was sold."""

    symbol: str
    quantity: float
    entry_price: float
    exit_price: float
    pnl: float
    """US dollars after the fees of both sides."""
    fees: float


@dataclass(slots=True)
class Book:
    """The account. Long only; equity = cash + value of the positions.

    Profit of the day is kept so that ``daily_realized + daily_unrealized`` is the change of
    equity since ``start_day``, to rounding: fees count as realised at once.
    """

    cash: float
    positions: dict[str, Position] = field(default_factory=dict)
    daily_realized: float = 0.0
    fees_total: float = 0.0
    fills_total: int = 0
    realized_total: float = 0.0
    """Profit of all closed trades since the start, fees of both sides taken off."""
    peak_equity: float = 0.0
    day_start_equity: float = 0.0

    def __post_init__(self) -> None:
        self.peak_equity = self.day_start_equity = self.equity

    @property
    def equity(self) -> float:
        return self.cash + self.total_value

    @property
    def total_value(self) -> float:
        return sum(position.value for position in self.positions.values())

    @property
    def max_position_value(self) -> float:
        return max((position.value for position in self.positions.values()), default=0.0)

    @property
    def daily_unrealized(self) -> float:
        return sum(p.quantity * (p.mark - p.day_reference) for p in self.positions.values())

    @property
    def daily(self) -> float:
        return self.daily_realized + self.daily_unrealized

    @property
    def daily_loss_pct(self) -> float:
        """Profit of the day in percent of the day's first equity; negative is a loss."""
        return 100.0 * self.daily / self.day_start_equity

    @property
    def unrealized_total(self) -> float:
        """Profit of what is held against what was paid, before fees."""
        return sum(p.quantity * (p.mark - p.entry_price) for p in self.positions.values())

    @property
    def drawdown(self) -> float:
        """Fall below the highest equity so far, as a positive ratio."""
        return 1.0 - self.equity / self.peak_equity

    def start_day(self) -> None:
        """Begin a new trading day: profit of the day counts from the marks as they stand."""
        for position in self.positions.values():
            position.day_reference = position.mark
        self.daily_realized = 0.0
        self.day_start_equity = self.equity

    def mark(self, symbol: str, price: float) -> None:
        """Value what is held of a symbol at the newest price."""
        position = self.positions.get(symbol)
        if position is not None:
            position.mark = price
        self.peak_equity = max(self.peak_equity, self.equity)

    def apply(self, fill: Fill) -> ClosedTrade | None:
        """Take a fill into the account; return the trade that it closed, if it was a sale.

        Raises:
            ValueError: more sold than held. The venue never does that to a long-only account.
        """
        held = self.positions.get(fill.symbol)
        if fill.quantity < 0.0 and (held is None or held.quantity < -fill.quantity - 1e-9):
            raise ValueError(f"{fill.symbol}: sold {-fill.quantity} shares, held {held}")
        self.cash -= fill.quantity * fill.price + fill.fee
        self.fees_total += fill.fee
        self.fills_total += 1
        self.daily_realized -= fill.fee
        trade = None
        if fill.quantity < 0.0 and held is not None:
            trade = self._sold(fill, held)
        else:
            self._bought(fill, held)
        self.peak_equity = max(self.peak_equity, self.equity)
        return trade

    def _bought(self, fill: Fill, held: Position | None) -> None:
        if held is None:
            self.positions[fill.symbol] = Position(
                fill.quantity, fill.price, fill.price, fill.price, fill.fee
            )
            return
        total = held.quantity + fill.quantity
        share = fill.quantity / total
        held.entry_price += (fill.price - held.entry_price) * share
        held.day_reference += (fill.price - held.day_reference) * share
        held.quantity = total
        held.fees += fill.fee
        held.mark = fill.price

    def _sold(self, fill: Fill, held: Position) -> ClosedTrade:
        quantity = -fill.quantity
        entry_fees = held.fees * quantity / held.quantity
        fees = entry_fees + fill.fee
        pnl = quantity * (fill.price - held.entry_price) - fees
        trade = ClosedTrade(fill.symbol, quantity, held.entry_price, fill.price, pnl, fees)
        self.daily_realized += quantity * (fill.price - held.day_reference)
        self.realized_total += pnl
        held.quantity -= quantity
        held.fees -= entry_fees
        held.mark = fill.price
        if held.quantity < 1e-9:
            del self.positions[fill.symbol]
        return trade
