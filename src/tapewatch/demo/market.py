"""Recorded daily bars of real shares, read from the installed ``bokeh_sampledata`` package.

The package (BSD-3) carries the public-domain Quandl WIKI prices of AAPL, FB, GOOG, IBM and MSFT
from March 2000 to March 2013: some 12,000 bars. Nothing is downloaded and nothing is invented.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tapewatch.model.errors import TapewatchError

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
COLUMNS = ("Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close")
DATA_FILE = "_data/stocks.csv.gz"


class MarketDataError(TapewatchError):
    """The recorded market data are not installed, or not as expected."""

    code = "market_data"


@dataclass(frozen=True, slots=True)
class Bar:
    """One trading day of one share, in US dollars, adjusted for splits and dividends."""

    symbol: str
    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    """Shares traded, as recorded (not adjusted)."""


def data_file() -> Path:
    """Return where the installed package keeps the prices.

    Raises:
        MarketDataError: the package is not installed, or holds no such file.
    """
    # find_spec does not run the package: its import is nothing that we need.
    spec = importlib.util.find_spec("bokeh_sampledata")
    install = "install it with: pip install 'tapewatch[demo]'"
    if spec is None or not spec.submodule_search_locations:
        raise MarketDataError(
            "the demo trades recorded prices from the package bokeh_sampledata,"
            " which is not installed",
            next_step=install,
        )
    file = Path(next(iter(spec.submodule_search_locations))) / DATA_FILE
    if not file.is_file():
        raise MarketDataError(
            f"{file}: the installed bokeh_sampledata has no such file (2026.1 or newer has)",
            next_step=install,
        )
    return file


def read_bars(file: Path | None = None) -> tuple[Bar, ...]:
    """Return every bar, by day and then by symbol.

    The recorded prices are as traded. Open, high, low and close of a day are scaled by
    adjusted close / close, so that a split is no jump and a dividend no loss.

    Raises:
        MarketDataError: the data are missing or a row is not as expected; names file and line.
    """
    file = file or data_file()
    bars = sorted(_rows(file), key=lambda bar: (bar.day, bar.symbol))
    if not bars:
        raise MarketDataError(f"{file}: no bars found; expected rows of {', '.join(SYMBOLS)}")
    return tuple(bars)


def _rows(file: Path) -> Iterator[Bar]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        rows = csv.reader(text)
        header = tuple(next(rows, ()))
        if header != COLUMNS:
            raise MarketDataError(f"{file}:1: found columns {header}, expected {COLUMNS}")
        for line, row in enumerate(rows, start=2):
            try:
                symbol, day, opened, high, low, close, volume, adjusted = row
                scale = float(adjusted) / float(close)
                bar = Bar(
                    symbol=symbol,
                    day=date.fromisoformat(day),
                    open=float(opened) * scale,
                    high=float(high) * scale,
                    low=float(low) * scale,
                    close=float(adjusted),
                    volume=int(volume),
                )
            except (ValueError, ZeroDivisionError) as error:
                raise MarketDataError(f"{file}:{line}: {row!r} is no daily bar: {error}") from error
            yield bar
