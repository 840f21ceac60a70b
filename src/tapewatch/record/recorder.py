"""The Recorder: what an engine imports. It costs about a microsecond and never gets in the way."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from functools import partial
from struct import Struct
from time import monotonic_ns, time_ns

from tapewatch.record import process
from tapewatch.record.errors import error_body
from tapewatch.record.paths import data_directory, tape_directory
from tapewatch.record.ticks import bind_record_tick
from tapewatch.record.timers import Timer
from tapewatch.record.values import as_double, plain, text
from tapewatch.tape.layout import MSGPACK, STATE_FAILED, STATE_STOPPED, RecordKind
from tapewatch.tape.writer import (
    DROPPED_EVENTS,
    DROPPED_FRAMES,
    FAILURES,
    REFUSED_LAYOUTS,
    REPLACED_VALUES,
    Counters,
    TapeWriter,
)

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Any

    from tapewatch.record.ticks import RecordTick

MAX_NAME = 64
_NAME_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
FRAME_BYTES = 64 << 20
EVENT_BYTES = 16 << 20
MAX_SERIES = 2000
"""Labelled series with a layout of their own; others are written in a longer form, and counted."""

_METRIC = int(RecordKind.METRIC)
_TIMER = int(RecordKind.TIMER)
_ERROR = int(RecordKind.ERROR)
_STATE = int(RecordKind.STATE)
_ONE = Struct("<d").pack
_TWO = Struct("<2d").pack

_living: dict[int, weakref.ref[Recorder]] = {}
"""Every recorder that is on, for fork and exit. A dictionary, because listing it is one step."""


def _ignore(metrics: Mapping[str, Any]) -> None:
    """Stand in for ``record_tick`` when recording is disabled."""


class Recorder:
    """Writes what an engine does to a tape that outlives the engine.

    No method but the constructor's argument check raises an ``Exception``, none waits for anybody,
    and a record whose call returned is on the tape also when the process is killed in the next
    instant. What cannot be written is dropped and counted. All methods may be called from any
    thread, from signal handlers and finalizers; a forked child gets a tape of its own with its
    first record.

    >>> recorder = Recorder("demo", enabled=False)
    >>> recorder.record_tick({"pnl": 12.5, "positions": 3})
    >>> recorder.recording
    False
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_counters",
        "_directory",
        "_event_bytes",
        "_frame_bytes",
        "_identity",
        "_openings",
        "_series",
        "_told",
        "_writer",
        "encoder",
        "record_tick",
    )

    record_tick: RecordTick
    """Record one tick: a flat or nested dictionary of the engine's figures.

    Names are the dictionary's paths. Numbers of any kind are taken; ``None`` and NaN mean "no
    value". A flat dictionary of numbers with the same keys as before is the fastest.
    """

    def __init__(
        self,
        name: str,
        *,
        data_dir: str | Path | None = None,
        cadence_s: float | None = None,
        enabled: bool = True,
        frame_bytes: int = FRAME_BYTES,
        event_bytes: int = EVENT_BYTES,
    ) -> None:
        """Open a tape. If that fails, recording is off, one line is logged, and trading goes on.

        Args:
            name: The engine's name: the label ``engine`` of everything recorded here. At most 64
                ASCII letters, digits, ``_``, ``.`` and ``-``, the first a letter or digit; with
                another name recording is off.
            data_dir: The data directory; by default the one that the daemon finds too, see
                `tapewatch.record.paths.data_directory`.
            cadence_s: Seconds between two ticks in normal operation. The daemon calls the engine
                stalled after three of them, at least two seconds; None = two seconds.
            enabled: False makes every method do nothing: no file, no directory, no hook.
            frame_bytes: Room for ticks and metrics; the oldest are overwritten.
            event_bytes: Room for errors, trades and states; when the daemon has not read them and
                the room is used up, the newest are refused.
        """
        self._writer: TapeWriter | None = None
        self._closed = not enabled
        self._counters = Counters()
        self._openings: list[str] = []
        self._series: dict[Any, tuple[TapeWriter, int]] = {}
        self._told = False
        if not enabled:
            self.record_tick = _ignore
            return
        self.record_tick = bind_record_tick(self)
        self._frame_bytes, self._event_bytes = frame_bytes, event_bytes
        try:
            if not getattr(sys, "_is_gil_enabled", lambda: True)():
                raise RuntimeError("claiming a slot in one step needs CPython with its GIL")
            import msgspec  # half of the cost of starting up; only who records pays it

            encoder = msgspec.msgpack.Encoder(
                decimal_format="number", enc_hook=partial(plain, replaced=self.replaced_value)
            )
            self.encoder = encoder.encode
            self._directory = os.fspath(tape_directory(data_directory(data_dir)))
            self._identity = {
                "engine": _checked_name(name),
                "cadence_ns": max(0, round((cadence_s or 0) * 1e9)),
                "boot_id": process.boot_id(),
            }
            self._open(instance="")
        except Exception as error:
            _warn(f"recording is off, the engine goes on without it: {error}")
            return
        _living[id(self)] = weakref.ref(self, partial(_forget, id(self)))

    @property
    def recording(self) -> bool:
        """True while records go to a tape."""
        return self._writer is not None or bool(self._openings)

    @property
    def path(self) -> str | None:
        """The tape's file; None when there is none."""
        writer = self._writer
        return None if writer is None else writer.path

    @property
    def counters(self) -> dict[str, int]:
        """What was dropped, refused or replaced, by name."""
        return self._counters.as_dict()

    def record_metric(self, name: str, value: float, **labels: object) -> None:
        """Record one value of one metric, for example ``record_metric("slippage_bps", 1.2)``.

        Args:
            name: The metric's name.
            value: Any number; None and what is no number become NaN.
            labels: Few and bounded values: each combination is a series of its own.
        """
        try:
            key = (name, *labels.items()) if labels else name
            number = value if type(value) is float else as_double(value, self.replaced_value)
            self._frame(_METRIC, key, (name,), labels, _ONE(number), monotonic_ns())
        except Exception as error:
            self.failed_frame("record_metric", error, value)

    def record_error(self, error: BaseException | str, /, **context: object) -> None:
        """Record an error: an exception with where it was raised, or a text.

        Args:
            error: The exception or the text.
            context: Anything that helps to understand it, for example ``symbol="TCS"``.
        """
        try:
            self._event(_ERROR, error_body(error, context))
        except Exception as fault:
            self._failed_event("record_error", fault, error)

    def record_trade(self, trade: Mapping[str, Any]) -> None:
        """Record a fill, or a closed trade if the dictionary has a ``pnl``.

        Args:
            trade: For example ``{"symbol": "TCS", "pnl": 150.0, "execution_time": 0.2}``.
        """
        try:
            kind = RecordKind.TRADE_CLOSED if "pnl" in trade else RecordKind.FILL
            self._event(int(kind), trade if type(trade) is dict else dict(trade))
        except Exception as error:
            self._failed_event("record_trade", error, trade)

    def state(self, name: str, /, **fields: object) -> None:
        """Record that the engine entered a state, for example ``state("halted", by="risk")``."""
        try:
            self._event(_STATE, {"state": name, "fields": fields})
        except Exception as error:
            self._failed_event("state", error, name)

    def timer(self, name: str, /, **labels: object) -> Timer:
        """Return a timer: ``with recorder.timer("risk"): ...``, or a decorator, sync or async.

        Each time it ends, ``<name>.duration_seconds`` and ``<name>.ok`` (0 if an exception came
        out) are recorded. Make a new one for each ``with``; a decorated function may run many
        times at once.
        """
        return Timer(self, name, labels)

    def record_timing(self, name: str, seconds: float, *, ok: bool, labels: dict[str, Any]) -> None:
        """Record how long something took, measured by the caller."""
        try:
            key = (_TIMER, name, *labels.items())
            paths = (f"{name}.duration_seconds", f"{name}.ok")
            self._frame(_TIMER, key, paths, labels, _TWO(seconds, ok), monotonic_ns())
        except Exception as error:
            self.failed_frame("record_timing", error, seconds)

    def close(self, reason: str = "closed") -> None:
        """Say goodbye on the tape: the daemon resolves this engine's alerts. Records that come
        later are counted as dropped. A second call does nothing."""
        self._end(STATE_STOPPED, reason)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._end(STATE_FAILED, f"unhandled {kind.__name__}")
        else:
            self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close("the recorder was dropped")

    # What follows is for the other modules of this room.

    def writer(self) -> TapeWriter | None:
        """Return the open tape; opens one first in a forked child. None: there is none."""
        if self._writer is None and self._openings:
            try:
                instance = self._openings.pop()
            except IndexError:
                return None  # another thread is at it
            try:
                self._open(instance)
            except Exception as error:
                _warn(f"recording is off in the forked process {os.getpid()}: {error}")
        return self._writer

    def encode(self, value: Any) -> bytes:
        """Return msgpack of a value, replacing and counting what msgpack cannot tell."""
        try:
            return self.encoder(value)
        except Exception:
            return self.encoder(plain(value, self.replaced_value))

    def replaced_value(self) -> None:
        """Count a value that could not be told and became None or NaN."""
        self._counters.add(REPLACED_VALUES)

    def lost_frame(self) -> None:
        """Count a frame for which there is no tape."""
        self._counters.add(DROPPED_FRAMES)

    def failed_frame(self, method: str, error: Exception, given: object) -> None:
        """Count a frame that was lost to a fault; log the first. Never raises."""
        self._failed(DROPPED_FRAMES, method, error, given)

    def _failed_event(self, method: str, error: Exception, given: object) -> None:
        self._failed(DROPPED_EVENTS, method, error, given)

    def _failed(self, index: int, method: str, error: Exception, given: object) -> None:
        try:
            self._counters.add(index)
            if self._closed:
                return
            self._counters.add(FAILURES)
            if not self._told:
                # Once: the counters tell the rest, and no log is filled from a trading loop.
                self._told = True
                _warn(
                    f"{method}, given {type(given).__name__}, could not record it: "
                    f"{type(error).__name__}: {error}; it is dropped and counted, as all such "
                    "calls to come"
                )
        except Exception:  # noqa: S110 - at the recursion limit even this can fail
            pass

    def _frame(
        self,
        kind: int,
        key: Any,
        paths: tuple[str, ...],
        labels: dict[str, Any],
        payload: bytes,
        now: int,
    ) -> None:
        writer = self._writer or self.writer()
        if writer is None:
            self.lost_frame()
            return
        known = self._series.get(key)
        if known is None or known[0] is not writer:
            layout = self._register(writer, kind, paths, labels, now)
            if layout is None:
                values = dict(zip(paths, Struct(f"<{len(paths)}d").unpack(payload), strict=True))
                body = {"values": values, "labels": {k: str(v) for k, v in labels.items()}}
                writer.frame(kind, MSGPACK, self.encode(body), now)
                return
            known = self._series[key] = (writer, layout)
        writer.frame(kind, known[1], payload, now)

    def _register(
        self,
        writer: TapeWriter,
        kind: int,
        paths: tuple[str, ...],
        labels: dict[str, Any],
        now: int,
    ) -> int | None:
        if len(self._series) >= MAX_SERIES:
            self._counters.add(REFUSED_LAYOUTS)
            return None
        body: dict[str, Any] = {"paths": [text(str(path)) for path in paths]}
        if labels:
            body["labels"] = {text(k): text(str(v)) for k, v in labels.items()}
        return writer.register_layout(kind, self.encode(body), now)

    def _event(self, kind: int, body: dict[str, Any]) -> None:
        writer = self._writer or self.writer()
        if writer is None:
            self._counters.add(DROPPED_EVENTS)
            return
        writer.event(kind, self.encode(body), monotonic_ns())

    def _open(self, instance: str) -> None:
        identity = {
            **self._identity,
            "tape_id": os.urandom(16).hex(),
            "instance": instance,
            "pid": os.getpid(),
            "pid_start_ticks": process.start_ticks(),
            "parent_pid": os.getppid() if instance else 0,
        }
        self._writer = TapeWriter(
            self._directory,
            identity,
            self._counters,
            frame_bytes=self._frame_bytes,
            event_bytes=self._event_bytes,
            monotonic_ns=monotonic_ns,
            time_ns=time_ns,
        )
        if instance:
            _close_with_multiprocessing()

    def _end(self, state: int, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._openings.clear()
        writer, self._writer = self._writer, None
        _living.pop(id(self), None)
        if writer is not None:
            try:
                writer.close(state, reason)
            except Exception as error:
                _warn(f"{writer.path}: could not say goodbye on the tape: {error}")

    def _forked(self) -> None:
        """In a forked child: let go of the parent's tape; the next record opens our own."""
        writer, self._writer = self._writer, None
        self._counters = Counters()
        self._series = {}
        self._openings[:] = [str(os.getpid())]
        if writer is not None:
            writer.abandon()


def _checked_name(name: object) -> str:
    """Return an engine's name; the configuration and every label matcher take the same ones."""
    shown = text(repr(name))[: MAX_NAME + 16]
    if not isinstance(name, str):
        raise TypeError(f"the engine's name must be text, found {shown}")
    if not name or len(name) > MAX_NAME or not _NAME_SIGNS.issuperset(name) or name[0] in "_.-":
        raise ValueError(
            f"the engine's name is {shown} ({len(name)} characters); expected 1 to {MAX_NAME} "
            "letters, digits, '_', '.' and '-', the first a letter or digit"
        )
    return name


def _forget(key: int, _reference: object) -> None:
    _living.pop(key, None)


def _recorders() -> list[Recorder]:
    found = [reference() for reference in list(_living.values())]
    return [recorder for recorder in found if recorder is not None]


def _after_fork() -> None:
    for recorder in _recorders():
        recorder._forked()


def _close_all() -> None:
    """At exit: say goodbye, and say so if the engine ends by an exception that nobody caught."""
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for recorder in _recorders():
        if error is None:
            recorder._end(STATE_STOPPED, "exit")
        else:
            recorder._end(STATE_FAILED, f"unhandled {type(error).__name__}")


def _close_with_multiprocessing() -> None:
    """A child of multiprocessing leaves by ``os._exit``, so ``atexit`` would not run there."""
    module = sys.modules.get("multiprocessing.util")
    if module is not None:
        finalize: Callable[..., object] = module.Finalize
        finalize(None, _close_all, exitpriority=-1000)


def _warn(message: str) -> None:
    """Log one line. Never raises."""
    try:
        import logging

        logging.getLogger("tapewatch.record").warning(message, extra={"component": "monitoring"})
    except Exception:  # noqa: S110 - a broken log handler is not the engine's problem
        pass


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_close_all)
