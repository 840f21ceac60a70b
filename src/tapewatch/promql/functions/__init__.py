"""The functions of the language: one table entry each."""

from __future__ import annotations

from tapewatch.promql.functions import (
    dates,
    elementwise,
    histograms,
    labelling,
    presence,
    ranges,
    rates,
    unsupported,
)
from tapewatch.promql.functions.registry import Function, Implementation, Invocation

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for module in (
        dates,
        elementwise,
        histograms,
        labelling,
        presence,
        ranges,
        rates,
        unsupported,
    )
    for function in module.FUNCTIONS
}

__all__ = ["FUNCTIONS", "Function", "Implementation", "Invocation"]
