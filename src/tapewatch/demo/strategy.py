"""Dual moving-average crossover, long or flat, each position sized by the share's volatility."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the teacher model says about how to trade."""

    fast: int
    """Length of the fast average, bars."""
    slow: int
    """Length of the slow average, bars; greater than ``fast``."""


@dataclass(slots=True)
class Average:
    """Mean of the last ``length`` closes, by a running sum."""

    length: int
    closes: deque[float] = field(default_factory=deque)
    total: float = 0.0

    def add(self, close: float) -> float | None:
        """Take one close; return the mean, or None until there are enough."""
        self.closes.append(close)
        self.total += close
        if len(self.closes) > self.length:
            self.total -= self.closes.popleft()
        return self.total / self.length if len(self.closes) == self.length else None


RISK_PER_POSITION = 0.002
"""Wanted daily standard deviation of one position, as a ratio of equity."""
WEIGHT_LIMIT = 0.2
"""Most that one position may be of equity."""
DECAY = 0.94
"""Weight of yesterday's variance in today's (the RiskMetrics value for daily data)."""


@dataclass(slots=True)
class Crossover:
    """The decision for one share: which part of equity to hold, after each close."""

    parameters: Parameters
    volatility: float
    """Daily standard deviation of returns as a ratio; starts at the student model's value."""
    _fast: Average = field(init=False)
    _slow: Average = field(init=False)
    _last_close: float | None = None

    def __post_init__(self) -> None:
        self._fast = Average(self.parameters.fast)
        self._slow = Average(self.parameters.slow)

    def weight(self, close: float) -> float:
        """Take a day's close and return the wanted share of equity, 0 to WEIGHT_LIMIT."""
        if self._last_close is not None:
            change = close / self._last_close - 1.0
            self.volatility = math.sqrt(DECAY * self.volatility**2 + (1.0 - DECAY) * change**2)
        self._last_close = close
        fast, slow = self._fast.add(close), self._slow.add(close)
        if fast is None or slow is None or fast <= slow:
            return 0.0
        return min(WEIGHT_LIMIT, RISK_PER_POSITION / max(self.volatility, 1e-6))


def crossover_profit(closes: list[float], parameters: Parameters) -> float:
    """Return the log return of holding while the fast average is above the slow one.

    The position of a day follows from the closes before it: no look into the future.
    """
    fast, slow = Average(parameters.fast), Average(parameters.slow)
    profit, holds = 0.0, False
    for index, close in enumerate(closes):
        if holds:
            profit += math.log(close / closes[index - 1])
        quick, calm = fast.add(close), slow.add(close)
        holds = quick is not None and calm is not None and quick > calm
    return profit


CANDIDATES = tuple(Parameters(fast, slow) for fast in (5, 10, 20) for slow in (30, 60, 120))


def fit_parameters(history: Mapping[str, list[float]]) -> Parameters:
    """Return the candidate with the highest summed return over the given closes."""
    return max(CANDIDATES, key=lambda p: sum(crossover_profit(c, p) for c in history.values()))
