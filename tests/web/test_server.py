"""Listening: clear refusals, the Unix socket, and what a rude client cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tapewatch.testing.service import FakeService
from tapewatch.web.app import create_app
from tapewatch.web.connections import ConnectionGate, GuardedConnection, Peer
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.server import WebServer, unix_address
from tapewatch.web.settings import ListenError, WebSettings

CHANGE = {"x-tapewatch": "1"}
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STATUS = HEALTH.replace(b"/health", b"/status")


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        chunk = sock.recv(65536)
        assert chunk, received
        received += chunk
    return received


def web_server(**settings) -> WebServer:
    return WebServer(create_app(FakeService(), WebSettings(**{"port": 0} | settings)))


def test_a_taken_port_is_named_with_its_holder_and_the_next_step():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            web_server(port=port).open()
    message = str(caught.value)
    assert f"127.0.0.1:{port}" in message
    assert f"pid {os.getpid()}" in message
    assert "--listen" in caught.value.next_step


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_refused_with_its_name(host):
    with pytest.raises(ListenError, match=host.replace(".", r"\.")):
        web_server(host=host, behind_proxy=True).open()


@pytest.mark.requirement("T1")
def test_the_app_and_the_server_refuse_to_open_up_without_a_token():
    with pytest.raises(ListenError, match="without a token"):
        web_server(host="0.0.0.0")


def test_no_signal_handler_is_touched():
    async def main() -> None:
        server = web_server()
        before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)}
        task = asyncio.create_task(server.serve())
        async with asyncio.timeout(10):
            while not server.is_serving:
                await asyncio.sleep(0.01)
            assert {sig: signal.getsignal(sig) for sig in before} == before
            server.close()
            await task

    asyncio.run(main())


def test_closing_ends_open_live_streams_at_once(serve):
    server = serve()
    with server.connect() as sock:
        sock.sendall(b"GET /api/tapewatch/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(sock, b"event: snapshot")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 2.5


@pytest.fixture
def unix(serve, tmp_path, token):
    """Give a server with a Unix socket, and a client of that socket without a token."""
    path = tmp_path / "tapewatch.sock"
    server = serve(socket_path=path, token=token)
    transport = httpx2.HTTPTransport(uds=str(path))
    with httpx2.Client(transport=transport, base_url="http://tapewatch", timeout=10) as client:
        yield server, path, client


@pytest.mark.requirement("T33")
def test_the_socket_is_for_its_owner_alone_and_gone_afterwards(unix):
    server, path, _ = unix
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    server.stop()
    assert not path.exists()


@pytest.mark.requirement("T33")
def test_through_the_socket_the_owner_reads_and_changes_without_the_token(unix):
    server, _, client = unix
    assert client.get("/status").status_code == 200
    assert client.post("/-/reload", json={}, headers=CHANGE).status_code == 200
    assert server.service.reloads == 1
    assert client.post("/-/reload", json={}).status_code == 403
    assert client.post("/-/reload", content=b"", headers=CHANGE).status_code == 415


@pytest.mark.requirement("T33")
def test_another_users_process_is_cut_before_its_request_is_read(unix, monkeypatch):
    server, _, client = unix
    stranger = Peer(pid=1, uid=os.geteuid() + 1)
    monkeypatch.setattr("tapewatch.web.connections.peer_of", lambda sock: stranger)
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        client.get("/health")
    monkeypatch.undo()
    assert client.get("/health").status_code == 200
    assert server.app.metrics.connections_cut["foreign_peer"] == 1


@pytest.mark.requirement("T33")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_cannot_even_connect(unix):
    _, path, _ = unix
    for folder in list(path.parents)[:3]:
        folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        refused = 1
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(PermissionError):
            sock.connect(str(path))
            refused = 0
        os._exit(refused)
    _, code = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(code) == 1


@pytest.mark.requirement("T33")
def test_a_tcp_client_cannot_pretend_to_be_on_the_socket(unix):
    server, _, _ = unix
    for name in ("tapewatch_peer", "x-tapewatch-peer", "state"):
        assert server.client().get("/status", headers={name: "0"}).status_code == 401


def test_the_socket_of_a_killed_daemon_is_replaced(serve, tmp_path):
    path = tmp_path / "tapewatch.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    serve(socket_path=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_socket_of_a_living_daemon_and_a_plain_file_are_left_alone(serve, tmp_path):
    path = tmp_path / "tapewatch.sock"
    serve(socket_path=path)
    with pytest.raises(ListenError, match="another daemon answers"):
        web_server(socket_path=path).open()
    assert path.exists()
    plain = tmp_path / "plain"
    plain.write_text("mine")
    with pytest.raises(ListenError, match="no socket"):
        web_server(socket_path=plain).open()
    assert plain.read_text() == "mine"
    with pytest.raises(ListenError, match="its directory"):
        web_server(socket_path=tmp_path / "missing" / "s.sock").open()


def test_a_socket_path_longer_than_the_kernels_limit_works(serve, tmp_path):
    folder = tmp_path / ("d" * 90) / ("e" * 90)
    folder.mkdir(parents=True)
    path: Path = folder / "tapewatch.sock"
    serve(socket_path=path)
    with unix_address(path) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        sock.sendall(HEALTH)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.requirement("T30")
def test_a_head_that_drips_is_cut_however_busy_it_looks(serve):
    server = serve(head_timeout_s=0.5)
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                sock.sendall(b"X-Drip: 1\r\n")
                time.sleep(0.05)
        assert time.monotonic() - began < 5
    assert server.app.metrics.connections_cut["head_too_slow"] == 1


@pytest.mark.requirement("T30")
def test_a_second_head_that_drips_on_a_kept_connection_is_cut_too(serve):
    server = serve(head_timeout_s=0.5)
    with server.connect() as sock:
        sock.sendall(HEALTH.replace(b"Connection: close\r\n", b""))
        read_until(sock, b"}}")
        sock.sendall(b"GET / HTTP/1.1\r\n")
        sock.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""


@pytest.mark.requirement("T30")
def test_a_body_that_never_ends_is_408(serve, token):
    server = serve(token=token, body_timeout_s=0.3)
    with server.connect() as sock:
        sock.sendall(
            b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"X-Tapewatch: 1\r\nContent-Length: 10\r\nAuthorization: Bearer "
            + token.encode()
            + b"\r\n\r\n{"
        )
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer


@pytest.mark.requirement("T30")
def test_a_head_of_more_than_64_kib_is_refused(serve):
    server = serve()
    with server.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 80_000)
        assert sock.recv(65536).startswith(b"HTTP/1.1 400")


@pytest.mark.requirement("T30")
def test_a_whole_head_of_more_than_64_kib_is_refused_too(serve):
    server = serve()
    for size, status in ((60_000, 200), (66_000, 400), (100_000, 400)):
        with server.connect() as sock, contextlib.suppress(ConnectionError):
            head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * size
            sock.sendall(head + b"\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 %d" % status), size


@pytest.mark.requirement("T30")
def test_a_flood_of_idle_connections_leaves_health_reachable_and_is_shed(serve):
    server = serve(max_connections=20, head_timeout_s=1.0)
    with contextlib.ExitStack() as stack:
        for _ in range(80):
            stack.enter_context(server.connect())
        eventually(lambda: server.app.metrics.connections == 20 + 32)
        for _ in range(5):
            answer = server.raw(HEALTH)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        refused = server.raw(STATUS)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"too_many_connections" in refused
        eventually(lambda: server.app.metrics.connections == 0)
    assert server.raw(STATUS).startswith(b"HTTP/1.1 200")


@pytest.mark.requirement("T30")
def test_health_stays_reachable_while_every_place_streams(serve):
    server = serve(max_connections=5)
    request = b"GET /api/tapewatch/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            sock = stack.enter_context(server.connect())
            sock.sendall(request)
            read_until(sock, b"event: snapshot")
        assert server.raw(HEALTH).startswith(b"HTTP/1.1 200")
        assert server.raw(STATUS).startswith(b"HTTP/1.1 503")
    eventually(lambda: server.app.metrics.connections == 0)


@pytest.mark.requirement("T30")
def test_a_client_that_takes_nothing_is_cut(serve):
    service = FakeService()
    service.config = {"filler": "x" * 30_000_000}
    server = serve(service, write_timeout_s=0.5)
    with server.connect() as sock:
        sock.sendall(b"GET /api/tapewatch/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: server.app.metrics.connections_cut["not_reading"] == 1)
    eventually(lambda: server.app.metrics.connections == 0)


def test_the_gate_counts_unix_connections_apart():
    gate = ConnectionGate(WebSettings(max_connections=1), WebMetrics())

    class Connection:
        peer = None
        in_reserve = False

    first, second, local = Connection(), Connection(), Connection()
    local.peer = Peer(1, 0)

    def admit(connection: Connection) -> bool:
        shaped: GuardedConnection = connection  # type: ignore[assignment]
        return gate.admit(shaped)

    assert admit(first)
    assert admit(second)
    assert second.in_reserve
    assert admit(local)
    assert not local.in_reserve


@pytest.mark.requirement("T30")
def test_garbage_never_stops_the_server(serve):
    server = serve()
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ):
        with server.connect() as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                head = sock.recv(65536)
                assert head[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421", b"HTTP/1.1 403", b"")
    assert server.raw(HEALTH).startswith(b"HTTP/1.1 200")
