"""The tape: a file that an engine writes through a map and a daemon reads, whatever happens.

Names are loaded on first use, so that an engine never pays for the reader's numpy.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from typing import Any

    from tapewatch.tape.control import ControlReader as ControlReader
    from tapewatch.tape.control import ControlState as ControlState
    from tapewatch.tape.control import ControlWriter as ControlWriter
    from tapewatch.tape.control import control_path as control_path
    from tapewatch.tape.layout import RecordKind as RecordKind
    from tapewatch.tape.reader import TapeReader as TapeReader
    from tapewatch.tape.types import FrameRun as FrameRun
    from tapewatch.tape.types import Layout as Layout
    from tapewatch.tape.types import TapeBatch as TapeBatch
    from tapewatch.tape.types import TapeHeader as TapeHeader
    from tapewatch.tape.types import TapePosition as TapePosition
    from tapewatch.tape.types import TapeRecord as TapeRecord
    from tapewatch.tape.types import WriterCounters as WriterCounters
    from tapewatch.tape.writer import TapeWriter as TapeWriter

_HOMES = {
    "ControlReader": "control",
    "ControlState": "control",
    "ControlWriter": "control",
    "FrameRun": "types",
    "Layout": "types",
    "RecordKind": "layout",
    "TapeBatch": "types",
    "TapeHeader": "types",
    "TapePosition": "types",
    "TapeReader": "reader",
    "TapeRecord": "types",
    "TapeWriter": "writer",
    "WriterCounters": "types",
    "control_path": "control",
}
__all__ = [
    "ControlReader",
    "ControlState",
    "ControlWriter",
    "FrameRun",
    "Layout",
    "RecordKind",
    "TapeBatch",
    "TapeHeader",
    "TapePosition",
    "TapeReader",
    "TapeRecord",
    "TapeWriter",
    "WriterCounters",
    "control_path",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
