"""Which addresses a webhook may be sent to, and finding them without blocking anybody.

The address that was checked is the one that is connected to, so a name that changes its mind
between the two (DNS rebinding) gains nothing. Loopback and private networks are allowed: a
webhook on the same machine or in the same rack is the common case. Link-local ones never are:
clouds serve credentials there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass

from tapewatch.notify.side_thread import SideThread

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
FRESH_S = 60.0
"""How long a name's addresses are used before it is asked again."""


def refusal(address: str) -> str | None:
    """Return why this address is refused; None when it is allowed or is a name.

    >>> refusal("::ffff:169.254.169.254")
    'it is a link-local address, where clouds serve credentials'
    """
    try:
        parsed: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    inner = _inner(parsed)
    if inner.is_link_local:
        return "it is a link-local address, where clouds serve credentials"
    if inner in _METADATA or parsed in _METADATA:
        return "it is a cloud's metadata address"
    if inner.is_multicast or inner.is_unspecified:
        return "it is not the address of one host"
    return None


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _inner(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 one carries inside, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class ResolveError(Exception):
    """A name has no address that may be used."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[str, ...]
    at_s: float


class Resolver:
    """Turns one receiver's host into addresses, in a thread of its own.

    ``getaddrinfo`` can block for many seconds; in asyncio's own pool it would starve everybody
    else. When the name server does not answer, the last good addresses are used.
    """

    def __init__(self, host: str, port: int, *, allow_link_local: bool = False) -> None:
        self._host = host
        self._port = port
        self._allow_link_local = allow_link_local
        allowed = allow_link_local or refusal(host) is None
        self._fixed = (host,) if _is_literal(host) and allowed else None
        self._known: _Known | None = None
        self._asking: asyncio.Future[tuple[str, ...]] | None = None
        self._thread = SideThread("tapewatch-resolve")

    async def addresses(self, timeout_s: float) -> tuple[str, ...]:
        """Return the addresses to try, in order.

        Raises:
            ResolveError: There is none, or one of them is refused.
        """
        if self._fixed is not None:
            return self._fixed
        now_s = time.monotonic()
        known = self._known
        if known is not None and now_s - known.at_s < FRESH_S:
            return known.addresses
        try:
            found = await asyncio.wait_for(self._ask(), timeout_s)
        except (OSError, TimeoutError, UnicodeError) as error:
            if known is not None:
                return known.addresses
            why = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
            raise ResolveError(f"cannot find the host: {why}", permanent=False) from None
        for address in found:
            reason = None if self._allow_link_local else refusal(address)
            if reason is not None:
                raise ResolveError(f"the host's address is refused: {reason}", permanent=True)
        self._known = _Known(found, time.monotonic())
        return found

    def prefer(self, address: str) -> None:
        """Try this address first from now on; it answered."""
        if self._known is not None and self._known.addresses[0] != address:
            others = tuple(a for a in self._known.addresses if a != address)
            self._known = _Known((address, *others), self._known.at_s)

    def close(self) -> None:
        """Let go of the thread; a look-up that hangs is left behind."""
        self._thread.close()

    async def _ask(self) -> tuple[str, ...]:
        # One look-up at a time: asking again while one hangs would only queue behind it.
        if self._asking is None or self._asking.done():
            self._asking = self._thread.submit(self._look_up)
            self._asking.add_done_callback(_observe)
        return await asyncio.shield(self._asking)

    def _look_up(self) -> tuple[str, ...]:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _observe(future: asyncio.Future[tuple[str, ...]]) -> None:
    # A failure that nobody waits for any more is not worth a warning at exit.
    if not future.cancelled():
        future.exception()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
