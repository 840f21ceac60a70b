"""Labels, messages and answers from outside cannot drive the terminal they are shown on."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.terminal import escape_controls

ANY_TEXT = st.text(st.characters(categories=None))


@pytest.mark.requirement("T9")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, ₹ and 数字", "plain words, ₹ and 数字"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc\x00", "a\\r\\nb\\tc\\x00"),
        ("\x7f\x08\x07", "\\x7f\\x08\\x07"),
        ("safe\u202egpj.exe", "safe\\u202egpj.exe"),
        ("\u2066x\u2069\u200f", "\\u2066x\\u2069\\u200f"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\x1b]8;;http://evil\x1b\\link", "\\x1b]8;;http://evil\\x1b\\link"),
    ],
)
def test_controls_are_shown_as_escapes(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@pytest.mark.requirement("T9")
@given(ANY_TEXT)
def test_no_control_character_survives_whatever_comes(text: str) -> None:
    shown = escape_controls(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in shown} & {
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(ANY_TEXT, st.integers(min_value=0, max_value=40))
def test_the_width_is_never_exceeded(text: str, width: int) -> None:
    shown = escape_controls(text, width)
    assert len(shown) <= width
    full = escape_controls(text)
    assert shown == full if len(full) <= width else full.startswith(shown.removesuffix("…"))


def test_an_escape_is_not_cut_in_two() -> None:
    assert escape_controls("ab\x1bcd", width=5) == "ab…"
    assert escape_controls("ab\x1bcd", width=8) == "ab\\x1bcd"
    assert escape_controls("abc", width=0) == ""
