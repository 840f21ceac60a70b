"""Compensated summation after Kahan and Neumaier, step by step as Prometheus does it.

The order of additions and the moment the compensation is dropped decide the last bits, and
sometimes all of them, so sums are folded in order rather than left to ``numpy.sum``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tapewatch.promql.values import Floats


def add(term: float, total: float, carry: float) -> tuple[float, float]:
    """Add a term; returns the new total and carry. The carry is 0 once the total is infinite."""
    new = total + term
    if math.isinf(new):
        return new, 0.0
    if abs(total) >= abs(term):
        return new, carry + ((total - new) + term)
    return new, carry + ((term - new) + total)


def add_arrays(term: Floats, total: Floats, carry: Floats) -> tuple[Floats, Floats]:
    """Add terms to totals, element by element, as `add`."""
    new = total + term
    lost = np.where(np.abs(total) >= np.abs(term), (total - new) + term, (term - new) + total)
    return new, np.where(np.isinf(new), 0.0, carry + lost)


def total(values: Sequence[float]) -> float:
    """Return the sum of values in their order; 0 for none."""
    running = carry = 0.0
    for value in values:
        new = running + value
        if abs(running) >= abs(value):
            carry += (running - new) + value
        else:
            carry += (value - new) + running
        running = new
    if math.isfinite(running):
        return running + carry
    # Inf or NaN came in: only the careful order of things gives the right kind of nothing.
    running = carry = 0.0
    for value in values:
        running, carry = add(value, running, carry)
    return running if math.isinf(running) else running + carry


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value.

    The sum is divided at the end; only when it overflows does the mean go on incrementally.
    """
    count = len(values)
    running, carry = values[0], 0.0
    for i in range(1, count):
        new, new_carry = add(values[i], running, carry)
        if math.isinf(new):
            return _incremental_mean(values, i, running, carry)
        running, carry = new, new_carry
    return running / count + carry / count


def _incremental_mean(values: Sequence[float], at: int, running: float, carry: float) -> float:
    current, carry = running / at, carry / at
    for i in range(at, len(values)):
        count = i + 1.0
        share = (count - 1) / count
        current, carry = add(values[i] / count, share * current, share * carry)
    return current + carry
