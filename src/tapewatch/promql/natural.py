"""Natural order of texts: runs of digits compare as numbers, so ``cpu2`` comes before ``cpu10``."""

from __future__ import annotations

import re

_RUNS = re.compile(r"[0-9]+|[^0-9]+")


def compare_naturally(a: str, b: str) -> int:
    """Return -1, 0 or 1 as ``a`` comes before, equals or follows ``b``.

    Texts that differ only in leading zeros of a number are told apart by plain order.

    >>> compare_naturally("4m600", "4m1000")
    -1
    """
    if a == b:
        return 0
    for one, other in zip(_RUNS.findall(a), _RUNS.findall(b), strict=False):
        if one == other:
            continue
        if one[0].isdigit() and other[0].isdigit():
            x, y = one.lstrip("0"), other.lstrip("0")
            if x == y:
                continue
            return -1 if (len(x), x) < (len(y), y) else 1
        return -1 if one < other else 1
    return -1 if (len(a), a) < (len(b), b) else 1
