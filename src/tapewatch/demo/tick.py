"""The tick that the engine reports: S5's nested metrics, filled from the account as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tapewatch.demo.sentiment import SentimentFeed
from tapewatch.demo.trader import Trader


@dataclass(frozen=True, slots=True)
class TickTimes:
    """The clocks of one tick: seconds since the epoch unless said otherwise."""

    now_s: float
    uptime_s: float
    last_api_call_s: float
    feed_age_s: float
    """Seconds since the feed last said anything."""


def iso(time_s: float) -> str:
    """Return ISO 8601 with the machine's own offset."""
    return datetime.fromtimestamp(time_s, UTC).astimezone().isoformat()


def tick_metrics(
    trader: Trader,
    sentiment: SentimentFeed,
    times: TickTimes,
    ages_hours: Mapping[str, float | None],
) -> dict[str, Any]:
    """Return one tick. Money in US dollars; a loss is negative; None where nothing is known."""
    book = trader.book
    now = iso(times.now_s)
    market_time = None
    if trader.day is not None:
        market_time = datetime(
            trader.day.year, trader.day.month, trader.day.day, 16, tzinfo=UTC
        ).isoformat()
    return {
        "timestamp": now,
        "heartbeat": {"last_tick": now, "uptime_seconds": times.uptime_s},
        "positions": {
            "count": len(book.positions),
            "total_value": book.total_value,
            "symbols": sorted(book.positions),
        },
        "pnl": {
            "daily": book.daily,
            "unrealized": book.daily_unrealized,
            "realized": book.daily_realized,
        },
        "risk": {
            "circuit_breaker_active": trader.breaker_active,
            "daily_loss_pct": book.daily_loss_pct,
            "max_position_value": book.max_position_value,
        },
        "sentiment": {
            "last_score": sentiment.last_score,
            "provider_errors_1h": sentiment.errors_in_window,
            "cache_hit_rate": sentiment.cache_hit_rate,
        },
        "connectivity": {
            "breeze_authenticated": trader.broker.authenticated,
            "last_api_call": iso(times.last_api_call_s),
        },
        "artifacts": {
            "teacher_model_age_hours": ages_hours["teacher"],
            "student_model_age_hours": ages_hours["student"],
        },
        "account": {
            "equity": book.equity,
            "cash": book.cash,
            "drawdown_ratio": book.drawdown,
            "realized_total": book.realized_total,
            "unrealized_total": book.unrealized_total,
            "fees_total": book.fees_total,
        },
        "orders": {"fills_total": book.fills_total},
        "market": {
            "time": market_time,
            "bars_total": trader.bars_total,
            "feed_age_seconds": times.feed_age_s,
        },
    }


FEED_STALL_SECONDS = 1.0
"""Age of the feed at which the demo's own rule calls it stalled."""
POSITION_LIMIT = 500_000.0
"""US dollars in one share at which the demo's settings call a position too large."""

EVIDENCE: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "sentiment_failures": lambda m: m["sentiment"]["provider_errors_1h"] > 5,
    "broker_session_lost": lambda m: not m["connectivity"]["breeze_authenticated"],
    "teacher_model_stale": lambda m: (m["artifacts"]["teacher_model_age_hours"] or 0.0) > 24.0,
    "feed_stalled": lambda m: m["market"]["feed_age_seconds"] > FEED_STALL_SECONDS,
    "position_too_large": lambda m: m["risk"]["max_position_value"] > POSITION_LIMIT,
    "loss_above_4_percent": lambda m: m["risk"]["daily_loss_pct"] < -4.0,
    "loss_at_5_percent": lambda m: m["risk"]["daily_loss_pct"] <= -5.0,
    "breaker_tripped": lambda m: m["risk"]["circuit_breaker_active"],
}
"""For each thing that an alert is about: is it to be seen in this tick?"""


class EvidenceWatch:
    """Notices the first tick that carries a fault, so that latency has a beginning."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def rising(self, metrics: Mapping[str, Any]) -> list[str]:
        """Return what is to be seen in this tick and was not in the one before."""
        now = {name for name, shows in EVIDENCE.items() if shows(metrics)}
        fresh = sorted(now - self._seen)
        self._seen = now
        return fresh
