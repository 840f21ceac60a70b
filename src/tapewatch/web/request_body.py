"""Reads a JSON body that may be hostile."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_DEPTH = 32


async def json_object(request: Request) -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        HTTPException: 400 when the body is no JSON object, is nested too deeply, holds a huge
            number, NaN or Infinity; 408 and 413 come from the guard.
    """
    body = await request.body()
    try:
        value = json.loads(body.decode("utf-8") or "{}", parse_constant=_refuse_constant)
    except RecursionError:
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        # Among them integers of more than 4,300 digits and text that is not UTF-8.
        raise HTTPException(400, f"the body is not valid JSON: {_short(error)}") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the body must be a JSON object, like {}")
    if _is_deeper(value, MAX_DEPTH):
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def text_field(body: dict[str, Any], name: str, *, max_length: int, required: bool = False) -> str:
    """Return a text field of the body.

    Raises:
        HTTPException: 400 when it is missing, no text, or too long.
    """
    value = body.get(name, "")
    if not isinstance(value, str):
        raise HTTPException(400, f'"{name}" must be a text')
    if required and not value.strip():
        raise HTTPException(400, f'"{name}" is required and must not be empty')
    if len(value) > max_length:
        raise HTTPException(400, f'"{name}" has {len(value)} characters, at most {max_length}')
    return value


def refuse_unknown(body: dict[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a body with fields that mean nothing here.

    Raises:
        HTTPException: 400 naming the unknown fields and the known ones.
    """
    unknown = sorted(set(body) - set(known))
    if unknown:
        shown = ", ".join(f'"{name[:64]}"' for name in unknown[:5])
        raise HTTPException(400, f"unknown field {shown}; known are {', '.join(known)}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _short(error: ValueError) -> str:
    return str(error)[:200]


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, (dict, list)) for node in level)
