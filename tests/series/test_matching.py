"""Matchers against label sets, with RE2."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.errors import QueryError
from tapewatch.model.labels import Labels
from tapewatch.series.matching import compile_matchers, regex_test
from tapewatch.series.querier import Matcher, MatchType

EQUAL, NOT_EQUAL = MatchType.EQUAL, MatchType.NOT_EQUAL
REGEX, NOT_REGEX = MatchType.REGEX, MatchType.NOT_REGEX


def accepts(labels: Labels, *matchers: Matcher) -> bool:
    return compile_matchers(matchers)(labels)


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        (Matcher("job", EQUAL, "api"), True),
        (Matcher("job", EQUAL, "ap"), False),
        (Matcher("job", NOT_EQUAL, "node"), True),
        (Matcher("gone", EQUAL, ""), True),  # an absent label equals the empty text
        (Matcher("gone", NOT_EQUAL, "x"), True),
        (Matcher("job", REGEX, "a.*"), True),
        (Matcher("job", REGEX, "p"), False),  # anchored at both ends
        (Matcher("job", REGEX, "node|api"), True),
        (Matcher("job", REGEX, "(?i:API)"), True),
        (Matcher("job", NOT_REGEX, "node|api"), False),
        (Matcher("gone", REGEX, ".*"), True),
        (Matcher("gone", REGEX, ".+"), False),
        (Matcher("gone", REGEX, "a|"), True),
    ],
)
def test_a_matcher_compares_as_in_prometheus(matcher: Matcher, expected: bool) -> None:
    assert accepts(Labels.of("up", job="api"), matcher) is expected


def test_all_matchers_must_accept_and_none_at_all_accepts_everything() -> None:
    up = Labels.of("up", job="api")
    name = Matcher("__name__", EQUAL, "up")
    assert accepts(up, name, Matcher("job", REGEX, "a.i"))
    assert not accepts(up, name, Matcher("job", EQUAL, "node"))
    assert accepts(up)


def test_the_dot_matches_a_newline_and_digits_are_ascii() -> None:
    assert regex_test("a.b")("a\nb")
    assert not regex_test(r"\d")("٣")


@pytest.mark.requirement("T17")
@pytest.mark.parametrize("pattern", ["(.*", "(?=a)", r"(a)\1", "((((a{100}){100}){100}){100})"])
def test_patterns_that_re2_cannot_bound_are_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(QueryError, match="error parsing regexp"):
        accepts(Labels.of("up"), Matcher("job", REGEX, pattern))


@pytest.mark.requirement("T17")
def test_a_pattern_that_makes_backtracking_engines_explode_stays_linear() -> None:
    began = time.perf_counter()
    assert not regex_test("(a+)+b")("a" * 5000)
    assert time.perf_counter() - began < 0.5


def test_a_lone_surrogate_in_a_value_is_no_error() -> None:
    assert accepts(Labels.of("up", job="\ud800"), Matcher("job", REGEX, "[^x]+"))


@given(st.text(max_size=20), st.text(alphabet="ab|.", max_size=8))
def test_alternatives_without_metacharacters_equal_the_compiled_pattern(
    text: str, pattern: str
) -> None:
    plain = pattern.replace(".", "")
    assert regex_test(plain)(text) == regex_test(f"(?:{plain})")(text)
