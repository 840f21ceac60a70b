"""Numbers and ``printf`` as Go writes them, because rule files are written for Go's templates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal

MAX_WIDTH = 256
"""Widest field and most digits; beyond it a format could make a text of any size."""

_VERB = re.compile(r"%([-+ #0]*)(\d*)(?:\.(\d*))?(.)", re.DOTALL)

Value = str | float | int | bool | None | dict[str, str]


def format_value(value: Value) -> str:
    """Return a value as a template prints it.

    >>> format_value(1234567.0)
    '1.234567e+06'
    >>> format_value(4.0)
    '4'
    """
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{v}" for k, v in sorted(value.items())) + "]"
    return str(value)


def format_float(value: float) -> str:
    """Return the shortest text that reads back equal, with an exponent below 1e-4 and from 1e6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    # repr has the shortest digits; only where the exponent begins differs from Go.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - finite
    power = len(digits) + exponent - 1
    text = "".join(map(str, digits))
    if power < -4 or power >= 6:
        body = text[0] + ("." + text[1:] if len(text) > 1 else "") + f"e{power:+03d}"
    elif exponent >= 0:
        body = text + "0" * exponent
    elif power >= 0:
        body = text[: power + 1] + "." + text[power + 1 :]
    else:
        body = "0." + "0" * (-power - 1) + text
    return ("-" if sign else "") + body


def sprintf(template: str, values: Sequence[Value]) -> str:
    """Return Go's ``fmt.Sprintf`` of the verbs v, s, q, d, f, F, e, E, g, G, x, t and %%.

    What does not fit is shown in the text, as Go does, and never raises.

    >>> sprintf("%.2f of %s", [1.0, "x"])
    '1.00 of x'
    """
    rest = list(values)

    def replace(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        digits = None if precision is None else min(int(precision or 0), MAX_WIDTH)
        text = _verb(verb, rest.pop(0), flags, digits)
        wide = min(int(width or 0), MAX_WIDTH)
        if "-" in flags:
            return text.ljust(wide)
        if "0" in flags and text[:1] in "+-0123456789":
            return text.zfill(wide)
        return text.rjust(wide)

    out = _VERB.sub(replace, template)
    if rest:
        extra = ", ".join(f"{_go_type(v)}={format_value(v)}" for v in rest)
        out += f"%!(EXTRA {extra})"
    return out


def _verb(verb: str, value: Value, flags: str, precision: int | None) -> str:
    plus = "+" if "+" in flags else " " if " " in flags else ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if verb == "v" or (verb == "s" and isinstance(value, str)):
        text = format_value(value)
        return text[:precision] if verb == "s" and precision is not None else text
    if verb == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if verb == "t" and isinstance(value, bool):
        return format_value(value)
    if verb == "d" and number and isinstance(value, int):
        return f"{value:{plus}d}"
    if verb == "x" and number and isinstance(value, int):
        return f"{value:{plus}x}"
    if verb in "feEgG" and number and isinstance(value, float):
        if not math.isfinite(value):
            text = format_float(value)
            return text if plus == "+" else text.lstrip("+")
        if precision is None and verb in "gG":
            return plus * (value >= 0) + format_float(value)
        return f"{value:{plus}.{6 if precision is None else precision}{verb}}"
    if verb == "F":
        return _verb("f", value, flags, precision)
    return f"%!{verb}({_go_type(value)}={format_value(value)})"


def _go_type(value: Value) -> str:
    names = {str: "string", float: "float64", int: "int", bool: "bool", dict: "map[string]string"}
    return names.get(type(value), "<nil>")
