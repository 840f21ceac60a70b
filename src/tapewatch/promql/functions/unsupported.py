"""Functions that the language knows and we do not compute; calling one says so."""

from __future__ import annotations

from tapewatch.promql.functions.registry import VECTOR, Function

_NATIVE = "native histograms are not stored"

FUNCTIONS = (
    *(
        Function(name, (VECTOR,), None, reason=_NATIVE)
        for name in (
            "histogram_avg",
            "histogram_count",
            "histogram_sum",
            "histogram_stddev",
            "histogram_stdvar",
        )
    ),
    Function(
        "info",
        (VECTOR, VECTOR),
        None,
        variadic=1,
        reason="join with an info metric by group_left instead",
    ),
)
