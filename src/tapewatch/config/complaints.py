"""Turn what the model refuses into sentences: found, expected, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tapewatch.config.shape import Path, dotted, fields_at, is_hidden, keys_at
from tapewatch.model.terminal import escape_controls

_SHOWN_WIDTH = 48
_EXPECTED = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "enum": "",
    "literal_error": "",
}


def complaints(
    error: ValidationError, model: type[BaseModel], data: Any
) -> list[tuple[Path, bool, str]]:
    """Return every complaint as its path, whether the key itself is meant, and a sentence."""
    out: list[tuple[Path, bool, str]] = []
    for detail in error.errors(include_url=False):
        path = _real_path(detail["loc"], data)
        kind = detail["type"]
        if kind == "extra_forbidden":
            out.append((path, True, _unknown_key(model, path, data)))
        elif kind == "missing":
            out.append((path[:-1], False, f'{_named(path[:-1])}missing key "{path[-1]}"'))
        elif kind == "union_tag_not_found":
            out.append((path, False, f'{_named(path)}missing key "kind"'))
        elif kind == "union_tag_invalid":
            out.append(_wrong_kind(path, detail))
        else:
            out.append((path, False, _wrong_value(model, path, detail)))
    return out


def shown(value: Any) -> str:
    """Return a value from a file as a message may show it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'"{escape_controls(value, _SHOWN_WIDTH)}"'
    return "a mapping" if isinstance(value, Mapping) else "a list"


def did_you_mean(word: str, known: list[str]) -> str:
    """Return a suggestion that ends a sentence; empty when nothing known is near."""
    close = difflib.get_close_matches(word.lower(), known, 1, 0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def _named(path: Path) -> str:
    return f"{dotted(path)}: " if path else ""


def _real_path(location: tuple[int | str, ...], data: Any) -> Path:
    """Drop what the model adds to a path: the kind of a receiver, the name of a function."""
    path: Path = ()
    here = data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(here, Mapping):
            if part in here or last:
                path, here = (*path, part), here.get(part)
        elif isinstance(here, list | tuple):
            if isinstance(part, int) and part < len(here):
                path, here = (*path, part), here[part]
        else:
            break
    return path


def _unknown_key(model: type[BaseModel], path: Path, data: Any) -> str:
    section, key = path[:-1], str(path[-1])
    here = data
    for part in section:
        here = here[part]
    kind = here.get("kind") if isinstance(here, Mapping) else None
    known = keys_at(model, section, kind=str(kind))
    place = f' in "{dotted(section)}"' if section else ""
    hint = did_you_mean(key, known) or f"; expected one of {', '.join(known)}"
    return f'unknown key "{escape_controls(key, _SHOWN_WIDTH)}"{place}{hint}'


def _wrong_kind(path: Path, detail: ErrorDetails) -> tuple[Path, bool, str]:
    context = detail.get("ctx", {})
    found = str(context.get("tag", ""))
    kinds = [kind.strip("' ") for kind in str(context.get("expected_tags", "")).split(",")]
    place = (*path, "kind")
    sentence = f"{_named(place)}found {shown(found)}, expected one of {', '.join(kinds)}"
    return place, False, sentence + did_you_mean(found, kinds)


def _wrong_value(model: type[BaseModel], path: Path, detail: ErrorDetails) -> str:
    hidden = any(is_hidden(field) for field in fields_at(model, path))
    found = "a value that is not shown" if hidden else shown(detail["input"])
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "value_error":
        said = str(context.get("error", ""))
        if not said.startswith("expected "):
            return f"{_named(path)}{said}"
        expected, hint = said.removeprefix("expected "), ""
    elif kind in ("enum", "literal_error"):
        listed = str(context.get("expected", "")).replace(" or ", ",").split(",")
        words = [word.strip("' ") for word in listed]
        expected = f"one of {', '.join(words)}"
        hint = did_you_mean(detail["input"], words) if isinstance(detail["input"], str) else ""
    else:
        expected, hint = _EXPECTED.get(kind, detail["msg"]), ""
    return f"{_named(path)}found {found}, expected {expected}{hint}"
