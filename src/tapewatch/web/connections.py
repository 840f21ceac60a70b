"""Who may hold a connection, and for how long without getting on with it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tapewatch.web.guard import PEER_KEY, RESERVE_KEY, SECURITY_HEADERS
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.responses import JSON, json_bytes
from tapewatch.web.settings import WebSettings

RESERVE_CONNECTIONS = 32
"""Connections beyond the limit that may still ask for health; the oldest of them makes room."""
RESERVE_TIMEOUT_S = 2.0
UNIX_CONNECTIONS = 64
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of the Unix socket, as the kernel names it."""

    pid: int
    uid: int


class ConnectionGate:
    """Keeps the open connections and ends those that only hold their place.

    All deadlines are checked by :meth:`sweep` once a second, which costs less than a timer per
    connection and cannot be leaked.
    """

    def __init__(self, settings: WebSettings, metrics: WebMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._tcp: dict[GuardedConnection, None] = {}
        self._unix: dict[GuardedConnection, None] = {}
        self._reserve: dict[GuardedConnection, None] = {}

    def admit(self, connection: GuardedConnection) -> bool:
        """Give a new connection its place; return False when it must be closed."""
        if connection.peer is not None:
            if connection.peer.uid not in (0, os.geteuid()):
                self._metrics.connections_cut["foreign_peer"] += 1
                return False
            if len(self._unix) >= UNIX_CONNECTIONS:
                self._metrics.connections_cut["unix_full"] += 1
                return False
            self._unix[connection] = None
            return True
        if len(self._tcp) < self._settings.max_connections:
            self._tcp[connection] = None
        else:
            if len(self._reserve) >= RESERVE_CONNECTIONS:
                self.cut(next(iter(self._reserve)), "reserve_full")
            connection.in_reserve = True
            self._reserve[connection] = None
        self._count()
        return True

    def leave(self, connection: GuardedConnection) -> None:
        """Forget a connection."""
        for place in (self._tcp, self._unix, self._reserve):
            place.pop(connection, None)
        self._count()

    def cut(self, connection: GuardedConnection, reason: str) -> None:
        """End a connection at once, without waiting for its peer to read."""
        self._metrics.connections_cut[reason] += 1
        self.leave(connection)
        connection.transport.abort()

    def sweep(self) -> None:
        """End every connection that is past a deadline."""
        now = time.monotonic()
        for place in (self._tcp, self._unix, self._reserve):
            for connection in list(place):
                reason = self._overdue(connection, now)
                if reason:
                    self.cut(connection, reason)

    def _overdue(self, connection: GuardedConnection, now: float) -> str:
        settings = self._settings
        head = RESERVE_TIMEOUT_S if connection.in_reserve else settings.head_timeout_s
        if connection.stalled_since is not None:
            if now - connection.stalled_since > settings.write_timeout_s:
                return "not_reading"
        elif connection.waiting_since is not None and now - connection.waiting_since > head:
            return "head_too_slow"
        if connection.transport.is_closing():
            if connection.closing_since is None:
                connection.closing_since = now
            elif now - connection.closing_since > settings.write_timeout_s:
                return "not_reading"
        return ""

    def _count(self) -> None:
        self._metrics.connections = len(self._tcp) + len(self._reserve)


class GuardedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a gate, deadlines and a checked Unix peer."""

    gate: ConnectionGate

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.admitted = False
        self.peer: Peer | None = None
        self.in_reserve = False
        self.waiting_since: float | None = None
        """Since when we wait for a request's head; None while a request is worked on."""
        self.stalled_since: float | None = None
        """Since when the peer has not taken what we wrote."""
        self.closing_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless its peer or the gate says no."""
        sock = transport.get_extra_info("socket")
        state = dict(self.app_state)
        if sock.family == socket.AF_UNIX:
            self.peer = peer_of(sock)
            state[PEER_KEY] = self.peer
        self.transport = transport
        if not self.gate.admit(self):
            transport.abort()
            return
        if self.in_reserve:
            state[RESERVE_KEY] = True
        self.app_state = state
        self.admitted = True
        self.waiting_since = time.monotonic()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.gate.leave(self)
        if not self.admitted:
            return
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a complete head ends the wait for it."""
        if not self.admitted:
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head."""
        self.waiting_since = time.monotonic()
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:
            self.waiting_since = None  # a pipelined request was there already

    def pause_writing(self) -> None:
        """Note that the peer does not keep up."""
        self.stalled_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self.stalled_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP in our error shape, with our headers."""
        if self.conn.our_state is not h11.IDLE and self.conn.our_state is not h11.SEND_RESPONSE:
            self.transport.close()
            return
        body = json_bytes(
            {"error": {"code": "bad_request", "message": msg, "next_step": "speak HTTP/1.1"}}
        )
        headers = [
            ("content-type", JSON),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *SECURITY_HEADERS.items(),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def peer_of(sock: socket.socket) -> Peer:
    """Return who is at the other end of a Unix socket."""
    pid, uid, _gid = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return Peer(pid, uid)
