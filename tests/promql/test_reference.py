"""The reference page is held to the function table and the limits."""

from __future__ import annotations

from pathlib import Path

from tapewatch.promql.functions import FUNCTIONS
from tapewatch.promql.lexer import AGGREGATORS
from tapewatch.promql.parser import MAX_DEPTH, MAX_LENGTH
from tapewatch.promql.result import DEFAULT_LIMITS

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "promql.md").read_text()


def test_every_function_and_aggregation_is_documented() -> None:
    missing = [name for name in [*FUNCTIONS, *AGGREGATORS] if f"`{name}`" not in REFERENCE]
    assert missing == []


def test_what_is_not_computed_is_documented_as_such() -> None:
    section = REFERENCE[REFERENCE.index("Known to the parser but not computed") :]
    section = section[: section.index("##")]
    for function in FUNCTIONS.values():
        assert (f"`{function.name}`" in section) is (function.run is None)


def test_the_limits_are_documented() -> None:
    assert f"{MAX_LENGTH // 1024} KiB" in REFERENCE
    assert f"{MAX_DEPTH} levels" in REFERENCE
    assert f"{DEFAULT_LIMITS.timeout_s:g} s" in REFERENCE
    assert f"{DEFAULT_LIMITS.max_samples:,}" in REFERENCE
    assert f"{DEFAULT_LIMITS.max_points:,}" in REFERENCE
