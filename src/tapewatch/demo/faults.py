"""The faults that the demo brings about, and how each is done inside the engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tapewatch.demo.trader import Trader

STALE_HOURS = 25.0
"""Age given to the teacher model: one hour past the rule's 24."""


class Fault(StrEnum):
    """What can go wrong on purpose."""

    SENTIMENT_FAILURES = "sentiment_failures"
    """The sentiment provider answers every request with an error."""
    BROKER_SESSION = "broker_session"
    """The venue ends the login session; every order is refused."""
    STALE_MODEL = "stale_model"
    """Nobody retrained the teacher model: its file is given an old modification time."""
    FEED_STALL = "feed_stall"
    """The market data feed stops; the engine's loop goes on without new prices."""
    LOSS_LIMIT = "loss_limit"
    """An oversized order, and then the market gaps against it: a real loss in the account."""
    ENGINE_STALL = "engine_stall"
    """The engine's loop hangs in a blocking call; the process lives."""
    CRASH = "crash"
    """The engine's process is killed with SIGKILL."""


OVERSIZE = 3.0
"""Value of the oversized order as a multiple of equity (the paper account lends it)."""
FIRST_GAP_PCT = -4.4
SECOND_GAP_PCT = -5.3
"""Daily loss in percent that each gap brings the account to, before selling costs."""


@dataclass(slots=True)
class OversizedOrder:
    """The loss in three steps: buy far too much, gap to one loss, gap to a worse one.

    The gaps are moves of the venue's quote, computed from the account as it then stands, so that
    the loss is the account's own arithmetic on its own fills and marks.
    """

    trader: Trader
    first_gap_ticks: int
    """Ticks from the order to the first gap."""
    second_gap_ticks: int
    """Ticks from the order to the second gap; greater than the first."""
    symbol: str = ""
    ticks: int = 0

    def tick(self) -> None:
        """Do what is due at this tick; the market day stands still meanwhile."""
        trader = self.trader
        if self.ticks == 0:
            self.symbol = max(trader.broker.quotes, key=lambda s: trader.broker.quotes[s])
            trader.buy_value(self.symbol, OVERSIZE * trader.book.equity)
        elif self.ticks == self.first_gap_ticks:
            self._gap_to(FIRST_GAP_PCT)
        elif self.ticks == self.second_gap_ticks:
            self._gap_to(SECOND_GAP_PCT)
        self.ticks += 1
        trader.revalue()

    def end(self) -> None:
        """The market comes back, what is left is sold, and a person re-arms the breaker."""
        self.trader.flatten()
        self.trader.broker.gaps.pop(self.symbol, None)
        self.trader.rearm()

    def _gap_to(self, loss_pct: float) -> None:
        trader = self.trader
        position = trader.book.positions.get(self.symbol)
        if position is None or position.value < trader.book.equity:
            # The order was refused: without an oversized position there is no loss to bring about.
            return
        wanted = loss_pct / 100.0 * trader.book.day_start_equity
        price = position.mark + (wanted - trader.book.daily) / position.quantity
        trader.broker.gaps[self.symbol] = price / trader.broker.quotes[self.symbol]
