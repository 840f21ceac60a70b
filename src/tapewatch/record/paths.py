"""Where Tapewatch keeps its data: one function, by which recorder, daemon and CLI agree."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # an engine that never records should not pay for pathlib
if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "TAPEWATCH_DATA_DIR"
TAPES = "tapes"


def data_directory(flag: str | Path | None = None) -> Path:
    """Return the data directory, which may not exist yet.

    The first that is set and not empty wins: ``flag`` (a command-line flag or argument),
    ``TAPEWATCH_DATA_DIR``, ``STATE_DIRECTORY`` (systemd; the first of several), and
    ``XDG_STATE_HOME`` or ``~/.local/state`` with ``tapewatch`` below it. A relative
    ``XDG_STATE_HOME`` is ignored, as its specification asks.

    Returns:
        An absolute path; a leading ``~`` of flag or variable is expanded.

    Raises:
        RuntimeError: The home directory is needed and cannot be told.
    """
    from pathlib import Path

    if flag is not None and os.fspath(flag):
        return _absolute(flag)
    named = os.environ.get(VARIABLE)
    if named:
        return _absolute(named)
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if systemd:
        return _absolute(systemd)
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "tapewatch"


def tape_directory(data: Path) -> Path:
    """Return where tapes lie below a data directory."""
    return data / TAPES


def _absolute(path: str | Path) -> Path:
    from pathlib import Path

    return Path(path).expanduser().absolute()
