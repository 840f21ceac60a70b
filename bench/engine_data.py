"""What trading engines record, made up the same in every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def engine_columns(rows: int, seed: int = 1) -> dict[str, Floats]:
    """Return fifteen columns such as trading engines record: mostly decimal, some not."""
    luck = np.random.default_rng(seed)
    price = np.round(100 + np.cumsum(luck.normal(0, 0.05, rows)), 2)
    fills = np.round(luck.normal(0, 3, rows), 2)
    return {
        "price": price,
        "bid_in_ticks": 100 + np.cumsum(luck.integers(-1, 2, rows)) / 100,
        "equity_added_up": 100_000 + np.cumsum(fills),
        "pnl_percent_computed": np.cumsum(fills) / 100_000 * 100,
        "positions": luck.integers(0, 20, rows).astype(float),
        "breaker": np.zeros(rows),
        "orders_total": np.cumsum(luck.integers(0, 3, rows)).astype(float),
        "ticks_total": np.arange(rows, dtype=float),
        "latency_ms": np.round(luck.gamma(2, 3, rows), 3),
        "slippage_percent": np.round(luck.normal(0, 1, rows), 4),
        "last_quote_seconds": 1.7e9 + np.arange(rows) + np.round(luck.random(rows), 6),
        "quantity": np.repeat(luck.integers(0, 50, rows // 100 + 1) * 10.0, 100)[:rows],
        "model_score": luck.random(rows),
        "volatility": np.sqrt(price),
        "cpu_percent": np.round(luck.random(rows) * 100, 1),
    }
