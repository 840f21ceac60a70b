"""One tick of the paper engine: the next recorded bar is traded, and what came of it reported."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tapewatch.demo.broker import PaperBroker
from tapewatch.demo.faults import STALE_HOURS, Fault, OversizedOrder
from tapewatch.demo.market import Bar
from tapewatch.demo.models import STUDENT_FILE, TEACHER_FILE, Models, age_hours, write_models
from tapewatch.demo.sentiment import BreadthProvider, SentimentFeed
from tapewatch.demo.tick import EvidenceWatch, TickTimes, tick_metrics
from tapewatch.demo.trader import Trader

STATUS_SECONDS = 0.5
ARTIFACT_SECONDS = 0.1
"""How often the engine looks at the age of its model files."""
DEMO_HOUR_SECONDS = 10.0
"""Length of the hour that sentiment errors are counted in, as the demo's clock runs."""
LONG_AGO_NS = -(10**18)


class TickSink(Protocol):
    """Where the engine reports to: the recorder, or a list in a test."""

    def record_tick(self, metrics: dict[str, Any]) -> object: ...

    def record_trade(self, trade: dict[str, Any]) -> object: ...

    def record_error(self, error: str, /, **context: Any) -> object: ...


@dataclass(slots=True)
class PaperEngine:
    """The engine's state between two ticks. Time comes in as arguments; faults are switches."""

    bars: Sequence[Bar]
    """What is traded, oldest first, over and over."""
    history: Sequence[Bar]
    """What came before: the strategies look at it, nothing is traded."""
    models: Models
    models_folder: Path
    sink: TickSink
    report: Callable[[dict[str, Any]], None]
    ticks_per_second: float
    started_mono_ns: int
    trader: Trader = field(init=False)
    sentiment: SentimentFeed = field(init=False)
    feed_stalled: bool = False
    last_tick_ns: int = 0
    """Monotonic time at which the newest tick was handed to the sink."""
    _oversized: OversizedOrder | None = None
    _feed: Iterator[Bar] = field(init=False)
    _last_feed_ns: int = field(init=False)
    _last_api_s: float = 0.0
    _ages: dict[str, float | None] = field(init=False)
    _ages_read_ns: int = LONG_AGO_NS
    _status_sent_ns: int = LONG_AGO_NS
    _watch: EvidenceWatch = field(default_factory=EvidenceWatch)

    def __post_init__(self) -> None:
        self.trader = self._new_trader(PaperBroker())
        self.sentiment = SentimentFeed(BreadthProvider(), DEMO_HOUR_SECONDS)
        self._feed = iter(self.bars)
        self._last_feed_ns = self.started_mono_ns
        self._ages = {}

    def tick(self, mono_ns: int, wall_s: float) -> None:
        """Trade what the market brought since the last tick, and report."""
        if self._oversized is not None:
            self._oversized.tick()
            self._last_feed_ns = mono_ns
        elif not self.feed_stalled:
            self._next_bar()
            self._last_feed_ns = mono_ns
        if self.trader.broker.authenticated or not self._last_api_s:
            self._last_api_s = wall_s
        failure = self.sentiment.refresh(mono_ns / 1e9)
        if failure is not None:
            # Not of the type "sentiment": the pack counts those over an hour of the machine's
            # clock, the demo's hour is shorter, and its own count is in the tick.
            self.sink.record_error(str(failure), type="provider")
        self._report_events()
        self._report_tick(mono_ns, wall_s)

    def inject(self, fault: Fault) -> None:
        """Bring a fault about. Stall and crash are the process's own affair, not the engine's."""
        if fault is Fault.SENTIMENT_FAILURES:
            self.sentiment.provider.available = False
        elif fault is Fault.BROKER_SESSION:
            self.trader.broker.authenticated = False
        elif fault is Fault.STALE_MODEL:
            written = time.time() - STALE_HOURS * 3600.0
            os.utime(self.models_folder / TEACHER_FILE, (written, written))
            self._ages_read_ns = LONG_AGO_NS
        elif fault is Fault.FEED_STALL:
            self.feed_stalled = True
        elif fault is Fault.LOSS_LIMIT:
            half_second = max(1, round(self.ticks_per_second / 2.0))
            self._oversized = OversizedOrder(self.trader, half_second, 3 * half_second)

    def heal(self, fault: Fault) -> None:
        """Undo a fault, as the person who was alerted would."""
        if fault is Fault.SENTIMENT_FAILURES:
            self.sentiment.provider.available = True
        elif fault is Fault.BROKER_SESSION:
            self.trader.broker.authenticated = True
        elif fault is Fault.STALE_MODEL:
            write_models(self.models, self.models_folder)
            self._ages_read_ns = LONG_AGO_NS
        elif fault is Fault.FEED_STALL:
            self.feed_stalled = False
        elif fault is Fault.LOSS_LIMIT and self._oversized is not None:
            self._oversized.end()
            self._oversized = None

    def _next_bar(self) -> None:
        bar = next(self._feed, None)
        if bar is None:
            # The recording is over: it begins again with a new account, and says so in its figures.
            self.trader = self._new_trader(self.trader.broker)
            self._feed = iter(self.bars)
            bar = next(self._feed)
        self.trader.on_bar(bar)
        self.sentiment.provider.observe(bar.symbol, bar.close)

    def _new_trader(self, broker: PaperBroker) -> Trader:
        trader = Trader(self.models, broker)
        trader.warm_up(self.history)
        return trader

    def _report_events(self) -> None:
        for trade in self.trader.trades:
            self.sink.record_trade(
                {
                    "symbol": trade.symbol,
                    "quantity": trade.quantity,
                    "entry_price": trade.entry_price,
                    "exit_price": trade.exit_price,
                    "pnl": trade.pnl,
                    "fees": trade.fees,
                }
            )
        self.trader.trades.clear()
        for error in self.trader.errors:
            self.sink.record_error(error.message, type=error.type, **error.context)
        self.trader.errors.clear()

    def _report_tick(self, mono_ns: int, wall_s: float) -> None:
        if mono_ns - self._ages_read_ns >= ARTIFACT_SECONDS * 1e9:
            self._ages = {
                "teacher": age_hours(self.models_folder / TEACHER_FILE, wall_s),
                "student": age_hours(self.models_folder / STUDENT_FILE, wall_s),
            }
            self._ages_read_ns = mono_ns
        times = TickTimes(
            now_s=wall_s,
            uptime_s=(mono_ns - self.started_mono_ns) / 1e9,
            last_api_call_s=self._last_api_s,
            feed_age_s=(mono_ns - self._last_feed_ns) / 1e9,
        )
        metrics = tick_metrics(self.trader, self.sentiment, times, self._ages)
        self.last_tick_ns = time.monotonic_ns()
        self.sink.record_tick(metrics)
        for name in self._watch.rising(metrics):
            self.report({"evidence": name, "mono_ns": self.last_tick_ns})
        if mono_ns - self._status_sent_ns >= STATUS_SECONDS * 1e9:
            self._status_sent_ns = mono_ns
            self.report({"status": self._status(metrics)})

    def _status(self, metrics: dict[str, Any]) -> dict[str, Any]:
        return {
            "day": self.trader.day.isoformat() if self.trader.day else "",
            "bars": self.trader.bars_total,
            "equity": metrics["account"]["equity"],
            "daily": metrics["pnl"]["daily"],
            "realized_total": metrics["account"]["realized_total"],
            "drawdown_ratio": metrics["account"]["drawdown_ratio"],
            "positions": metrics["positions"]["symbols"],
            "fills": metrics["orders"]["fills_total"],
            "breaker": metrics["risk"]["circuit_breaker_active"],
        }
