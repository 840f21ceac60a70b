"""One value as one line of JSON that every reader accepts and no terminal obeys.

Strict JSON has no NaN and no infinity, and a line must not be broken by what a label holds:
U+2028, U+2029 and U+0085 end a line for many programs. Lone surrogates cannot be encoded. All of
them are written as ``\\uXXXX`` escapes, which are the same text to a JSON reader.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_ESCAPED = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def to_json_line(value: Any) -> str:
    """Return the value as compact JSON in one line, without a line end.

    Numbers that are not finite become the strings ``"NaN"``, ``"+Inf"`` and ``"-Inf"``, as in the
    Prometheus API. Keys keep their order. Anything that JSON does not know is refused.

    Raises:
        TypeError: A value, or a key, has no JSON form.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _ESCAPED.sub(_escape, text)


def number_text(value: float) -> str:
    """Return ``NaN``, ``+Inf`` or ``-Inf`` for a number that is not finite."""
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        # float() drops subclasses such as numpy's, whose text differs.
        return float(value) if math.isfinite(value) else number_text(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
