"""How answers are written: JSON that is always valid, and one shape for every error of ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec
from starlette.responses import Response

from tapewatch.model.errors import (
    ConfigError,
    QueryError,
    StorageError,
    TapewatchError,
)
from tapewatch.web.facade import ConflictError, NotFoundError

JSON = "application/json"

_STATUS_OF: tuple[tuple[type[TapewatchError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (ConfigError, 400),
    (QueryError, 400),
    (StorageError, 503),
)


def _plain(value: Any) -> Any:
    """Turn what msgspec does not know into what it does."""
    item = getattr(value, "item", None)
    if item is not None:  # a numpy scalar
        return item()
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def json_bytes(value: Any) -> bytes:
    """Encode as JSON. NaN and infinities become null; lone surrogates become escapes."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(_portable(value), allow_nan=False, default=str).encode("ascii")


def _portable(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _portable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_portable(v) for v in value]
    return value


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON."""
    return Response(json_bytes(value), status, headers, JSON)


def error_response(
    status: int,
    code: str,
    message: str,
    next_step: str = "",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """Answer with the one error shape: ``{"error": {"code", "message", "next_step"}}``."""
    error = {"code": code, "message": message, "next_step": next_step, **more}
    return json_response({"error": error}, status, headers)


def error_of(error: TapewatchError) -> Response:
    """Answer with an error that a lower layer raised on purpose."""
    status = next((s for kind, s in _STATUS_OF if isinstance(error, kind)), 500)
    if isinstance(error, ConfigError):
        problems = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message}
            for p in error.problems
        ]
        return error_response(status, error.code, error.message, error.next_step, problems=problems)
    message = str(error) if isinstance(error, QueryError) else error.message
    return error_response(status, error.code, message, error.next_step)
