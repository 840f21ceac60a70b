"""Runs query test scripts in the language of Prometheus's ``promqltest`` against a query engine.

A script loads series (``load 5m``), evaluates (``eval instant at 50m ...``, ``eval range from 0 to
10m step 1m ...``) and states what must come out. Native histograms are outside of what the engine
stores: their samples are left out on loading, and an evaluation that asks for one, or that comes
out different because of one, is counted as such instead of as failed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.model.errors import QueryError
from tapewatch.model.labels import EMPTY, Labels
from tapewatch.promql import QueryEngine, ValueType, VectorSelector, parse, selectors
from tapewatch.series.matching import compile_matchers
from tapewatch.series.querier import STALE
from tapewatch.testing.memory_querier import MemoryQuerier

_TOLERANCE = 1e-6
_TINIEST = 2.2250738585072014e-308
_UNSIGNED = r"(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|(?i:inf|nan))"
_NUMBER = rf"[+-]?{_UNSIGNED}"
_SEQUENCE = re.compile(rf"({_NUMBER})(?:([+-])({_UNSIGNED}))?(?:x([0-9]+))?")
_HISTOGRAM = re.compile(r"\{\{.*?\}\}(?:[+-]\{\{.*?\}\})?(?:x([0-9]+))?")
_SERIES = re.compile(
    r"""[A-Za-z_:][\w:]*(?:\s*\{(?!\{)(?:[^}"'`]|"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|`[^`]*`)*\})?"""
    r"""|\{(?!\{)(?:[^}"'`]|"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|`[^`]*`)*\}"""
)
_INSTANT = re.compile(r"eval(_\w+)?\s+instant\s+(?:at\s+(\S+))?\s+(.+)")
_RANGE = re.compile(r"eval(_\w+)?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+?)\s+(.+)")
_EXPECT = re.compile(
    r"expect\s+(ordered|fail|warn|no_warn|info|no_info|string|range vector)\b\s*(.*)"
)


class ScriptError(ValueError):
    """A script does not follow the language."""


class Verdict(StrEnum):
    """What became of one evaluation."""

    PASSED = "passed"
    FAILED = "failed"
    NATIVE = "native histogram"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluation of a script."""

    line: int
    query: str
    verdict: Verdict
    reason: str = ""


@dataclass(slots=True)
class _Expectation:
    series: list[tuple[Labels | None, list[float | None]]] = field(default_factory=list)
    """Labels (None for a scalar) and values per step; None where there must be nothing."""
    native: bool = False
    ordered: bool = False
    string: str | None = None
    fail: tuple[str, str] | None = None
    """How (msg, regex or any) and what the error must say."""
    notes: dict[str, tuple[str, str] | None] = field(
        default_factory=lambda: {"warn": None, "info": None}
    )
    """What warnings and infos must say; None: there must be none."""


@dataclass(slots=True)
class _Evaluation:
    line: int
    query: str
    start_ns: int
    end_ns: int
    step_ns: int | None
    """None for an instant query."""
    expected: _Expectation


def run_script(text: str) -> list[Outcome]:
    """Run a script and return what became of each evaluation, in order.

    Raises:
        ScriptError: The script itself is wrong.
    """
    return list(_Runner(text).run())


class _Runner:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.at = 0
        self.querier = MemoryQuerier()
        self.engine = QueryEngine(self.querier)
        self.native: set[Labels] = set()
        """Series that have native histogram samples, which are not loaded."""

    def run(self) -> Iterator[Outcome]:
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            self.at += 1
            if not line or line.startswith("#"):
                continue
            if line == "clear":
                self.querier.clear()
                self.native.clear()
            elif line.startswith("load"):
                self._load(line)
            elif line.startswith("eval"):
                yield self._judge(self._read_evaluation(line))
            else:
                raise ScriptError(f"line {self.at}: unknown command {line!r}")

    def _block(self) -> Iterator[str]:
        """Yield the lines that belong to a command: up to the next empty one."""
        while self.at < len(self.lines):
            line = self.lines[self.at].strip()
            if not line:
                return
            self.at += 1
            if not line.startswith("#"):
                yield line

    def _load(self, command: str) -> None:
        word, step = command.split(None, 1)
        step_ns = parse_duration(step.strip())
        for line in self._block():
            labels, rest = read_series(line)
            values, native = read_values(rest)
            samples = [(i * step_ns, v) for i, v in enumerate(values) if v is not None]
            self.querier.add(labels or EMPTY, samples)
            if native:
                self.native.add(labels or EMPTY)
            if word == "load_with_nhcb" and labels is not None:
                self._note_converted(labels)

    def _note_converted(self, labels: Labels) -> None:
        """Remember the native histogram that the command makes of classic series."""
        for suffix in ("_bucket", "_sum", "_count"):
            if labels.name.endswith(suffix):
                self.native.add(labels.without("le").with_(__name__=labels.name[: -len(suffix)]))

    def _read_evaluation(self, line: str) -> _Evaluation:
        number = self.at
        match = _INSTANT.fullmatch(line)
        if match is not None:
            flavour, at, query = match.groups()
            start = end = read_time(at or "0")
            step = None
        else:
            match = _RANGE.fullmatch(line)
            if match is None:
                raise ScriptError(f"line {number}: cannot read {line!r}")
            flavour, begin, until, step_text, query = match.groups()
            start, end, step = read_time(begin), read_time(until), read_time(step_text)
        expected = _Expectation()
        if flavour in ("_warn", "_info"):
            expected.notes[flavour[1:]] = ("any", "")
        expected.ordered = flavour == "_ordered"
        if flavour == "_fail":
            expected.fail = ("any", "")
        for detail in self._block():
            self._read_expectation(detail, expected)
        return _Evaluation(number, query, start, end, step, expected)

    def _read_expectation(self, line: str, expected: _Expectation) -> None:
        match = _EXPECT.fullmatch(line)
        if match is not None:
            kind, rest = match.groups()
            how, _, what = rest.partition(":")
            wanted = (how, what.strip()) if how in ("msg", "regex") else ("any", "")
            if kind == "ordered":
                expected.ordered = True
            elif kind == "fail":
                expected.fail = wanted
            elif kind == "string":
                literal = parse(rest)
                expected.string = getattr(literal, "value", "")
            elif kind in ("warn", "info"):
                expected.notes[kind] = wanted
            elif kind == "range vector":
                raise ScriptError(f"line {self.at}: range vectors cannot be expected yet")
            return
        for word, how in (("expected_fail_message", "msg"), ("expected_fail_regexp", "regex")):
            if line.startswith(word):
                expected.fail = (how, line[len(word) :].strip())
                return
        if "{{" in line:
            expected.native = True
            return
        labels, rest = read_series(line)
        values, _ = read_values(rest)
        expected.series.append((labels, values))

    # Judging

    def _judge(self, case: _Evaluation) -> Outcome:
        reason = self._check(case)
        verdict = Verdict.FAILED if reason else Verdict.PASSED
        if case.expected.native or (reason and self._touches_native(case.query)):
            verdict = Verdict.NATIVE
        return Outcome(case.line, case.query, verdict, reason)

    def _touches_native(self, query: str) -> bool:
        try:
            found = selectors(parse(query))
        except QueryError:
            return False
        tests = [compile_matchers(selector.matchers) for selector in found]
        return any(test(labels) for test in tests for labels in self.native)

    def _check(self, case: _Evaluation) -> str:
        """Return what is wrong with an evaluation; the empty text when nothing is."""
        expected = case.expected
        try:
            if case.step_ns is None:
                result = self.engine.instant(case.query, case.start_ns)
            else:
                result = self.engine.range(case.query, case.start_ns, case.end_ns, case.step_ns)
        except QueryError as error:
            if expected.fail is None:
                return f"failed: {error}"
            return _compare_text("error", expected.fail, [error.message])
        if expected.fail is not None:
            return "did not fail"
        for kind, notes in (("warn", result.warnings), ("info", result.infos)):
            wanted = expected.notes[kind]
            if wanted is None:
                if notes:
                    return f"unexpected {kind}: {notes[0]}"
            elif not notes:
                return f"expected {kind}, got none"
            elif reason := _compare_text(kind, wanted, [_without_place(n) for n in notes]):
                return reason
        if expected.string is not None:
            return "" if result.string == expected.string else f"got string {result.string!r}"
        if case.step_ns is not None:
            count = (case.end_ns - case.start_ns) // case.step_ns + 1
            steps = {case.start_ns + i * case.step_ns: i for i in range(count)}
            rows: list[tuple[Labels | None, list[float | None]]] = []
            for series in result.matrix:
                row: list[float | None] = [None] * count
                for time, value in zip(series.times.tolist(), series.values, strict=True):
                    row[steps[time]] = float(value)
                rows.append((series.labels, row))
            return _compare(rows, expected.series, ordered=False)
        if result.type is ValueType.SCALAR:
            return _compare([(None, [result.scalar])], expected.series, ordered=False)
        rows = [(sample.labels, [sample.value]) for sample in result.vector]
        reason = _compare(rows, expected.series, ordered=expected.ordered)
        return reason or self._check_among_others(case)

    def _check_among_others(self, case: _Evaluation) -> str:
        """Evaluate the same instant between two others: the middle column must not change."""
        try:
            matrix = self.engine.at(
                case.query,
                np.array([case.start_ns + d for d in (-MINUTE, 0, MINUTE)], dtype=np.int64),
            )
        except QueryError:
            return ""  # another instant may well fail
        rows: list[tuple[Labels | None, list[float | None]]] = [
            (labels, [float(values[1])])
            for labels, values, present in zip(
                matrix.labels, matrix.values, matrix.present, strict=True
            )
            if present[1]
        ]
        reason = _compare(rows, case.expected.series, ordered=False)
        return f"among other instants: {reason}" if reason else ""


def _compare_text(kind: str, wanted: tuple[str, str], found: list[str]) -> str:
    how, what = wanted
    if how == "any":
        return ""
    fits = [text for text in found if (text == what if how == "msg" else re.search(what, text))]
    return "" if fits else f"expected {kind} {what!r}, got {found}"


def _without_place(note: str) -> str:
    return re.sub(r" \(\d+:\d+\)$", "", note)


_Rows = list[tuple[Labels | None, list[float | None]]]


def _compare(found: _Rows, expected: _Rows, *, ordered: bool) -> str:
    wanted = [(labels, values) for labels, values in expected if any(v is not None for v in values)]
    if len(found) != len(wanted):
        return f"expected {len(wanted)} series, got {len(found)}: {found[:3]}"
    if not ordered:
        found = sorted(found, key=_order)
        wanted = sorted(wanted, key=_order)
    for (labels, values), (want_labels, want_values) in zip(found, wanted, strict=True):
        if labels != want_labels:
            return f"expected series {want_labels}, got {labels}"
        padded = want_values + [None] * (len(values) - len(want_values))
        if len(padded) != len(values):
            return f"{labels}: expected {len(padded)} steps, got {len(values)}"
        for value, want in zip(values, padded, strict=True):
            if not _same(value, want):
                return f"{labels}: expected {padded}, got {values}"
    return ""


def _order(row: tuple[Labels | None, list[float | None]]) -> tuple[tuple[str, str], ...]:
    return () if row[0] is None else row[0].pairs


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    if math.isinf(a) or math.isinf(b):
        return False
    size, difference = abs(a) + abs(b), abs(a - b)
    if a == 0 or b == 0 or size < _TINIEST:
        return difference < _TOLERANCE * _TINIEST
    return difference / min(size, float(np.finfo(np.float64).max)) < _TOLERANCE


def read_time(text: str) -> int:
    """Return a time or duration of the language as nanoseconds; a bare number is in seconds."""
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    try:
        return sign * parse_duration(body)
    except ValueError:
        return sign * round(float(body) * SECOND)


def read_series(line: str) -> tuple[Labels | None, str]:
    """Cut a line into labels and values; labels are None when the line is a bare number."""
    if re.fullmatch(_NUMBER, line):
        return None, line
    head = _SERIES.match(line)
    if head is None:
        raise ScriptError(f"not a series: {line!r}")
    end = head.end()
    text = head.group()
    if text == "{}":
        return EMPTY, line[end:]
    node = parse(text)
    if not isinstance(node, VectorSelector):
        raise ScriptError(f"not a series: {text!r}")
    return Labels([(m.name, m.value) for m in node.matchers]), line[end:]


def read_values(text: str) -> tuple[list[float | None], bool]:
    """Return the samples of a series, None for a gap, and whether native histograms were there.

    ``_`` is a gap, ``1+2x3`` four samples from 1 in steps of 2, ``1x3`` four times 1, ``_x3``
    three gaps, ``stale`` a stale marker.
    """
    values: list[float | None] = []
    native = False
    rest = text.strip()
    while rest:
        if rest.startswith("#"):
            break
        histogram = _HISTOGRAM.match(rest)
        if histogram is not None:
            native = True
            values.extend([None] * (int(histogram.group(1) or 0) + 1))
            rest = rest[histogram.end() :].strip()
            continue
        token, *more = rest.split(None, 1)
        rest = more[0] if more else ""
        if token.startswith("_"):
            values.extend([None] * int(token[2:] or 1))
        elif token.startswith("stale"):
            values.extend([STALE] * (int(token[6:] or 0) + 1))
        else:
            values.extend(_sequence(token))
    return values, native


def _sequence(token: str) -> Iterator[float]:
    match = _SEQUENCE.fullmatch(token)
    if match is None:
        raise ScriptError(f"not a value: {token!r}")
    first, sign, step, times = match.groups()
    value = float(first)
    change = float(sign + step) if step else 0.0
    for _ in range(int(times or 0) + 1):
        yield value
        value += change
