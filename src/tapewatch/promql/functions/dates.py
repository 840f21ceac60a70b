"""Time, and parts of dates in UTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from tapewatch.model.clock import SECOND
from tapewatch.model.labels import EMPTY
from tapewatch.promql.ast import Call, VectorSelector, unwrap
from tapewatch.promql.functions.elementwise import with_values
from tapewatch.promql.functions.registry import (
    SCALAR,
    VECTOR,
    Function,
    Implementation,
    Invocation,
)
from tapewatch.promql.selection import sampled
from tapewatch.promql.values import Floats, Vector

Dates = npt.NDArray[np.datetime64]
Ints = npt.NDArray[np.int64]

_RANGE = 2.0**63
"""Seconds from here on have no date in 64 bits."""


def seconds(times: Ints) -> Floats:
    """Return nanoseconds as seconds, each the float nearest to the decimal."""
    return times / SECOND


def _time(call: Invocation) -> Floats:
    return seconds(call.times)


def _timestamp(call: Invocation) -> Vector:
    """Return when each sample was taken; of anything but a selector, the evaluation time."""
    arg = unwrap(call.node.args[0])
    evaluation = call.evaluation
    if isinstance(arg, VectorSelector):
        vector, stamps = sampled(evaluation, arg, call.times)
        return with_values(call, vector, seconds(stamps))
    vector = evaluation.vector(arg, call.times)
    values = np.broadcast_to(seconds(call.times), vector.values.shape)
    return with_values(call, vector, values)


def _timestamp_moves(node: Call) -> bool:
    return not isinstance(unwrap(node.args[0]), VectorSelector)


def _part(compute: Callable[[Dates], Ints], of_no_date: int) -> Implementation:
    """Make a function of dates; NaN and what has no date get the part Prometheus gives them."""

    def run(call: Invocation) -> Vector:
        if call.args:
            vector = cast(Vector, call.args[0])
        else:
            values = seconds(call.times)[None, :]
            vector = Vector([EMPTY], values, np.ones(values.shape, dtype=np.bool_), True)
        known = np.abs(vector.values) < _RANGE
        dates = np.where(known, vector.values, 0.0).astype(np.int64).astype("datetime64[s]")
        parts = np.where(known, compute(dates), of_no_date).astype(np.float64)
        return with_values(call, vector, parts)

    return run


def _since(dates: Dates, unit: str, start: str) -> Ints:
    """Return how many whole units lie between the start of the larger unit and the date."""
    fine = dates.astype(f"datetime64[{unit}]")
    coarse = dates.astype(f"datetime64[{start}]").astype(f"datetime64[{unit}]")
    result: Ints = (fine - coarse).astype(np.int64)
    return result


def _days_in_month(dates: Dates) -> Ints:
    month = dates.astype("datetime64[M]")
    length = (month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")
    result: Ints = length.astype(np.int64)
    return result


def _day_of_week(dates: Dates) -> Ints:
    return (dates.astype("datetime64[D]").astype(np.int64) + 4) % 7  # 1 January 1970: Thursday


# The second number is the part of 292277026596-12-04 15:30:08, a Sunday: what the Go runtime makes
# of a float that is no 64-bit integer, and so what Prometheus answers on x86-64.
_PARTS: dict[str, tuple[Callable[[Dates], Ints], int]] = {
    "year": (lambda dates: dates.astype("datetime64[Y]").astype(np.int64) + 1970, 292277026596),
    "month": (lambda dates: _since(dates, "M", "Y") + 1, 12),
    "day_of_month": (lambda dates: _since(dates, "D", "M") + 1, 4),
    "day_of_year": (lambda dates: _since(dates, "D", "Y") + 1, 339),
    "day_of_week": (_day_of_week, 0),
    "days_in_month": (_days_in_month, 31),
    "hour": (lambda dates: _since(dates, "h", "D"), 15),
    "minute": (lambda dates: _since(dates, "m", "h"), 30),
}

FUNCTIONS = (
    Function("time", (), _time, returns=SCALAR, depends_on_time=lambda node: True),
    Function(
        "timestamp",
        (VECTOR,),
        _timestamp,
        evaluates_args=False,
        depends_on_time=_timestamp_moves,
    ),
    *(
        Function(
            name,
            (VECTOR,),
            _part(compute, of_no_date),
            variadic=1,
            depends_on_time=lambda node: not node.args,
        )
        for name, (compute, of_no_date) in _PARTS.items()
    ),
)
