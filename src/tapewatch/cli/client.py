"""Talk to a running daemon: over its Unix socket first, else over TCP."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from tapewatch._version import __version__
from tapewatch.cli.place import Place
from tapewatch.model.errors import TapewatchError

CONNECT_S = 2.0
READ_S = 30.0
MAX_ANSWER_BYTES = 256 << 20


class UnreachableError(TapewatchError):
    """The daemon does not answer, or something else does in its place."""

    code = "daemon_unreachable"


class RefusedError(TapewatchError):
    """The daemon answered with an error."""

    code = "daemon_refused"

    def __init__(self, status: int, message: str, *, next_step: str = "", code: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.status = status
        """HTTP status."""
        self.kind = code
        """The daemon's error code, or the error kind of the Prometheus API."""


class DaemonClient:
    """One connection to a daemon. Use it in a ``with`` block."""

    def __init__(self, client: httpx2.Client, *, where: str) -> None:
        self._client = client
        self.where = where
        """For people: the socket's path or the address."""

    def __enter__(self) -> DaemonClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def get(
        self, path: str, params: Mapping[str, str] | None = None, *, accept: tuple[int, ...] = ()
    ) -> Any:
        """Return the JSON at a path.

        Args:
            path: Absolute path.
            params: The query string.
            accept: Statuses besides 2xx whose body is an answer too (503 of a health route).

        Raises:
            UnreachableError: No answer, or not JSON.
            RefusedError: The daemon said no.
        """
        return self._answer("GET", path, accept, params=dict(params or {}))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a change and return the answer.

        Raises:
            UnreachableError: No answer, or not JSON.
            RefusedError: The daemon said no.
        """
        return self._answer("POST", path, (), json=dict(body), headers={"X-Tapewatch": "1"})

    def query(self, text: str, time_s: float | None = None) -> dict[str, Any]:
        """Evaluate PromQL at one instant; return Prometheus's envelope.

        Raises:
            UnreachableError, RefusedError: As ``get``.
        """
        params = {"query": text}
        if time_s is not None:
            params["time"] = f"{time_s:.3f}"
        answer: dict[str, Any] = self.get("/api/v1/query", params)
        return answer

    def query_range(self, text: str, start_s: float, end_s: float, step_s: float) -> dict[str, Any]:
        """Evaluate PromQL at every step of [start, end]; return Prometheus's envelope.

        Raises:
            UnreachableError, RefusedError: As ``get``.
        """
        answer: dict[str, Any] = self.get(
            "/api/v1/query_range",
            {
                "query": text,
                "start": f"{start_s:.3f}",
                "end": f"{end_s:.3f}",
                "step": f"{step_s:.3f}",
            },
        )
        return answer

    def metric_names(self) -> list[str]:
        """Return the names of all metrics, sorted.

        Raises:
            UnreachableError, RefusedError: As ``get``.
        """
        names: list[str] = self.get("/api/v1/label/__name__/values")["data"]
        return names

    def latest_s(self) -> float:
        """Return now, by this machine's clock."""
        return time.time()

    def _answer(self, method: str, path: str, accept: tuple[int, ...], **request: Any) -> Any:
        try:
            with self._client.stream(method, path, **request) as response:
                raw = bytearray()
                for part in response.iter_bytes():
                    raw += part
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise UnreachableError(
                            f"the answer to {path} is larger than {MAX_ANSWER_BYTES >> 20} MiB"
                        )
                status = response.status_code
        except httpx2.HTTPError as error:
            raise UnreachableError(
                f"the daemon at {self.where} does not answer: {_plain_reason(error)}"
            ) from None
        try:
            body = json.loads(bytes(raw))
        except ValueError:
            raise UnreachableError(
                f"what answers at {self.where} is not Tapewatch (HTTP {status} without JSON)"
            ) from None
        if 200 <= status < 300 or status in accept:
            return body
        raise _refusal(status, body)


def connect(place: Place) -> DaemonClient | None:
    """Return a client of the daemon that holds the place, or None when none runs.

    Raises:
        UnreachableError: An address was named and nothing of ours answers there, or the socket
            belongs to somebody else.
        RefusedError: The daemon wants a token.
    """
    if not place.url_given:
        client = _over_socket(place.socket_path)
        if client is not None:
            return client
    client = _over_tcp(place)
    if place.url_given:
        client.get("/livez", accept=(503,))
        return client
    try:
        found = client.get("/status")
    except UnreachableError:
        client.close()
        return None
    held = found.get("data_dir") if isinstance(found, dict) else None
    if not isinstance(held, str) or Path(held) != place.data_dir:
        # A daemon, but of another directory: its answers would be about other engines.
        client.close()
        return None
    return client


def alert_path(reference: str) -> str:
    """Return the path that acknowledges an alert by id or rule."""
    return f"/api/tapewatch/alerts/{quote(reference, safe='')}/acknowledge"


def retire_path(engine: str) -> str:
    """Return the path that retires an engine."""
    return f"/api/tapewatch/engines/{quote(engine, safe='')}/retire"


def _over_socket(path: Path) -> DaemonClient | None:
    try:
        info = path.lstat()
    except OSError:
        return None
    if not stat.S_ISSOCK(info.st_mode):
        return None
    if info.st_uid not in (os.getuid(), 0) and os.getuid() != 0:
        raise UnreachableError(
            f"the socket {path} belongs to another user",
            next_step="run the command as the user that runs the daemon",
        )
    transport = httpx2.HTTPTransport(uds=str(path))
    client = DaemonClient(_client("http://localhost", transport, None), where=str(path))
    try:
        client.get("/livez", accept=(503,))
    except UnreachableError:
        # A socket file without a daemon behind it is what a killed daemon leaves.
        client.close()
        return None
    return client


def _over_tcp(place: Place) -> DaemonClient:
    url = place.url.rstrip("/")
    return DaemonClient(_client(url, httpx2.HTTPTransport(), place.token), where=url)


def _client(url: str, transport: httpx2.HTTPTransport, token: str | None) -> httpx2.Client:
    headers = {"User-Agent": f"tapewatch/{__version__}", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.Client(
        base_url=url,
        transport=transport,
        headers=headers,
        timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
        follow_redirects=False,
        trust_env=False,
    )


def _plain_reason(error: httpx2.HTTPError) -> str:
    if isinstance(error, httpx2.ConnectError):
        return "nothing listens there"
    if isinstance(error, httpx2.TimeoutException):
        return "it took too long"
    return str(error) or type(error).__name__


def _refusal(status: int, body: Any) -> RefusedError:
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        error = body["error"]
        return RefusedError(
            status,
            str(error.get("message", f"HTTP {status}")),
            next_step=str(error.get("next_step", "")),
            code=str(error.get("code", "")),
        )
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        return RefusedError(status, body["error"], code=str(body.get("errorType", "")))
    return RefusedError(status, f"the daemon answered with HTTP {status}")
