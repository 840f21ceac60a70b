"""Errors are counted under few and meaningful types."""

from __future__ import annotations

from typing import Any

import pytest

from tapewatch.ingest.error_type import MAX_TYPES, OTHER, error_type


@pytest.mark.requirement("S5-07", "S5-100")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "TimeoutError", "context": {}}, "TimeoutError"),
        ({"type": "message", "context": {"type": "sentiment"}}, "sentiment"),
        ({"type": "TimeoutError", "context": {"type": "sentiment"}}, "sentiment"),
        ({"type": "TimeoutError", "context": {"type": ""}}, "TimeoutError"),
        ({"type": "TimeoutError", "context": {"type": 7}}, "TimeoutError"),
        ({"type": "TimeoutError", "context": None}, "TimeoutError"),
        ({"type": None}, "error"),
        ({}, "error"),
        ({"type": "x" * 500}, "x" * 128),
    ],
)
def test_the_engines_own_word_goes_before_the_class(body: dict[str, Any], expected: str) -> None:
    assert error_type(body, []) == expected


def test_types_without_end_are_counted_together() -> None:
    known = {f"type{n}": 1 for n in range(MAX_TYPES)}
    assert error_type({"type": "type0"}, known) == "type0"
    assert error_type({"type": "one more"}, known) == OTHER
