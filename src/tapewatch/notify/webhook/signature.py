"""Signs a webhook so that its receiver can tell who sent it, and when.

``X-Tapewatch-Signature: t=<unix seconds>,v1=<hex>`` where the hexadecimal digits are the
HMAC-SHA256, under the shared secret, of the seconds as written, a full stop, and the body's bytes.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "X-Tapewatch-Signature"
MAX_AGE_S = 300


def sign(secret: str, body: bytes, at_s: int) -> str:
    """Return the header's value.

    >>> sign("s3cret", b"{}", 1767604500)[:24]
    't=1767604500,v1=7b630cae'
    """
    message = str(at_s).encode("ascii") + b"." + body
    digest = hmac.new(secret.encode("utf-8"), message, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def verify(secret: str, body: bytes, header: str, now_s: int, max_age_s: int = MAX_AGE_S) -> bool:
    """Return True when the header signs this body and is at most ``max_age_s`` seconds off.

    For receivers written in Python; the comparison takes the same time whatever differs.
    """
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    stamp = fields.get("t", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        return False
    if abs(now_s - int(stamp)) > max_age_s:
        return False
    expected = sign(secret, body, int(stamp))
    return hmac.compare_digest(expected.encode(), f"t={stamp},v1={fields.get('v1', '')}".encode())
