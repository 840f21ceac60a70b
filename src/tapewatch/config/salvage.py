"""What is left of settings once all that was refused is taken out of them.

Nothing ever runs with it: it lets the packs, rule files and references of a wrong configuration be
looked at as well, so that a person hears of everything at once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tapewatch.config.complaints import complaints
from tapewatch.config.model import Settings
from tapewatch.config.origin import Origin
from tapewatch.config.shape import Path

_ROUNDS = 8
"""What is taken out may leave its section without what it needs: then that goes as well."""


@dataclass(slots=True)
class Remains:
    """Settings without what was refused."""

    settings: Settings
    origins: dict[Path, Origin]
    """By the path in these settings: items behind one that was taken out have moved up."""
    moved: set[str] = field(default_factory=set)
    """Top-level keys in which list items have moved up."""


def salvage(
    data: dict[str, Any], origins: Mapping[Path, Origin], refused: Iterable[Path]
) -> Remains | None:
    """Return what is left of the data; None if even that is no configuration.

    Args:
        data: As it was refused; it is left as it is.
        origins: Where each value came from.
        refused: The paths of what is wrong.
    """
    left = copy.deepcopy(data)
    known = dict(origins)
    moved: set[str] = set()
    for _ in range(_ROUNDS):
        # From the back, so that a list's earlier indices stay true.
        for path in sorted(set(refused), key=_order, reverse=True):
            if path and _take_out(left, path) and isinstance(path[-1], int):
                known = _moved_up(known, path)
                moved.add(str(path[0]))
        try:
            return Remains(Settings.model_validate(left), known, moved)
        except ValidationError as error:
            refused = [path for path, _, _ in complaints(error, Settings, left)]
    return None


def _order(path: Path) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (0, part) for part in path]


def _take_out(data: Any, path: Path) -> bool:
    here = data
    try:
        for part in path[:-1]:
            here = here[part]
        del here[path[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _moved_up(origins: Mapping[Path, Origin], gone: Path) -> dict[Path, Origin]:
    prefix, index, depth = gone[:-1], gone[-1], len(gone) - 1
    out: dict[Path, Origin] = {}
    for path, origin in origins.items():
        part = path[depth] if len(path) > depth and path[:depth] == prefix else None
        if not isinstance(part, int) or not isinstance(index, int) or part < index:
            out[path] = origin
        elif part > index:
            out[*prefix, part - 1, *path[depth + 1 :]] = origin
    return out
