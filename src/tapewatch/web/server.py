"""Listens on TCP and on the Unix socket, inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import structlog
import uvicorn

from tapewatch.web.app import WebApp
from tapewatch.web.connections import ConnectionGate, GuardedConnection
from tapewatch.web.guard import MAX_HEAD_BYTES
from tapewatch.web.settings import ListenError, check_settings

_BACKLOG = 64
"""Connections that may wait; asyncio also tries to accept so many, and complains of each."""
_DRAIN_S = 3
_REPEAT_S = 10.0
_DISK_REFUSES = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})

log = structlog.get_logger("tapewatch.web").bind(component="web")


class WebServer:
    """Serves one application on every listening socket.

    ``open`` binds and raises at once what is wrong; ``serve`` runs until ``close`` is called or
    its task is cancelled. No signal handler is installed: signals are the daemon's.
    """

    def __init__(self, app: WebApp) -> None:
        self._app = app
        self._settings = app.settings
        self._sockets: list[socket.socket] = []
        self._owns_path = False
        """Only a path that this server has bound may be removed by it."""
        gate = ConnectionGate(app.settings, app.metrics)
        protocol = type("BoundConnection", (GuardedConnection,), {"gate": gate})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_DRAIN_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            backlog=_BACKLOG,
        )
        self._server = _LoopServer(config, gate, self._bind_missing)
        self._path_is_missing = False
        """The disk refused the Unix socket's name at the start."""

    @property
    def port(self) -> int:
        """The TCP port that was really taken."""
        for sock in self._sockets:
            if sock.family != socket.AF_UNIX:
                port: int = sock.getsockname()[1]
                return port
        return self._settings.port

    @property
    def is_serving(self) -> bool:
        """True while requests are accepted."""
        return self._server.started and not self._server.should_exit

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self._settings.host
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def open(self) -> None:
        """Bind every socket. A disk that refuses the Unix socket's name is logged and asked again.

        Raises:
            ListenError: The settings are refused, or a port or path cannot be had.
        """
        check_settings(self._settings)
        try:
            self._sockets += _tcp_sockets(self._settings.host, self._settings.port)
            if self._settings.socket_path is not None:
                self._sockets.append(_unix_socket(self._settings.socket_path))
                self._owns_path = True
        except ListenError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _DISK_REFUSES and self._sockets:
                log.warning("control_socket_missing", reason=error.message)
                self._path_is_missing = True
                return
            self._release()
            raise

    async def serve(self) -> None:
        """Answer requests until closed; opens the sockets if that has not been done."""
        if not self._sockets:
            self.open()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_Complaints(self._server).hear)
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            self._release()

    async def _bind_missing(self) -> None:
        """Bind the Unix socket that the disk refused, once the disk has healed."""
        path = self._settings.socket_path
        if not self._path_is_missing or path is None:
            return
        try:
            sock = _unix_socket(path)
        except ListenError:
            return
        self._sockets.append(sock)
        self._owns_path, self._path_is_missing = True, False
        await self._server.listen(sock)
        log.info("control_socket_made")

    def close(self) -> None:
        """Ask :meth:`serve` to finish what is in flight (for three seconds at most) and return."""
        self._app.stream.close()
        self._server.stop()

    def _release(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._owns_path and self._settings.socket_path is not None:
            with contextlib.suppress(OSError):  # on a disk that is read-only by now it stays
                self._settings.socket_path.unlink(missing_ok=True)
            self._owns_path = False


class _LoopServer(uvicorn.Server):
    """uvicorn's server without its signal handlers, woken once a second instead of ten times."""

    def __init__(
        self,
        config: uvicorn.Config,
        gate: ConnectionGate,
        each_second: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._gate = gate
        self._each_second = each_second
        self._wake = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._wake.set()

    async def listen(self, sock: socket.socket) -> None:
        """Serve on one more socket."""

        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol, sock=sock, backlog=_BACKLOG))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            self._gate.sweep()
            await self._each_second()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._wake.wait()


class _Complaints:
    """Hears what goes wrong in the loop's callbacks; a shortage is said once, not 64 times.

    Without a descriptor left asyncio complains for every connection that it could have accepted,
    and tries each of them again a second later, closed server or not.
    """

    def __init__(self, server: _LoopServer) -> None:
        self._server = server
        self._quiet_until = 0.0

    def hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "socket.accept()" in context["message"]:
            if loop.time() >= self._quiet_until:
                self._quiet_until = loop.time() + _REPEAT_S
                log.error("connections_not_accepted", reason=str(context.get("exception")))
        elif not (self._server.should_exit and "_start_serving" in context["message"]):
            loop.default_exception_handler(context)


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    try:
        infos = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host}:{port}: the address is not known ({error.strerror})",
            next_step="use an address of this machine, for example --listen 127.0.0.1:8090",
        ) from error
    family, kind, proto, _, address = infos[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _listen_error(host, port, error) from error
    sock.setblocking(False)
    return [sock]


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"cannot listen on {host}:{port}: the port is taken{_holder_of(port)}",
            next_step="stop that program, or choose another port with --listen HOST:PORT",
        )
    if error.errno == errno.EACCES:
        return ListenError(
            f"cannot listen on {host}:{port}: not allowed (ports below 1024 are reserved)",
            next_step="choose a port from 1024 on with --listen HOST:PORT",
        )
    return ListenError(
        f"cannot listen on {host}:{port}: {error.strerror}",
        next_step="use an address of this machine, for example --listen 127.0.0.1:8090",
    )


def _holder_of(port: int) -> str:
    """Return `` by name (pid n)`` where the system tells us."""
    with contextlib.suppress(psutil.Error, OSError, RuntimeError):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return " by another program"


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """Give an address for a Unix socket whose path may be longer than the kernel's 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _unix_socket(path: Path) -> socket.socket:
    try:
        with unix_address(path) as address:
            _remove_stale(path, address)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # Between bind and chmod nobody can connect: it does not listen yet.
                sock.bind(address)
                os.chmod(address, 0o600)  # noqa: PTH101 - through the directory handle
                sock.listen(_BACKLOG)
            except OSError:
                sock.close()
                raise
    except OSError as error:
        raise ListenError(
            f"cannot listen on the Unix socket {path}: {error.strerror}",
            next_step="check that its directory exists, is yours and is writable",
        ) from error
    sock.setblocking(False)
    return sock


def _remove_stale(path: Path, address: str) -> None:
    """Remove the socket that a killed daemon left behind; never anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(
            f"cannot listen on the Unix socket {path}: a file that is no socket is in its place",
            next_step="move that file away",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass
    raise ListenError(
        f"cannot listen on the Unix socket {path}: another daemon answers there",
        next_step="stop that daemon, or use another data directory",
    )
