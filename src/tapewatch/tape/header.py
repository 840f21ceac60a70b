"""The header of a tape: who writes it, since when, and where its parts lie."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from tapewatch.tape.layout import CRC, HEADER_BYTES, HEADER_HEAD, MAGIC, VERSION

TYPE_CHECKING = False  # importing typing would cost an engine milliseconds
if TYPE_CHECKING:
    from typing import Any


class DamagedHeaderError(ValueError):
    """These bytes are no header of a version that this code knows; the text says why."""


def encode_header(fields: Mapping[str, Any]) -> bytes:
    """Return one header page.

    Raises:
        ValueError: The fields need more than a page.
    """
    from msgspec.msgpack import encode  # an engine that only imports us should not pay for it

    body = encode(fields)
    page = HEADER_HEAD.pack(MAGIC, VERSION, len(body)) + body
    page += CRC.pack(crc32(page))
    if len(page) > HEADER_BYTES:
        raise ValueError(f"the tape header takes {len(page)} bytes, at most {HEADER_BYTES}")
    return page.ljust(HEADER_BYTES, b"\0")


def decode_header(page: bytes) -> dict[str, Any]:
    """Return the fields of a header page.

    Raises:
        DamagedHeaderError: Wrong magic, unknown version, lying length, wrong CRC, no map.
    """
    from msgspec import DecodeError
    from msgspec.msgpack import decode

    if len(page) < HEADER_HEAD.size:
        raise DamagedHeaderError(f"found {len(page)} bytes, expected a header of {HEADER_BYTES}")
    magic, version, length = HEADER_HEAD.unpack_from(page)
    if magic != MAGIC:
        raise DamagedHeaderError(f"found magic {magic!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise DamagedHeaderError(f"found format version {version}, expected {VERSION}")
    end = HEADER_HEAD.size + length
    if end + CRC.size > len(page):
        raise DamagedHeaderError(f"the header claims {length} bytes and does not hold them")
    if CRC.unpack_from(page, end)[0] != crc32(page[:end]):
        raise DamagedHeaderError("the header's checksum is wrong")
    try:
        fields = decode(page[HEADER_HEAD.size : end])
    except (DecodeError, ValueError, RecursionError) as error:
        raise DamagedHeaderError(f"the header is not msgpack: {error}") from error
    if not isinstance(fields, dict):
        raise DamagedHeaderError("the header is not a map")
    return fields
