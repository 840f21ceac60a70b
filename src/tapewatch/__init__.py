"""Tapewatch watches automated trading systems and acts when they go wrong.

Names are loaded on first use: ``import tapewatch`` alone imports nothing heavy, so that an engine
pays only for what it uses.

>>> from tapewatch import Recorder
"""

from __future__ import annotations

from tapewatch._version import __version__ as __version__

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from typing import Any

    from tapewatch.model.severity import AlertSeverity as AlertSeverity
    from tapewatch.monitoring_service import MonitoringService as MonitoringService
    from tapewatch.record import Recorder as Recorder

_HOMES = {
    "AlertSeverity": "tapewatch.model.severity",
    "MonitoringService": "tapewatch.monitoring_service",
    "Recorder": "tapewatch.record",
}
__all__ = ["AlertSeverity", "MonitoringService", "Recorder", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
