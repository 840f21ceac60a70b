"""Timers: how long a piece of work took and whether it ended well."""

from __future__ import annotations

from time import perf_counter_ns

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    from tapewatch.record.recorder import Recorder

    P = ParamSpec("P")
    R = TypeVar("R")


class Timer:
    """A context manager, sync or async, and a decorator for functions and coroutine functions."""

    __slots__ = ("_labels", "_name", "_recorder", "_started")

    def __init__(self, recorder: Recorder, name: str, labels: dict[str, Any]) -> None:
        self._recorder = recorder
        self._name = name
        self._labels = labels
        self._started = 0

    def __enter__(self) -> Timer:
        self._started = perf_counter_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = (perf_counter_ns() - self._started) / 1e9
        self._recorder.record_timing(self._name, seconds, ok=kind is None, labels=self._labels)

    async def __aenter__(self) -> Timer:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function with every call timed; coroutine functions until they return."""
        import functools
        import inspect  # heavy, and needed only here

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                with Timer(self._recorder, self._name, self._labels):
                    return await function(*args, **kwargs)

            return timed_coroutine  # type: ignore[return-value]  # its R is a coroutine

        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            with Timer(self._recorder, self._name, self._labels):
                return function(*args, **kwargs)

        return timed
