"""Functions of one value at a time: rounding, roots, logarithms, angles, clamps."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from tapewatch.promql.binary import filtered
from tapewatch.promql.functions.registry import (
    SCALAR,
    VECTOR,
    Function,
    Implementation,
    Invocation,
)
from tapewatch.promql.values import Floats, Vector


def with_values(call: Invocation, vector: Vector, values: Floats) -> Vector:
    """Return the vector with other values and without metric names."""
    result = Vector(vector.labels, values, vector.present, vector.one_name, vector.drops_name)
    return call.evaluation.drop_name(call.node, result)


def _each(compute: Callable[[Floats], Floats]) -> Implementation:
    def run(call: Invocation) -> Vector:
        vector = cast(Vector, call.args[0])
        return with_values(call, vector, compute(vector.values))

    return run


def _sign(values: Floats) -> Floats:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def _round(call: Invocation) -> Vector:
    """Round half up to a multiple: floor(v / to + 0.5), written with the inverse as Prometheus."""
    vector = cast(Vector, call.args[0])
    nearest = cast(Floats, call.args[1]) if len(call.args) > 1 else np.ones(call.steps)
    inverse = 1.0 / nearest
    return with_values(call, vector, np.floor(vector.values * inverse + 0.5) / inverse)


def _clamp(call: Invocation) -> Vector:
    """Hold values within bounds; nothing where the upper bound lies below the lower one."""
    vector = cast(Vector, call.args[0])
    low, high = cast(Floats, call.args[1]), cast(Floats, call.args[2])
    values = np.maximum(low, np.minimum(high, vector.values))
    return filtered(with_values(call, vector, values), vector.present & ~(high < low))


def _clamp_min(call: Invocation) -> Vector:
    vector = cast(Vector, call.args[0])
    return with_values(call, vector, np.maximum(vector.values, call.args[1]))


def _clamp_max(call: Invocation) -> Vector:
    vector = cast(Vector, call.args[0])
    return with_values(call, vector, np.minimum(vector.values, call.args[1]))


def _pi(call: Invocation) -> Floats:
    return np.full(call.steps, np.pi)


_ONE_VALUE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "sgn": _sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "deg": lambda values: values * 180.0 / np.pi,
    "rad": lambda values: values * np.pi / 180.0,
}

FUNCTIONS = (
    *(Function(name, (VECTOR,), _each(compute)) for name, compute in _ONE_VALUE.items()),
    Function("round", (VECTOR, SCALAR), _round, variadic=1),
    Function("clamp", (VECTOR, SCALAR, SCALAR), _clamp),
    Function("clamp_min", (VECTOR, SCALAR), _clamp_min),
    Function("clamp_max", (VECTOR, SCALAR), _clamp_max),
    Function("pi", (), _pi, returns=SCALAR),
)
