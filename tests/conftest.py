"""What every test may rely on: real servers are there or named, and repeated kills have a count."""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose server binary is missing; in CI that is a failure, never a quiet skip."""
    for marker in item.iter_markers("server"):
        for program in marker.args:
            if shutil.which(program) is None:
                reason = f"needs the program {program!r}, which is not on this machine's PATH"
                if os.environ.get("CI", "").lower() == "true":
                    pytest.fail(f"{reason}; tools/servers.py installs it in CI", pytrace=False)
                pytest.skip(reason)


@pytest.fixture
def kill_rounds() -> int:
    """How often a test of sudden death kills: 200 under ``make chaos``, few in every run."""
    return 200 if os.environ.get("TAPEWATCH_CHAOS") == "full" else 8
