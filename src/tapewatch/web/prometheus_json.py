"""Prometheus's JSON, written straight to text: floats and times as its own server writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.labels import Labels
from tapewatch.series.querier import SeriesSlice, Times

if TYPE_CHECKING:
    from tapewatch.promql import QueryResult

_json = msgspec.json.Encoder()


def result_json(result: QueryResult, at_ns: int) -> str:
    """Return the ``data`` object of a query.

    Args:
        result: What the query engine gave.
        at_ns: The instant of the query; scalars and strings carry it.
    """
    kind = result.type.value
    if kind == "vector":
        stamps = {t: time_text(t) for t in {s.time_ns for s in result.vector}}
        values = float_texts([s.value for s in result.vector])
        body = ",".join(
            [
                f'{{"metric":{labels_json(s.labels)},"value":[{stamps[s.time_ns]},"{value}"]}}'
                for s, value in zip(result.vector, values, strict=True)
            ]
        )
        return f'{{"resultType":"vector","result":[{body}]}}'
    if kind == "matrix":
        grid = _Grid()
        body = ",".join(
            [
                f'{{"metric":{labels_json(s.labels)},"values":[{_points(grid, s)}]}}'
                for s in result.matrix
            ]
        )
        return f'{{"resultType":"matrix","result":[{body}]}}'
    if kind == "scalar":
        value = result.scalar if result.scalar is not None else math.nan
        return f'{{"resultType":"scalar","result":{point_json(at_ns, value)}}}'
    return f'{{"resultType":"string","result":[{time_text(at_ns)},{text_json(result.string)}]}}'


def labels_json(labels: Labels) -> str:
    """Return a label set as a JSON object."""
    try:
        return _json.encode(labels.as_dict()).decode()
    except UnicodeEncodeError:
        return "{" + ",".join(f"{text_json(k)}:{text_json(v)}" for k, v in labels.pairs) + "}"


def text_json(text: str) -> str:
    """Return a JSON string. Lone surrogates, which UTF-8 cannot carry, become U+FFFD."""
    try:
        return _json.encode(text).decode()
    except UnicodeEncodeError:
        return _json.encode(
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ).decode()


def point_json(time_ns: int, value: float) -> str:
    """Return ``[seconds, "value"]``."""
    return f'[{time_text(time_ns)},"{float_text(value)}"]'


class _Grid:
    """Remembers the last times written: the series of a range query share theirs."""

    def __init__(self) -> None:
        self._times: Times | None = None
        self._texts: list[str] = []

    def texts(self, times: Times) -> list[str]:
        known = self._times
        if known is None or not (times is known or np.array_equal(times, known)):
            self._times, self._texts = times, [time_text(t) for t in times.tolist()]
        return self._texts


def _points(grid: _Grid, series: SeriesSlice) -> str:
    values = float_texts(series.values.tolist())
    return ",".join([f'[{t},"{v}"]' for t, v in zip(grid.texts(series.times), values, strict=True)])


def float_texts(values: list[float]) -> list[str]:
    """Return :func:`float_text` of each value, all plain ones in one call."""
    if not values:
        return []
    text = _json.encode(values)[1:-1].decode("ascii") + ","
    if "e" in text or "n" in text:  # an exponent, or null for NaN and infinities
        return [float_text(v) for v in values]
    return text.replace(".0,", ",").split(",")[:-1]


def time_text(time_ns: int) -> str:
    """Return Unix seconds with milliseconds, where there are any.

    >>> time_text(1_435_781_451_781_000_000)
    '1435781451.781'
    """
    seconds, milliseconds = divmod(time_ns // MILLISECOND, 1000)
    if seconds < 0 and milliseconds:
        return f"{(time_ns // MILLISECOND) / 1000:.3f}"
    return f"{seconds}.{milliseconds:03d}" if milliseconds else str(seconds)


def float_text(value: float) -> str:
    """Return the shortest digits that give the float back, with an exponent only for extremes.

    >>> float_text(1e20), float_text(1e21), float_text(1e-7), float_text(3.0)
    ('100000000000000000000', '1e+21', '1e-07', '3')
    """
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = float.__repr__(value)
    if "e" in text:
        size = abs(value)
        if size < 1e-6 or size >= 1e21:
            return text.replace(".0e", "e")
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def exponent_text(value: float | None) -> str:
    """Return a float with an exponent always, as alerts carry it.

    >>> exponent_text(120.5), exponent_text(0.0)
    ('1.205e+02', '0e+00')
    """
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return float_text(value)
    sign, digits, exponent = Decimal(float.__repr__(value)).as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - finite by now
    text = "".join(map(str, digits)).lstrip("0")
    power = exponent + len(text) - 1 if text else 0
    text = text.rstrip("0") or "0"
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def iso_time(time_ns: int | None) -> str:
    """Return RFC 3339 in UTC with nanoseconds; the zero time for what has never been."""
    if time_ns is None:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(time_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{whole}{fraction}Z"


def envelope(data: str, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> bytes:
    """Wrap ``data`` into Prometheus's answer."""
    more = ""
    for name, notes in (("warnings", warnings), ("infos", infos)):
        if notes:
            more += f',"{name}":[{",".join(map(text_json, notes))}]'
    return f'{{"status":"success","data":{data}{more}}}'.encode()
