"""Where a command gets series from: a running daemon, or the files that the last one left."""

from __future__ import annotations

from typing import Any, Protocol

from tapewatch.cli.place import Place
from tapewatch.cli.telling import tell


class SeriesSource(Protocol):
    """Answers PromQL in Prometheus's JSON."""

    def query(self, text: str, time_s: float | None = None) -> dict[str, Any]:
        """Evaluate at one instant: Unix seconds, None for the latest there is."""
        ...

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float) -> dict[str, Any]:
        """Evaluate at every step of [start, end], all in seconds."""
        ...

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, sorted."""
        ...

    def latest_s(self) -> float:
        """Return the Unix seconds that stand for now: of the newest sample when nothing runs."""
        ...

    def __enter__(self) -> SeriesSource: ...

    def __exit__(self, *_error: object) -> None: ...


def open_source(place: Place) -> SeriesSource:
    """Return the daemon of a place, or its files; a line says when it is the files.

    Raises:
        TapewatchError: Neither a daemon nor files are there.
    """
    from tapewatch.cli.client import connect

    client = connect(place)
    if client is not None:
        return client
    from tapewatch.cli.persisted import Persisted

    saved: SeriesSource = Persisted(place)
    tell(f"no daemon runs for {place.data_dir}; reading what the last one saved")
    return saved
