"""Sends each notification as one HTTP POST on a kept-alive connection.

The request goes through httpx2's transport and not through its client: no redirects, no cookies,
no proxies from the environment, and no log line with the URL in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio.lowlevel
import httpx2

from tapewatch import _version
from tapewatch.model.errors import DeliveryError
from tapewatch.model.notification import Notification
from tapewatch.notify.webhook import signature
from tapewatch.notify.webhook.addresses import ResolveError, Resolver
from tapewatch.notify.webhook.answer import judge
from tapewatch.notify.webhook.payload import body as render
from tapewatch.notify.webhook.settings import WebhookSettings, parse_url, redacted

USER_AGENT = f"tapewatch/{_version.__version__}"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class WebhookReceiver:
    """Tells a web service."""

    kind = "webhook"
    keeps_every = False

    def __init__(
        self,
        name: str,
        settings: WebhookSettings,
        *,
        recipients: Sequence[str] = (),
        transport: httpx2.AsyncBaseTransport | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is connected before the first notification.

        Args:
            name: The receiver's name.
            settings: Where to and how long.
            recipients: Named in each payload.
            transport: Carries the requests; None for a real one.
            wall_s: Wall clock in Unix seconds, for signatures and dates in ``Retry-After``.
        """
        self.name = name
        self._settings = settings
        self._recipients = tuple(recipients)
        self._wall_s = wall_s
        self._url = parse_url(settings.url)
        self._place = redacted(self._url)
        self._host = self._url.host
        self._header_host = self._url.netloc.decode("ascii")
        self._resolver = Resolver(
            self._host,
            self._url.port or _DEFAULT_PORTS[self._url.scheme],
            allow_link_local=settings.allow_link_local,
        )
        self._transport = transport or httpx2.AsyncHTTPTransport(
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=4, max_keepalive_connections=2, keepalive_expiry=120.0
            ),
        )

    def __repr__(self) -> str:
        return f"WebhookReceiver({self.name!r}, {self._place!r})"

    async def prepare(self) -> None:
        """Load what the transport loads at its first call, and look up the host."""
        # Measured: the backend that anyio imports on first use costs the first alert 40 ms.
        await anyio.lowlevel.checkpoint()
        with suppress(ResolveError):
            await self._resolver.addresses(self._settings.connect_timeout_s)

    async def send(self, notification: Notification) -> None:
        """POST the notification; return when the service has accepted it.

        Raises:
            DeliveryError: It has not; see ``answer`` for which answers are permanent.
        """
        content = render(
            notification,
            external_url=self._settings.external_url,
            recipients=self._recipients,
        )
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                await self._post(content, notification.key)
        except TimeoutError:
            raise self._failure(
                f"no whole answer within {self._settings.deadline_s:g} s", permanent=False
            ) from None

    async def close(self) -> None:
        """Close the connections."""
        self._resolver.close()
        await self._transport.aclose()

    async def _post(self, content: bytes, key: str) -> None:
        try:
            addresses = await self._resolver.addresses(self._settings.connect_timeout_s)
        except ResolveError as error:
            raise self._failure(str(error), permanent=error.permanent) from None
        headers = self._headers(content, key)
        for number, address in enumerate(addresses, start=1):
            opened = _Opened()
            request = httpx2.Request(
                "POST",
                self._url.copy_with(host=address),
                headers=headers,
                content=content,
                extensions={
                    "timeout": self._timeouts(),
                    "sni_hostname": self._host,
                    # Only a TLS handshake can leave a connection behind.
                    **({"trace": opened.note} if self._url.scheme == "https" else {}),
                },
            )
            try:
                await self._exchange(request)
            except asyncio.CancelledError:
                await opened.close()
                raise
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if number == len(addresses):
                    raise self._failure(_complaint(error), permanent=False) from None
            except httpx2.TransportError as error:
                raise self._failure(_complaint(error), permanent=False) from None
            else:
                self._resolver.prefer(address)
                return

    async def _exchange(self, request: httpx2.Request) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            answer = await self._read(response)
        finally:
            await response.aclose()
        refusal = judge(
            response.status_code, response.headers.get("retry-after"), answer, self._wall_s()
        )
        if refusal is not None:
            raise self._failure(
                refusal.reason,
                permanent=refusal.permanent,
                retry_after_s=refusal.retry_after_s,
                answered=True,
            )

    async def _read(self, response: httpx2.Response) -> bytes:
        """Return the body up to the cap; closing early gives the connection up."""
        answer = bytearray()
        async for chunk in response.aiter_raw():
            answer += chunk[: self._settings.max_body_bytes - len(answer)]
            if len(answer) >= self._settings.max_body_bytes:
                break
        return bytes(answer)

    def _headers(self, content: bytes, key: str) -> dict[str, str]:
        headers = {
            "Host": self._header_host,
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Accept": "application/json, */*;q=0.1",
            "Accept-Encoding": "identity",
            "Idempotency-Key": key,
        }
        if self._settings.secret is not None:
            stamp = int(self._wall_s())
            headers[signature.HEADER] = signature.sign(self._settings.secret, content, stamp)
        return headers

    def _timeouts(self) -> dict[str, float]:
        deadline_s = self._settings.deadline_s
        return {
            "connect": self._settings.connect_timeout_s,
            "read": deadline_s,
            "write": deadline_s,
            "pool": deadline_s,
        }

    def _failure(
        self,
        reason: str,
        *,
        permanent: bool,
        retry_after_s: float | None = None,
        answered: bool = False,
    ) -> DeliveryError:
        return DeliveryError(
            f"webhook {self.name!r} at {self._place}: {reason}",
            permanent=permanent,
            retry_after_s=retry_after_s,
            answered=answered,
        )


class _Opened:
    """The connection that a request opened, to be closed if its TLS handshake is cancelled.

    The library closes it on every error but on cancellation, and our deadline cancels. A server
    that never finishes the handshake would cost a file descriptor for each attempt.
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def note(self, event: str, info: dict[str, Any]) -> None:
        """Follow the library's progress; it calls this at every step."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.complete":
            self._stream = None

    async def close(self) -> None:
        """Close the connection whose handshake did not end."""
        if self._stream is not None:
            await self._stream.aclose()


def _complaint(error: httpx2.TransportError) -> str:
    """Say what went wrong in our words: the library's may hold parts of the request."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return f"the connection failed ({type(error).__name__})"


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (httpx2.ConnectTimeout, "no connection within the connect timeout"),
    (httpx2.ConnectError, "cannot connect (refused, unreachable or a bad certificate)"),
    (httpx2.RemoteProtocolError, "the connection was closed before a whole answer"),
    (httpx2.TimeoutException, "the connection stalled"),
    (httpx2.NetworkError, "the connection broke"),
)
