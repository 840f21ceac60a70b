"""What the model says about a place in the settings: looked up by path, without a value at hand."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tapewatch.config.fields import SecretUrl

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the settings, for example ``("log", "file")``."""
FILE_SUFFIX = "_file"


def dotted(path: Path) -> str:
    """Return a path as people write it: ``receivers[0].url``."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out


def members(annotation: Any) -> Iterator[Any]:
    """Yield the plain types behind unions, options and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from members(option)
    else:
        yield annotation


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a value of this type may be; several for a discriminated union."""
    return [m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def item_annotation(annotation: Any) -> Any | None:
    """Return the type of a list's items, or None if it is not a list."""
    for member in members(annotation):
        if get_origin(member) is tuple:
            return get_args(member)[0]
    return None


def is_mapping(annotation: Any) -> bool:
    """Return whether a free mapping is meant (thresholds), not a section."""
    return any(get_origin(member) is dict for member in members(annotation))


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting must never be shown."""
    return SecretStr in members(field.annotation)


def is_hidden(field: FieldInfo) -> bool:
    """Return whether messages must not repeat a value: a secret, or an address that holds one."""
    return is_secret(field) or SecretUrl in members(field.annotation)


def fields_at(model: type[BaseModel], path: Path) -> list[FieldInfo]:
    """Return the fields that a path may mean; empty when the model knows nothing there.

    A union of models (receivers of several kinds) can give more than one.
    """
    annotations: list[Any] = [model]
    fields: list[FieldInfo] = []
    for part in path:
        if isinstance(part, int):
            annotations = [i for a in annotations if (i := item_annotation(a)) is not None]
            fields = []
        else:
            fields = [
                m.model_fields[part]
                for annotation in annotations
                for m in models_in(annotation)
                if part in m.model_fields
            ]
            annotations = [field.annotation for field in fields]
    return fields


def keys_at(model: type[BaseModel], path: Path, *, kind: str = "") -> list[str]:
    """Return the keys that a section may hold; empty if the path is not a section.

    Args:
        model: The settings.
        path: The section.
        kind: Where sections of several kinds may stand (receivers): only the keys of this one.
    """
    annotations: list[Any] = [model]
    for part in path:
        if isinstance(part, int):
            annotations = [i for a in annotations if (i := item_annotation(a)) is not None]
        else:
            annotations = [
                m.model_fields[part].annotation
                for annotation in annotations
                for m in models_in(annotation)
                if part in m.model_fields
            ]
    found = [m for annotation in annotations for m in models_in(annotation)]
    fitting = [m for m in found if kind in _kinds(m)] or found
    return sorted({key for m in fitting for key in m.model_fields})


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()
