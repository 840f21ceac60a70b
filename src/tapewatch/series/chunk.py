"""Columns of times and values as few bytes, and back to the very same bits.

Every stream of numbers ends as *packed integers*: differences, zigzag-coded so that small ones of
either sign are small, cut to the fewest bytes that hold them all, and stored plane by plane (all
lowest bytes, then all next ones), so that the deflate behind it finds the planes that hardly
change.

Values are written in the cheapest form that is exact:

- *same*: one value for the whole column.
- *decimal*: trading data are mostly decimal. ``v`` is written as the whole number ``v * 10**p``.
  Sums of such numbers miss their decimal by a few units in the last place; those units are kept in
  a second stream, so a balance that was added up stays small and exact all the same. Values that
  fit no such form (a stale marker, a NaN) are kept aside, if they are few.
- *binary*: the bits themselves, as 64-bit integers.
- *raw*: the bits as they are, for a few values, which are not worth the work. Small chunks are
  joined later, and get their form then.

All numbers are little-endian, whatever the machine.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from tapewatch.series.block import is_absent
from tapewatch.series.querier import Times, Values

MAX_ROWS = 1 << 20
"""Rows that one chunk may have: bounds what a damaged chunk can make a reader allocate."""

_Integers = npt.NDArray[np.int64]
_Unsigned = npt.NDArray[np.uint64]
_LEVEL = 1
_INT64 = np.dtype("<i8")
_UINT64 = np.dtype("<u8")
_UINT32 = np.dtype("<u4")
_FLOAT64 = np.dtype("<f8")

_HEADER = struct.Struct("<BI")
"""Form, number of rows."""
_DECIMAL = struct.Struct("<bHBI")
"""Power of ten, values kept aside, 1 if units in the last place follow, length of the digits."""
_PACKED = struct.Struct("<BBqq")
"""Order of the differences (1 or 2), width in bytes, first number, base of the differences."""
_TIMES = struct.Struct("<q")
"""What all times are multiples of."""
_BITMAP = struct.Struct("<I")
"""Length of the deflated bitmap of present cells."""

_FORM_SAME, _FORM_DECIMAL, _FORM_BINARY, _FORM_HOLES, _FORM_RAW = 0, 1, 2, 3, 4
_FEW = 16

_POWERS = tuple(10.0**p for p in range(10))
_MOST_ASIDE = 16
"""A column is decimal if at most one value in so many has to be kept aside."""
_MOST_UNITS = 127
_LARGEST = float(1 << 53)
_PROBE = 64
_STEPS = (1_000_000_000, 1_000_000, 1_000)


class ChunkError(ValueError):
    """The bytes are no chunk that this module wrote."""


def encode_times(times: Times) -> bytes:
    """Return rising instants in nanoseconds as bytes; at least one and at most ``MAX_ROWS``."""
    if not 1 <= len(times) <= MAX_ROWS:
        raise ValueError(f"a chunk has 1 to {MAX_ROWS} rows, not {len(times)}")
    if len(times) < _FEW:
        return _HEADER.pack(_FORM_RAW, len(times)) + np.ascontiguousarray(times, _INT64).tobytes()
    step = 1
    for candidate in _STEPS:
        if not (times % candidate).any():
            step = candidate
            times = times // candidate
            break
    packed = _pack(times)
    return _HEADER.pack(_FORM_BINARY, len(times)) + _TIMES.pack(step) + packed


def decode_times(data: bytes) -> Times:
    """Return the instants that ``encode_times`` wrote.

    Raises:
        ChunkError: The bytes are damaged.
    """
    try:
        form, rows = _rows_of(data)
        if form == _FORM_RAW:
            return _raw(data, rows)
        (step,) = _TIMES.unpack_from(data, _HEADER.size)
        times = _unpack(data[_HEADER.size + _TIMES.size :], rows)
    except (struct.error, zlib.error, ValueError, OverflowError) as error:
        raise ChunkError(f"a chunk's times cannot be read: {error}") from error
    return times if step == 1 else times * np.int64(step)


def encode_values(values: Values, *, keeps_nan: bool = True) -> bytes:
    """Return a column of values as bytes.

    Args:
        values: At least one and at most ``MAX_ROWS`` cells.
        keeps_nan: Every bit counts. Else NaN cells that are no stale markers are absent: they
            cost a bit each and come back as NaN.
    """
    if not 1 <= len(values) <= MAX_ROWS:
        raise ValueError(f"a chunk has 1 to {MAX_ROWS} rows, not {len(values)}")
    values = np.ascontiguousarray(values, _FLOAT64)
    if not keeps_nan:
        absent = is_absent(values)
        if absent.any():
            bitmap = zlib.compress(np.packbits(~absent).tobytes(), _LEVEL)
            present = values[~absent]
            body = _encode_present(present) if len(present) else b""
            header = _HEADER.pack(_FORM_HOLES, len(values))
            return header + _BITMAP.pack(len(bitmap)) + bitmap + body
    return _encode_present(values)


def decode_values(data: bytes) -> Values:
    """Return the column that ``encode_values`` wrote; absent cells are NaN.

    Raises:
        ChunkError: The bytes are damaged.
    """
    try:
        form, rows = _rows_of(data)
        if form != _FORM_HOLES:
            return _decode_present(data)
        (length,) = _BITMAP.unpack_from(data, _HEADER.size)
        start = _HEADER.size + _BITMAP.size
        bitmap = np.frombuffer(_inflate(data[start : start + length], (rows + 7) // 8), np.uint8)
        present = np.unpackbits(bitmap, count=rows).astype(np.bool_)
        values = np.full(rows, np.nan)
        if present.any():
            values[present] = _decode_present(data[start + length :])
    except (struct.error, zlib.error, ValueError, OverflowError) as error:
        raise ChunkError(f"a chunk's values cannot be read: {error}") from error
    return values


def has_absent(data: bytes) -> bool:
    """Return whether an encoded column has absent cells; then its NaN are those."""
    return data[0] == _FORM_HOLES


# -- values ------------------------------------------------------------------------------------


def _encode_present(values: Values) -> bytes:
    rows = len(values)
    bits = values.view(_INT64)
    if bits[0] == bits[-1] and (bits == bits[0]).all():
        return _HEADER.pack(_FORM_SAME, rows) + values[:1].tobytes()
    if rows < _FEW:
        return _HEADER.pack(_FORM_RAW, rows) + values.tobytes()
    decimal = _encode_decimal(values, bits)
    if decimal is not None:
        return _HEADER.pack(_FORM_DECIMAL, rows) + decimal
    return _HEADER.pack(_FORM_BINARY, rows) + _pack(bits)


def _decode_present(data: bytes) -> Values:
    form, rows = _rows_of(data)
    body = data[_HEADER.size :]
    if form == _FORM_SAME:
        if len(body) != _FLOAT64.itemsize:
            raise ChunkError("a constant column must have one value")
        return np.full(rows, np.frombuffer(body, _INT64)[0], _INT64).view(np.float64)
    if form == _FORM_RAW:
        return _raw(data, rows).view(np.float64)
    if form == _FORM_DECIMAL:
        return _decode_decimal(body, rows)
    if form == _FORM_BINARY:
        return _unpack(body, rows).view(np.float64)
    raise ChunkError(f"a column has the unknown form {form}")


def _encode_decimal(values: Values, bits: _Integers) -> bytes | None:
    power = _power_of(values)
    if power is None:
        return None
    digits, units, odd = _scale(values, bits, power)
    aside = np.flatnonzero(odd)
    if len(aside) > len(values) // _MOST_ASIDE or len(aside) > 0xFFFF:
        return None
    kept = aside.astype(_UINT32).tobytes() + values[aside].tobytes()
    if len(aside):
        digits[aside] = _nearest_kept(digits, odd)
        units[aside] = 0
    packed = _pack(digits)
    rounded = bool(units.any())
    # Units in the last place do not follow one another, so they are not differenced.
    tail = zlib.compress(_zigzag(units).astype(np.uint8).tobytes(), _LEVEL) if rounded else b""
    return _DECIMAL.pack(power, len(aside), rounded, len(packed)) + kept + packed + tail


def _decode_decimal(body: bytes, rows: int) -> Values:
    power, aside, rounded, length = _DECIMAL.unpack_from(body)
    if not 0 <= power < len(_POWERS):
        raise ChunkError(f"a column scaled by ten to the power of {power}")
    start = _DECIMAL.size
    where = np.frombuffer(body, _UINT32, aside, start)
    start += where.nbytes
    kept = np.frombuffer(body, _INT64, aside, start)
    start += kept.nbytes
    digits = _unpack(body[start : start + length], rows)
    bits = (digits.astype(np.float64) / _POWERS[power]).view(_INT64)
    if rounded:
        raw = np.frombuffer(_inflate(body[start + length :], rows), np.uint8)
        bits = bits + _unzigzag(raw.astype(np.uint64))
    if aside:
        if where.max() >= rows:
            raise ChunkError("a value kept aside belongs to no row")
        bits[where] = kept
    values: Values = bits.view(np.float64)
    return values


def _power_of(values: Values) -> int | None:
    """Return the smallest power of ten that makes most of a sample whole, or None."""
    probe = values[:: max(1, len(values) // _PROBE)][:_PROBE]
    probe = np.ascontiguousarray(probe)
    bits = probe.view(_INT64)
    for power in range(len(_POWERS)):
        odd = _scale(probe, bits, power)[2]
        if _MOST_ASIDE * int(odd.sum()) <= len(probe):
            return power
    return None


def _scale(
    values: Values, bits: _Integers, power: int
) -> tuple[_Integers, _Integers, npt.NDArray[np.bool_]]:
    """Return whole numbers, the units in the last place that are missing, and which do not fit."""
    with np.errstate(all="ignore"):
        scaled = np.rint(values * _POWERS[power])
        odd = ~(np.abs(scaled) < _LARGEST)
        scaled[odd] = 0.0
        # -0.0 becomes 0.0, which is what the whole number 0 gives back; its sign makes it odd.
        scaled += 0.0
        units = bits - (scaled / _POWERS[power]).view(_INT64)
        odd |= (units > _MOST_UNITS) | (units < -_MOST_UNITS)
    return scaled.astype(_INT64), units, odd


def _nearest_kept(digits: _Integers, odd: npt.NDArray[np.bool_]) -> _Integers:
    """Return for each odd place the number before it that fits, so that no difference jumps."""
    rows = np.where(odd, 0, np.arange(len(digits)))
    before = np.maximum.accumulate(rows)[odd]
    first = int(np.argmin(odd))
    before[before == 0] = 0 if not odd[0] else first
    return digits[before]


# -- packed integers ---------------------------------------------------------------------------


def _pack(numbers: _Integers) -> bytes:
    """Return integers as differences of the order that makes them smaller, in planes."""
    first = int(numbers[0])
    with np.errstate(over="ignore"):
        once = np.diff(numbers)
        if not len(once):
            return _PACKED.pack(1, 0, first, 0)
        base, coded = _centred(once)
        order = 1
        if len(once) > 2:
            twice = np.diff(once, prepend=once[:1])
            second = _zigzag(twice)
            if _weight(second) < _weight(coded):
                order, base, coded = 2, int(once[0]), second
    width = (int(coded.max()).bit_length() + 7) // 8
    planes = coded.astype(_UINT64).view(np.uint8).reshape(-1, 8)[:, :width]
    body = zlib.compress(np.ascontiguousarray(planes.T).tobytes(), _LEVEL) if width else b""
    return _PACKED.pack(order, width, first, base) + body


def _unpack(data: bytes, rows: int) -> _Integers:
    order, width, first, base = _PACKED.unpack_from(data)
    if width > 8 or order not in (1, 2):
        raise ChunkError(f"packed integers of width {width} and order {order}")
    coded = np.zeros((rows - 1, 8), np.uint8)
    if width:
        raw = _inflate(data[_PACKED.size :], width * (rows - 1))
        coded[:, :width] = np.frombuffer(raw, np.uint8).reshape(width, rows - 1).T
    steps = _unzigzag(coded.view(_UINT64).ravel())
    numbers = np.empty(rows, np.int64)
    numbers[0] = first
    with np.errstate(over="ignore"):
        if order == 2:
            steps = np.cumsum(steps)
        np.cumsum(steps + np.int64(base), out=numbers[1:])
        numbers[1:] += np.int64(first)
    return numbers


def _centred(steps: _Integers) -> tuple[int, _Unsigned]:
    """Return differences around their middle: a steady rise costs no more than a standstill."""
    base = int(np.partition(steps, len(steps) // 2)[len(steps) // 2])
    return base, _zigzag(steps - np.int64(base))


def _weight(coded: _Unsigned) -> float:
    """Return what the numbers cost, about, in bits."""
    probe = coded[:: max(1, len(coded) // 256)]
    return float(np.log2(probe.astype(np.float64) + 1.0).sum())


def _zigzag(numbers: _Integers) -> _Unsigned:
    coded: _Unsigned = ((numbers << np.int64(1)) ^ (numbers >> np.int64(63))).view(np.uint64)
    return coded


def _unzigzag(coded: _Unsigned) -> _Integers:
    half = (coded >> np.uint64(1)).view(np.int64)
    numbers: _Integers = half ^ -(coded & np.uint64(1)).view(np.int64)
    return numbers


# -- bytes -------------------------------------------------------------------------------------


def _rows_of(data: bytes) -> tuple[int, int]:
    form, rows = _HEADER.unpack_from(data)
    if not 1 <= rows <= MAX_ROWS:
        raise ChunkError(f"a chunk of {rows} rows")
    return form, rows


def _raw(data: bytes, rows: int) -> _Integers:
    if len(data) != _HEADER.size + rows * _INT64.itemsize:
        raise ChunkError("the bytes are not as many as the rows need")
    return np.frombuffer(data, _INT64, rows, _HEADER.size).copy()


def _inflate(data: bytes, size: int) -> bytes:
    """Return exactly ``size`` bytes; a damaged stream cannot ask for more memory than that."""
    inflater = zlib.decompressobj()
    out = inflater.decompress(data, size + 1)
    if len(out) != size:
        raise ChunkError(f"a stream gave {len(out)} bytes instead of {size}")
    return out
