"""A sentiment provider over real data: market breadth, asked through a cache, able to fail."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

BREADTH_WINDOW = 20
CACHE_SECONDS = 0.2


class ProviderError(Exception):
    """The sentiment provider did not answer."""


@dataclass(slots=True)
class BreadthProvider:
    """Scores the mood of the market by how many of the last closes rose."""

    available: bool = True
    _rises: deque[bool] = field(default_factory=lambda: deque(maxlen=BREADTH_WINDOW))
    _closes: dict[str, float] = field(default_factory=dict)

    def observe(self, symbol: str, close: float) -> None:
        """Take a close; the first one of a symbol says nothing yet."""
        before = self._closes.get(symbol)
        self._closes[symbol] = close
        if before is not None:
            self._rises.append(close > before)

    def score(self) -> float:
        """Return -1 (all fell) to 1 (all rose).

        Raises:
            ProviderError: the provider is out of service.
        """
        if not self.available:
            raise ProviderError("sentiment provider: HTTP 503 after 3 tries")
        return 2.0 * sum(self._rises) / len(self._rises) - 1.0 if self._rises else 0.0


@dataclass(slots=True)
class SentimentFeed:
    """Asks the provider at most every CACHE_SECONDS and counts its errors in a sliding window."""

    provider: BreadthProvider
    window_s: float
    """Length of the "hour" that errors are counted in: the demo's clock runs faster than ours."""
    last_score: float | None = None
    requests: int = 0
    cache_hits: int = 0
    _errors_at: deque[float] = field(default_factory=deque)
    _asked_at: float | None = None

    def refresh(self, now_s: float) -> ProviderError | None:
        """Bring the score up to date; return the error if the provider failed."""
        self.requests += 1
        while self._errors_at and self._errors_at[0] <= now_s - self.window_s:
            self._errors_at.popleft()
        if self._asked_at is not None and now_s - self._asked_at < CACHE_SECONDS:
            self.cache_hits += 1
            return None
        self._asked_at = now_s
        try:
            self.last_score = self.provider.score()
        except ProviderError as error:
            self._errors_at.append(now_s)
            return error
        return None

    @property
    def errors_in_window(self) -> int:
        return len(self._errors_at)

    @property
    def cache_hit_rate(self) -> float:
        return self.cache_hits / self.requests if self.requests else 0.0
