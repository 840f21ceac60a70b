"""The effective settings as people and programs may see them: secrets masked, origins beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from tapewatch.config.fields import Duration, ListenAddress, SecretUrl, Size
from tapewatch.config.load import LoadedConfig
from tapewatch.config.shape import Path as SettingPath
from tapewatch.config.shape import dotted
from tapewatch.model.severity import AlertSeverity

MASK = "********"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting, ready to be shown."""

    name: str
    """Dotted, for example ``receivers[0].url``."""
    value: Any
    """A JSON value."""
    origin: str

    @property
    def text(self) -> str:
        """The value as one line."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, float):
            return f"{self.value:.12g}"
        return "-" if self.value is None else json.dumps(self.value, ensure_ascii=False)


def shown_settings(config: LoadedConfig) -> list[ShownSetting]:
    """Return every effective setting in the order of the model."""
    rows = []
    for path, value in _leaves(config.settings, ()):
        effective = config.data_dir if path == ("data_dir",) else value
        origin = str(config.origin(path))
        rows.append(ShownSetting(dotted(path), shown_value(effective), origin))
    return rows


def config_view(config: LoadedConfig) -> dict[str, Any]:
    """Return the effective settings for the API: value and origin by dotted name."""
    return {
        "path": str(config.path) if config.path is not None else None,
        "settings": {
            row.name: {"value": row.value, "origin": row.origin} for row in shown_settings(config)
        },
        "warnings": list(config.warnings),
    }


def shown_value(value: Any) -> Any:
    """Return a value as a JSON value that shows no secret."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, AlertSeverity):
        return value.label
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Duration | Size | ListenAddress | SecretUrl | Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [shown_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _leaves(value: Any, path: SettingPath) -> Iterator[tuple[SettingPath, Any]]:
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _leaves(getattr(value, key), (*path, key))
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield (*path, key), inner
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value
