"""A real server for each test, and a real browser where the machine has one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tapewatch.testing.service import FakeService
from tapewatch.web.app import WebApp, create_app
from tapewatch.web.server import WebServer
from tapewatch.web.settings import WebSettings

TOKEN = "kD3vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4oViQ6xYt0M"


class RunningServer:
    """A web server in a thread of its own, so that a test can be as rude as it likes."""

    def __init__(self, service: FakeService, settings: WebSettings) -> None:
        self.service = service
        self.app: WebApp = create_app(service, settings)
        self._clients: list[httpx2.Client] = []
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="web-server", daemon=True)
        self._thread.start()
        assert self._opened.wait(10), "the server did not start"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            try:
                self.server = WebServer(self.app)
                self.server.open()
                self.port = self.server.port
            except BaseException as error:
                self._failure = error
                return
            finally:
                self._opened.set()
            await self.server.serve()

        asyncio.run(main())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, *, token: str | None = None) -> httpx2.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        client = httpx2.Client(base_url=self.url, headers=headers, timeout=10, trust_env=False)
        self._clients.append(client)
        return client

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return everything that comes back."""
        with self.connect() as sock:
            sock.sendall(request)
            return read_all(sock)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.close)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server did not stop"


def read_all(sock: socket.socket) -> bytes:
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    """Start servers: ``serve(service, token=..., ...)``; all are stopped after the test."""
    started: list[RunningServer] = []

    def start(service: FakeService | None = None, **settings: Any) -> RunningServer:
        server = RunningServer(service or FakeService(), WebSettings(**{"port": 0} | settings))
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def open_server() -> Iterator[RunningServer]:
    """One server without a token, for tests that leave no trace in it."""
    server = RunningServer(FakeService(), WebSettings(port=0))
    yield server
    server.stop()


class Browser:
    """Chromium, spoken to through its debugging pipe."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._numbers = itertools.count(1)
        self.messages: list[dict[str, Any]] = []
        to_browser, self._send = os.pipe()
        self._receive, from_browser = os.pipe()
        os.set_inheritable(to_browser, True)
        os.set_inheritable(from_browser, True)
        # The pipe's ends must be descriptors 3 and 4 in the browser.
        script = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                script,
                "bash",
                binary,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.messages.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._receive, 1 << 16)
            assert chunk, "the browser is gone"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def evaluate(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def look(self, width: int, height: int, *, dark: bool = True, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def wait_for(self, expression: str, seconds: float = 15.0) -> None:
        """Wait until a condition holds in the page, through loading and errors of not yet."""
        end = time.monotonic() + seconds
        asked = f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
        while not self.evaluate(asked):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """Return what the page complained about: exceptions, refused resources, CSP reports."""
        self.evaluate("0")
        found = []
        for message in self.messages:
            params = message.get("params", {})
            if message.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded":
                entry = params["entry"]
                if entry["level"] == "error":
                    found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def requested(self) -> list[str]:
        """Return every address that the page asked for."""
        self.evaluate("0")
        return [
            m["params"]["request"]["url"]
            for m in self.messages
            if m.get("method") == "Network.requestWillBeSent"
        ]

    def screenshot(self, path: Path) -> None:
        import base64

        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        os.close(self._send)
        os.close(self._receive)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("chromium is not installed: the page cannot be rendered here")
    opened = Browser(binary, tmp_path / "chromium")
    yield opened
    opened.close()
