"""Matchers against label sets: compiled once, with RE2 so that no pattern can hang the daemon."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import re2

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.series.querier import Matcher, MatchType

_MAX_PATTERN_BYTES = 1 << 20
"""RE2's budget for one compiled pattern; ``(((a{100}){100}){100})`` is refused, not built."""
_CACHED_PATTERNS = 1024
_PLAIN_ALTERNATIVES = re.compile(r"[A-Za-z0-9_/:@ -]*(?:\|[A-Za-z0-9_/:@ -]*)*")

TextTest = Callable[[str], bool]
LabelsTest = Callable[[Labels], bool]


@lru_cache(maxsize=_CACHED_PATTERNS)
def compile_regex(pattern: str) -> re2._Regexp:
    """Compile a PromQL regular expression: RE2 syntax, the dot matches a newline.

    The pattern is wrapped as Prometheus wraps it, ``^(?s:...)$``, so it must match the whole text.

    Raises:
        QueryError: The pattern is not valid RE2 or would need too much memory.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PATTERN_BYTES
    try:
        return re2.compile(f"^(?s:{pattern})$", options)
    except (re2.error, UnicodeEncodeError) as error:
        raise QueryError(f"error parsing regexp {pattern!r}: {_reason(error)}") from None


@lru_cache(maxsize=_CACHED_PATTERNS)
def regex_test(pattern: str) -> TextTest:
    """Return the test of a whole text against a PromQL regular expression.

    Raises:
        QueryError: As `compile_regex`.
    """
    if pattern == ".*":
        return lambda text: True
    if pattern == ".+":
        return lambda text: text != ""
    if _PLAIN_ALTERNATIVES.fullmatch(pattern):
        return frozenset(pattern.split("|")).__contains__
    compiled = compile_regex(pattern)

    def matches(text: str) -> bool:
        try:
            return compiled.fullmatch(text) is not None
        except UnicodeEncodeError:
            # A lone surrogate has no UTF-8 form; RE2 sees the replacement character instead.
            return compiled.fullmatch(text.encode("utf-8", "replace").decode()) is not None

    return matches


def text_test(matcher: Matcher) -> TextTest:
    """Return the test of one label's value; an absent label is passed as the empty text.

    Raises:
        QueryError: The matcher's regular expression is not valid RE2.
    """
    value = matcher.value
    if matcher.type is MatchType.EQUAL:
        return value.__eq__
    if matcher.type is MatchType.NOT_EQUAL:
        return value.__ne__
    test = regex_test(value)
    if matcher.type is MatchType.REGEX:
        return test
    return lambda text: not test(text)


def compile_matchers(matchers: Sequence[Matcher]) -> LabelsTest:
    """Return the test of a label set against all matchers; no matcher at all accepts everything.

    Raises:
        QueryError: A regular expression is not valid RE2 or would need too much memory.
    """
    tests = [(m.name, text_test(m)) for m in matchers]
    if len(tests) == 1:
        name, test = tests[0]
        return lambda labels: test(labels.get(name))

    def accepts(labels: Labels) -> bool:
        return all(test(labels.get(name)) for name, test in tests)

    return accepts


def _reason(error: Exception) -> str:
    if error.args and isinstance(error.args[0], bytes):
        return error.args[0].decode("utf-8", "replace")
    return str(error)
