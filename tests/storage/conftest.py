"""What the tests of the stores share: a process that commits, and the look at what it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tapewatch.storage.state import StateStore


@pytest.fixture
def committer() -> Path:
    """The program that commits in a loop."""
    return Path(__file__).with_name("committer.py")


@pytest.fixture
def check_state() -> Callable[[Path, int], int]:
    """Return the check of what the committer left in a state store."""
    return _check_state


def _check_state(path: Path, confirmed: int) -> int:
    """Open the store as the next start does, and return the number that it holds."""
    store = StateStore.open(path, now_ns=0)
    assert store.recovered is None
    saved = store.load()
    number = saved.values.get("n", 0)
    assert number >= confirmed
    assert saved.offsets.get("tape", {"n": 0}) == {"n": number}
    assert saved.engines.get("alpha", {"n": 0}) == {"n": number}
    assert [row.key for row in saved.outbox] == [f"k{n}" for n in range(1, number + 1)]
    assert len(saved.active_alerts) == number
    sizes = store.sizes()
    assert (sizes["events"], sizes["transitions"]) == (number, number)
    assert store.integrity() == "ok"
    store.close()
    return number
