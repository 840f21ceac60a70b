"""What an engine gives by mistake is told once in its log, and never raised."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tapewatch.record import Recorder


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("method", "given"), [("record_tick", None), ("record_tick", 7), ("record_trade", None)]
)
def test_a_wrong_argument_is_one_line_that_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, given: Any
) -> None:
    with Recorder("engine", data_dir=tmp_path) as recorder:
        for _ in range(3):
            getattr(recorder, method)(given)
        assert recorder.counters["failures"] == 3
    (line,) = told(caplog)
    assert f"{method}, given {type(given).__name__}" in line
    assert "TypeError" in line


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "../up", "-x", "naïve", "a\nb", None, 7])
def test_a_name_that_is_none_turns_recording_off_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: Any
) -> None:
    recorder = Recorder(name, data_dir=tmp_path)
    recorder.record_tick({"pnl": 1.0})
    assert not recorder.recording
    (line,) = told(caplog)
    assert "recording is off" in line
    assert "the engine's name" in line
    assert "\n" not in line
    assert not list(tmp_path.rglob("*.tape"))


@pytest.mark.parametrize("name", ["e", "x" * 64, "Momentum-2.paper_1", "0"])
def test_a_name_that_the_configuration_takes_is_taken(tmp_path: Path, name: str) -> None:
    with Recorder(name, data_dir=tmp_path) as recorder:
        assert recorder.recording
