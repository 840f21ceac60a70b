"""Current values as text: the Prometheus text format 0.0.4 and OpenMetrics 1.0.0.

Built for speed: what stands before the value on each line never changes, so it is rendered once
per series and kept. A scrape then costs one number and one join per value.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from tapewatch.model.labels import METRIC_NAME, Labels
from tapewatch.model.metric import MetricType

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

_json = msgspec.json.Encoder()

Column = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """The series of one name, as columns.

    Hand over the same ``labels`` tuple (or at least the same ``Labels`` objects) at every scrape:
    what is rendered from them is cached by identity.
    """

    name: str
    """As it is queried; a counter's ends in ``_total``."""
    type: MetricType = MetricType.GAUGE
    help: str = ""
    unit: str = ""
    labels: Sequence[Labels] = (Labels(),)
    """Label sets; a metric name inside is ignored."""
    values: Column = ()
    """One value for each label set."""
    timestamps_ms: Sequence[int | None] | None = None
    """Unix milliseconds for each value; None where the scraper's clock shall count."""
    suffixes: tuple[str, ...] | None = None
    """For histograms and summaries: ``_bucket``, ``_sum``, ``_count`` or nothing, per series."""

    @classmethod
    def single(
        cls,
        name: str,
        value: float,
        help: str,
        type: MetricType = MetricType.GAUGE,
        unit: str = "",
    ) -> MetricFamily:
        """Build a family of one series without labels."""
        return cls(name, type, help, unit, _NO_LABELS, (value,))


_NO_LABELS = (Labels(),)


@dataclass(slots=True)
class _Rendered:
    """What is kept of a family between scrapes."""

    head_key: tuple[str, str, str, str]
    head: str
    labels: tuple[Labels, ...] = ()
    frozen: tuple[Labels, ...] | None = None
    """The family's own tuple, where it came as one."""
    suffixes: tuple[str, ...] | None = None
    prefixes: list[str] = field(default_factory=list)
    keep: list[int] | None = None
    """Indices to show when some label sets are doubled; None when all are."""
    by_identity: dict[tuple[int, str], tuple[Labels, str]] = field(default_factory=dict)


class Renderer:
    """Renders families, keeping what does not change. One per format and server; not thread-safe.

    A family with an invalid name, or whose columns differ in length, is left out and counted in
    :attr:`skipped`: one bad family must not cost the others.
    """

    def __init__(self, *, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._kept: dict[str, _Rendered] = {}
        self.skipped = 0

    @property
    def content_type(self) -> str:
        """The Content-Type of what :meth:`render` returns."""
        return OPENMETRICS_CONTENT_TYPE if self._openmetrics else TEXT_CONTENT_TYPE

    def render(self, families: Iterable[MetricFamily]) -> bytes:
        """Return the exposition of all families; of two with one name, the first is shown."""
        seen: dict[str, MetricFamily] = {}
        for family in families:
            if family.name in seen or not _is_sound(family):
                self.skipped += 1
            else:
                seen[family.name] = family
        chunks: list[str] = []
        for family in seen.values():
            self._render_family(family, seen, chunks)
        if len(self._kept) > len(seen):
            self._kept = {name: kept for name, kept in self._kept.items() if name in seen}
        if self._openmetrics:
            chunks.append("# EOF\n")
        # Lone surrogates cannot be encoded; a question mark keeps the rest of the scrape alive.
        return "".join(chunks).encode("utf-8", "replace")

    def _render_family(
        self, family: MetricFamily, seen: dict[str, MetricFamily], chunks: list[str]
    ) -> None:
        kept = self._rendered(family, seen)
        chunks.append(kept.head)
        numbers = _numbers(family.values)
        stamps = family.timestamps_ms
        if kept.keep is not None:
            numbers = [numbers[i] for i in kept.keep]
            stamps = [stamps[i] for i in kept.keep] if stamps is not None else None
        if stamps is None:
            lines = [a + b for a, b in zip(kept.prefixes, numbers, strict=True)]
        else:
            lines = [
                a + b + self._stamp(t)
                for a, b, t in zip(kept.prefixes, numbers, stamps, strict=True)
            ]
        if lines:
            chunks.append("\n".join(lines))
            chunks.append("\n")

    def _stamp(self, stamp_ms: int | None) -> str:
        if stamp_ms is None:
            return ""
        return f" {stamp_ms / 1000:.3f}" if self._openmetrics else f" {stamp_ms}"

    def _rendered(self, family: MetricFamily, seen: dict[str, MetricFamily]) -> _Rendered:
        base, shown = self._naming(family, seen)
        head_key = (base, shown, family.help, family.unit)
        kept = self._kept.get(family.name)
        if kept is None or kept.head_key != head_key:
            kept = _Rendered(head_key, self._head(family, base, shown))
            self._kept[family.name] = kept
        elif kept.suffixes is family.suffixes and (
            kept.frozen is family.labels or _are_same(kept.labels, family.labels)
        ):
            return kept
        self._refresh(kept, family, base, shown)
        return kept

    def _refresh(self, kept: _Rendered, family: MetricFamily, base: str, shown: str) -> None:
        """Render the prefixes of label sets not met before; forget those that are gone."""
        old = kept.by_identity
        new: dict[tuple[int, str], tuple[Labels, str]] = {}
        prefixes = []
        suffixes = family.suffixes or ("",) * len(family.labels)
        for labels, suffix in zip(family.labels, suffixes, strict=True):
            key = (id(labels), suffix)
            entry = old.get(key)
            if entry is None:
                entry = (labels, self._prefix(base, shown, suffix, labels))
            # The entry holds the labels, so that their id cannot pass to another object.
            new[key] = entry
            prefixes.append(entry[1])
        kept.by_identity = new
        kept.keep = _first_of_each(prefixes)
        kept.prefixes = prefixes if kept.keep is None else [prefixes[i] for i in kept.keep]
        kept.labels = tuple(family.labels)
        # Only what cannot change under our feet may be recognised by its own identity.
        kept.frozen = family.labels if isinstance(family.labels, tuple) else None
        kept.suffixes = family.suffixes

    def _naming(self, family: MetricFamily, seen: dict[str, MetricFamily]) -> tuple[str, str]:
        """Return the family's name in this format and the type word."""
        name = family.name
        if not self._openmetrics:
            plain = {MetricType.INFO: "gauge", MetricType.UNKNOWN: "untyped"}
            return name, plain.get(family.type, family.type.value)
        if family.type is MetricType.COUNTER:
            base = name.removesuffix("_total")
            # OpenMetrics names a counter without its suffix; where that name is taken by another
            # family, the type is given up rather than the name.
            return (name, "unknown") if base != name and base in seen else (base, "counter")
        if family.type is MetricType.INFO and not name.endswith("_info"):
            return name, "gauge"
        if family.type is MetricType.INFO:
            return name.removesuffix("_info"), "info"
        return name, family.type.value

    def _head(self, family: MetricFamily, base: str, shown: str) -> str:
        lines = []
        if family.help:
            text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
            if self._openmetrics:
                text = text.replace('"', '\\"')
            lines.append(f"# HELP {base} {text}\n")
        lines.append(f"# TYPE {base} {shown}\n")
        if self._openmetrics and family.unit and base.endswith(f"_{family.unit}"):
            lines.append(f"# UNIT {base} {family.unit}\n")
        return "".join(lines)

    def _prefix(self, base: str, shown: str, suffix: str, labels: Labels) -> str:
        name = base + suffix
        if self._openmetrics and shown in ("counter", "info"):
            name = base + ("_total" if shown == "counter" else "_info")
        inner = ",".join(
            f'{key}="{_escape(value)}"'
            for key, value in labels.pairs
            if key != METRIC_NAME and _LABEL_NAME.fullmatch(key)
        )
        return f"{name}{{{inner}}} " if inner else f"{name} "


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an Accept header prefers OpenMetrics 1.0.0 to the text format.

    >>> wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    True
    """
    best = {"openmetrics": 0.0, "text": 0.0}
    for part in accept.split(","):
        media, *params = (p.strip() for p in part.split(";"))
        options = dict(p.split("=", 1) for p in params if "=" in p)
        try:
            quality = float(options.get("q", "1"))
        except ValueError:
            quality = 0.0
        if media == "application/openmetrics-text":
            if options.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
                best["openmetrics"] = max(best["openmetrics"], quality)
        elif media in ("text/plain", "text/*", "*/*"):
            best["text"] = max(best["text"], quality)
    return best["openmetrics"] > 0 and best["openmetrics"] >= best["text"]


def _is_sound(family: MetricFamily) -> bool:
    count = len(family.labels)
    return (
        _METRIC_NAME.fullmatch(family.name) is not None
        and len(family.values) == count
        and (family.suffixes is None or len(family.suffixes) == count)
        and (family.timestamps_ms is None or len(family.timestamps_ms) == count)
    )


def _numbers(values: Column) -> list[str]:
    column: Sequence[float] = values.tolist() if isinstance(values, np.ndarray) else values
    if not column:
        return []
    try:
        # One call writes the whole column, each float in its shortest exact form.
        text = _json.encode(column)
    except TypeError:  # a kind of number that JSON does not know
        return [number_text(float(v)) for v in column]
    if b"u" in text or b"l" in text:  # null for NaN and infinities, or a bool
        return [number_text(float(v)) for v in column]
    return text[1:-1].decode("ascii").split(",")


def number_text(value: float) -> str:
    """Return a float as both formats write it.

    >>> number_text(float("inf"))
    '+Inf'
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return float.__repr__(value)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _are_same(kept: Sequence[Labels], given: Sequence[Labels]) -> bool:
    return len(kept) == len(given) and all(map(operator.is_, kept, given))


def _first_of_each(prefixes: list[str]) -> list[int] | None:
    if len(set(prefixes)) == len(prefixes):
        return None
    first: dict[str, int] = {}
    for index, prefix in enumerate(prefixes):
        first.setdefault(prefix, index)
    return sorted(first.values())
