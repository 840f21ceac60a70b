"""The reference page of the configuration, made from the model so that it cannot fall behind.

``python -m tapewatch.config.reference > docs/reference/configuration.md`` writes it anew; a test
holds the page in step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import EnumType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tapewatch.config.environment import PREFIX
from tapewatch.config.fields import Duration, ListenAddress, SecretUrl, Size
from tapewatch.config.model import Settings
from tapewatch.config.shape import is_mapping, item_annotation, members, models_in
from tapewatch.config.view import shown_value
from tapewatch.model.severity import AlertSeverity

_INTRODUCTION = """\
# Configuration

This page is made from the code by `python -m tapewatch.config.reference`; a test holds it in step.

`tapewatch init` writes a commented configuration that validates as it stands. The file is YAML
1.2: `no` and `10:30` are text. Unknown keys, duplicate keys and wrong types are errors, all told
in one pass with file, line and column. `tapewatch check-config` runs the same code as the daemon.

## Where a setting may stand

The first place that has it wins; `tapewatch config show` prints every effective value with the
place it came from.

1. A flag of `tapewatch run`: `--data-dir`, `--listen`, `--retention` (`storage.metrics_retention`).
2. An environment variable: `TAPEWATCH_` and the key, two underscores for each level:
   `TAPEWATCH_LOG__LEVEL=debug`. An item of a list goes by its name:
   `TAPEWATCH_RECEIVERS__OPS__SECRET`, `TAPEWATCH_PACKS__ENGINE__THRESHOLDS__<NAME>`. A whole list
   is JSON, or words with commas.
3. A file in the secrets directory (`TAPEWATCH_SECRETS_DIR`, else systemd's
   `CREDENTIALS_DIRECTORY`) with the same name in any letter case: `tapewatch_web__auth_token`.
4. The configuration file: `--config`, else `TAPEWATCH_CONFIG`, else
   `$XDG_CONFIG_HOME/tapewatch/tapewatch.yaml` (`~/.config/...`), else
   `/etc/tapewatch/tapewatch.yaml`.
5. The default.

Secrets never stand in the file. Each has a key with `_file` beside it that names a file holding
the secret alone, of mode 0600 or stricter; `TAPEWATCH_WEB__AUTH_TOKEN_FILE` works as well. No
command, route or log line shows one.

A reload (`SIGHUP` or `POST /-/reload`) reads everything again. When anything is wrong the old
configuration stays in force as a whole.

## Kinds of values

| Kind | Written |
|---|---|
| duration | `1h30m`, `15s`, `250ms`, as Prometheus writes it; a bare number means seconds |
| size | `64MiB`, `5GB`; a bare number means bytes |
| path | absolute, or relative as the key says; `~` is the home directory |
| severity | `info`, `warning`, `critical` or `emergency`, in any letter case |
| time of day | `09:15` or `09:15:30` |
| time zone | an IANA name such as `Asia/Kolkata`, or `UTC` |

## Keys
"""


@dataclass(frozen=True, slots=True)
class DocumentedKey:
    """One key of the file."""

    path: str
    """Dotted; ``[]`` stands for an item of a list, ``(webhook)`` for its kind."""
    field: FieldInfo


def documented_keys() -> list[DocumentedKey]:
    """Return every key that can be set, sections and their keys in the order of the model."""
    return list(_keys(Settings, ""))


def reference_text() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for key in documented_keys():
        about = key.field
        extra = about.json_schema_extra if isinstance(about.json_schema_extra, dict) else {}
        secret = SecretStr in members(about.annotation)
        lines = [f"\n### `{key.path}`\n", f"{about.description}\n"]
        lines.append(f"- Kind: {_kind(about)}")
        if not models_in(about.annotation) or item_annotation(about.annotation) is not None:
            why = f" ({extra['why']})" if "why" in extra else ""
            lines.append(f"- Default: {_default(about)}{why}")
        if secret:
            lines.append("- Never in the file.")
        if "[" not in key.path and "(" not in key.path and not models_in(about.annotation):
            lines.append(f"- Variable: `{PREFIX}{key.path.replace('.', '__').upper()}`")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _keys(model: type[BaseModel], prefix: str) -> Iterator[DocumentedKey]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield DocumentedKey(path, field)
        item = item_annotation(field.annotation)
        if item is None:
            for inner in models_in(field.annotation):
                yield from _keys(inner, f"{path}.")
            continue
        inners = models_in(item)
        for inner in inners:
            kind = f"({_kind_word(inner)})" if len(inners) > 1 else ""
            yield from _keys(inner, f"{path}[]{kind}.")


def _kind_word(model: type[BaseModel]) -> str:
    word: str = get_args(model.model_fields["kind"].annotation)[0]
    return word


_KINDS: dict[Any, str] = {
    Duration: "duration",
    Size: "size",
    ListenAddress: "host and port",
    AlertSeverity: "severity",
    SecretStr: "secret",
    SecretUrl: "URL",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
}
_KINDS_BY_NAME = {"Path": "path", "time": "time of day", "date": "date such as `2026-12-25`"}


def _kind(field: FieldInfo) -> str:
    item = item_annotation(field.annotation)
    if item is not None:
        return "list of mappings" if models_in(item) else f"list of {_plain(item)}"
    return "section" if models_in(field.annotation) else _plain(field.annotation)


def _plain(annotation: Any) -> str:
    if is_mapping(annotation):
        return "mapping of names to numbers"
    for member in members(annotation):
        if isinstance(member, EnumType) and member is not AlertSeverity:
            options: list[Any] = list(member.__members__.values())
            return " or ".join(f"`{option}`" for option in options)
        if get_origin(member) is not None:
            return " or ".join(f"`{word}`" for word in get_args(member))
        if member is type(None):
            continue
        if member in _KINDS:
            return _KINDS[member]
        return _KINDS_BY_NAME[member.__name__]
    raise TypeError(f"no words for {annotation!r}")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none, must be given"
    value = field.default
    if value is PydanticUndefined or value is None:
        return "none"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return " and ".join(f"`{getattr(item, 'name', item)}`" for item in value)
    shown = shown_value(value)
    return f"`{shown}`" if isinstance(shown, str) else f"`{json.dumps(shown)}`"


if __name__ == "__main__":
    sys.stdout.write(reference_text())
