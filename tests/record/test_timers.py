"""Timers measure, whatever they wrap, and never change what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tapewatch.record import Recorder

Read = Callable[[Recorder], Any]


def test_a_timer_records_duration_and_success(recorder: Recorder, read_recorder: Read) -> None:
    with recorder.timer("risk", book="main"):
        pass
    ((values, labels),) = read_recorder(recorder).series
    assert labels == {"book": "main"}
    assert 0 <= values["risk.duration_seconds"] < 5
    assert values["risk.ok"] == 1.0


def test_a_timer_lets_an_exception_through_and_records_the_failure(
    recorder: Recorder, read_recorder: Read
) -> None:
    with pytest.raises(ZeroDivisionError), recorder.timer("risk"):
        _ = 1 / 0
    ((values, _labels),) = read_recorder(recorder).series
    assert values["risk.ok"] == 0.0


def test_a_decorated_function_is_itself_and_timed_each_time(
    recorder: Recorder, read_recorder: Read
) -> None:
    @recorder.timer("work")
    def fibonacci(n: int) -> int:
        """Say the n-th number."""
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(5) == 5
    assert (fibonacci.__name__, fibonacci.__doc__) == ("fibonacci", "Say the n-th number.")
    assert len(read_recorder(recorder).series) == 15


def test_a_decorated_coroutine_function_is_timed_until_it_returns(
    recorder: Recorder, read_recorder: Read
) -> None:
    @recorder.timer("fetch")
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def main() -> list[int]:
        async with recorder.timer("all"):
            return await asyncio.gather(*(fetch(n) for n in range(5)))

    assert asyncio.iscoroutinefunction(fetch)
    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    paths = [next(iter(values)) for values, _labels in read_recorder(recorder).series]
    assert paths.count("fetch.duration_seconds") == 5
    assert paths.count("all.duration_seconds") == 1
