"""Settings from environment variables: ``TAPEWATCH_LOG__LEVEL`` means ``log.level``.

Two underscores go one level down. Items of a list are named by their ``name``
(``TAPEWATCH_RECEIVERS__OPS__TOKEN``); a whole list is given as JSON, or as words with commas.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from tapewatch.config.shape import (
    Path,
    fields_at,
    is_mapping,
    item_annotation,
    keys_at,
    members,
    models_in,
)
from tapewatch.config.yaml_document import read_yaml
from tapewatch.model.errors import ConfigError, Problem

PREFIX = "TAPEWATCH_"
CONFIG_VARIABLE = "TAPEWATCH_CONFIG"
SECRETS_VARIABLE = "TAPEWATCH_SECRETS_DIR"
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A setting that a name outside the file gives."""

    path: Path
    name: str
    """The variable or secret file, for messages."""
    value: Any


def locate(model: type[BaseModel], data: Mapping[str, Any], name: str) -> Path | None:
    """Return the path that a name such as ``LOG__LEVEL`` means; None if nothing has it.

    Args:
        model: The settings.
        data: What the file says so far: items of lists are found by their ``name`` in it.
        name: Without the prefix, in any letter case.
    """
    path: Path = ()
    here: Any = data
    for part in name.lower().split("__"):
        if isinstance(here, list):
            index = _item_named(here, part)
            if index is None:
                return None
            path, here = (*path, index), here[index]
            continue
        fields = fields_at(model, (*path, part))
        if not fields and not (
            path and any(is_mapping(f.annotation) for f in fields_at(model, path))
        ):
            return None
        path = (*path, part)
        here = here.get(part) if isinstance(here, Mapping) else None
    return path


def _item_named(items: list[Any], part: str) -> int | None:
    for index, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else item
        if isinstance(name, str) and re.sub(r"[^a-z0-9]", "_", name.lower()) == part:
            return index
    return None


def typed(model: type[BaseModel], path: Path, text: str, name: str) -> Any:
    """Return the value that a text means for the setting at a path.

    The model judges it afterwards; here only text becomes what the setting is made of.

    Raises:
        ConfigError: A list or mapping is not valid JSON or YAML.
    """
    fields = fields_at(model, path)
    annotations = [field.annotation for field in fields]
    if any(item_annotation(a) is not None for a in annotations):
        if text.lstrip().startswith(("[", "{")):
            return _structured(text, name)
        return [part.strip() for part in text.split(",") if part.strip()]
    if any(models_in(a) or is_mapping(a) for a in annotations):
        return _structured(text, name)
    plain = {m for a in annotations for m in members(a)}
    if bool in plain:
        return _BOOLEANS.get(text.strip().lower(), text)
    if plain & {int, float} or not fields:
        return _number(text.strip())
    return text


def _number(text: str) -> int | float | str:
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _structured(text: str, name: str) -> Any:
    return read_yaml(text, f"environment variable {name}").data


def from_environment(
    model: type[BaseModel], data: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[list[NamedValue], list[Problem], list[str]]:
    """Return the settings in the environment, what is wrong with them, and warnings.

    A variable with ``__`` that means nothing is a problem. One without is only warned of when it
    looks misspelt: container platforms set variables such as ``TAPEWATCH_SERVICE_HOST`` by
    themselves. Empty variables count as not set.
    """
    values: list[NamedValue] = []
    problems: list[Problem] = []
    warnings: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name]:
            continue
        if name in (CONFIG_VARIABLE, SECRETS_VARIABLE):
            continue
        rest = name[len(PREFIX) :]
        path = locate(model, data, rest)
        if path is None:
            if "__" in rest:
                problems.append(Problem("", 0, 0, _unknown(model, name)))
            elif close := difflib.get_close_matches(rest.lower(), keys_at(model, ()), 1, 0.8):
                meant = PREFIX + close[0].upper()
                warnings.append(f"environment variable {name} means nothing; did you mean {meant}?")
            continue
        try:
            values.append(NamedValue(path, name, typed(model, path, environ[name], name)))
        except ConfigError as error:
            problems.extend(error.problems)
    return values, problems, warnings


def _unknown(model: type[BaseModel], name: str) -> str:
    known = [PREFIX + "__".join(p).upper() for p in _leaf_names(model)]
    close = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"environment variable {name}: no such setting{hint}"


def _leaf_names(model: type[BaseModel]) -> list[tuple[str, ...]]:
    out: list[tuple[str, ...]] = []
    for key, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if inner:
            out += [(key, *rest) for m in inner for rest in _leaf_names(m)]
        else:
            out.append((key,))
    return out
