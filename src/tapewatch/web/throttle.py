"""Counts wrong tokens per address, so that guessing is slow."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable

TRIES = 10
WINDOW_S = 60.0
_MAX_ADDRESSES = 4096


class FailureThrottle:
    """Ten failures a minute per address (per /64 for IPv6); then the address has to wait."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return for how many seconds the address must not try; 0.0 when it may."""
        times = self._failures.get(_key(address))
        if times is None or len(times) < TRIES:
            return 0.0
        return max(0.0, times[0] + WINDOW_S - self._monotonic())

    def failed(self, address: str) -> bool:
        """Record a failure; return whether the address has now used up its tries."""
        key = _key(address)
        times = self._failures.setdefault(key, deque(maxlen=TRIES))
        self._failures.move_to_end(key)
        times.append(self._monotonic())
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return self.wait_s(address) > 0.0


def _key(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
