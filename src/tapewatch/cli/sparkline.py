"""A row of numbers as one row of bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: Sequence[float | None]) -> str:
    """Return one character for each value, scaled between the lowest and the highest.

    None, NaN and infinities are gaps; equal values are all the lowest bar.

    >>> sparkline([0, 1, None, 7])
    '▁▂ █'
    """
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return GAP * len(values)
    low = min(finite)
    # Halved first: the difference of two huge numbers may not be finite.
    reach = max(finite) / 2 - low / 2
    out = ""
    for value in values:
        if value is None or not math.isfinite(value):
            out += GAP
        elif reach == 0:
            out += BARS[0]
        else:
            share = (value / 2 - low / 2) / reach
            out += BARS[min(int(share * len(BARS)), len(BARS) - 1)]
    return out
