"""The data directory: one order of precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapewatch.record import data_directory

NAMES = ("TAPEWATCH_DATA_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME")


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        ("/flag", {"TAPEWATCH_DATA_DIR": "/ours", "STATE_DIRECTORY": "/sys"}, "/flag"),
        (Path("/flag"), {"TAPEWATCH_DATA_DIR": "/ours"}, "/flag"),
        ("~/flag", {"HOME": "/people/t"}, "/people/t/flag"),
        (None, {"TAPEWATCH_DATA_DIR": "/ours", "STATE_DIRECTORY": "/sys"}, "/ours"),
        (None, {"TAPEWATCH_DATA_DIR": "~/ours", "HOME": "/people/t"}, "/people/t/ours"),
        ("", {"TAPEWATCH_DATA_DIR": "", "STATE_DIRECTORY": "/sys:/other"}, "/sys"),
        (None, {"XDG_STATE_HOME": "/xdg", "HOME": "/people/t"}, "/xdg/tapewatch"),
        (None, {"XDG_STATE_HOME": "rel", "HOME": "/people/t"}, "/people/t/.local/state/tapewatch"),
        (None, {"HOME": "/people/t"}, "/people/t/.local/state/tapewatch"),
    ],
)
def test_the_first_that_is_set_wins(
    monkeypatch: pytest.MonkeyPatch,
    flag: str | Path | None,
    environment: dict[str, str],
    expected: str,
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert data_directory(flag) == Path(expected)


def test_a_relative_directory_becomes_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_directory("here") == tmp_path / "here"
