"""The corpus of bad configurations: every message is compared whole, its place included.

Each ``data/bad/<case>.yaml`` has a ``<case>.txt`` with what a person gets to read; FILE stands for
the file's path.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.config.load import load_config
from tapewatch.model.errors import ConfigError

BAD = Path(__file__).parent / "data" / "bad"
CASES = sorted(path.stem for path in BAD.glob("*.yaml"))


def told(case: str) -> str:
    path = BAD / f"{case}.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={"HOME": "/nonexistent"})
    lines = [str(problem).replace(str(path), "FILE") for problem in caught.value.problems]
    return "\n".join(lines) + "\n"


@pytest.mark.requirement("S5-81", "T16")
@pytest.mark.parametrize("case", CASES)
def test_a_bad_configuration_is_told_whole_with_every_place(case: str) -> None:
    assert told(case) == (BAD / f"{case}.txt").read_text(encoding="utf-8")


def test_every_expected_text_belongs_to_a_case() -> None:
    assert sorted(path.stem for path in BAD.glob("*.txt")) == CASES


@pytest.mark.requirement("T27")
def test_a_secret_written_into_the_file_is_refused_without_repeating_it() -> None:
    assert "canary" not in told("written_secret")


@pytest.mark.requirement("T1")
def test_an_open_door_is_refused_and_the_ways_out_are_named() -> None:
    message = told("open_door")
    for way_out in ("127.0.0.1", "auth_token_file", "trust_tls_proxy"):
        assert way_out in message
