"""Whether a bearer token is hard enough to guess."""

from __future__ import annotations

import re

MIN_TOKEN_BITS = 256
_MIN_DISTINCT = 10
_SAMPLE_WORDS = re.compile(
    r"change.?me|example|secret|password|default|sample|insert|replace|your.?token|0123456789",
    re.IGNORECASE,
)


def token_weakness(token: str) -> str:
    """Return why a token is too weak, without repeating it; empty when it is good.

    A token must carry 32 bytes of entropy: 64 hexadecimal digits or 43 letters, digits, - and _.
    """
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        return "it holds spaces, control or non-ASCII characters"
    bits_each = 4 if re.fullmatch(r"[0-9a-fA-F]+", token) else 6
    bits = len(token) * bits_each
    if bits < MIN_TOKEN_BITS:
        return (
            f"its {len(token)} characters carry at most {bits} bits, "
            f"expected {MIN_TOKEN_BITS} or more"
        )
    if len(set(token)) < _MIN_DISTINCT or token in (token + token)[1:-1]:
        return "it repeats itself"
    if _SAMPLE_WORDS.search(token):
        return "it looks like a sample or default value"
    return ""
