"""A real daemon in a process of its own, for tests and benchmarks that look from outside."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READY_S = 20.0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def eventually(check: Any, what: str, *, timeout_s: float = 20.0) -> Any:
    """Call ``check`` until it returns something true; return that.

    Raises:
        AssertionError: It did not within the time; the message says what was awaited.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for: {what}")
        time.sleep(0.01)


class DaemonProcess:
    """Starts, kills and asks ``tapewatch run`` over a data directory."""

    def __init__(
        self,
        directory: Path,
        config: str = "",
        *,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """Write the configuration; nothing runs before ``start``.

        Args:
            directory: Holds configuration, data and the daemon's log.
            config: YAML beside ``listen`` and ``data_dir``, which are set here.
            environ: Variables on top of the present ones.
            command: Put before the daemon's own command line, for example ``strace ...``.
        """
        self.directory = directory
        self.data_dir = directory / "data"
        self.port = free_port()
        self.config_path = directory / "tapewatch.yaml"
        self.log_path = directory / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._environ = dict(environ or {})
        self._command = list(command)
        directory.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: str) -> None:
        """Replace the configuration file."""
        own = f"data_dir: {self.data_dir}\nlisten: 127.0.0.1:{self.port}\n"
        self.config_path.write_text(own + config, encoding="utf-8")

    def start(self, *, ready: bool = True) -> Self:
        """Start the process and, by default, wait until it has caught up."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TAPEWATCH_")}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program and paths
                [
                    *self._command,
                    *(sys.executable, "-m", "tapewatch", "run"),
                    *("--config", str(self.config_path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ | self._environ,
            )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until ``/readyz`` says yes.

        Raises:
            AssertionError: The process ended, or the time is over; with the log's last lines.
        """

        def check() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the daemon ended early:\n{self.log_tail()}")
            return self.get("/readyz")[0] == 200

        try:
            eventually(check, "the daemon to be ready", timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def get(self, path: str, *, timeout_s: float = 5.0) -> tuple[int, Any]:
        """Return status and decoded body of a GET; 0 and None when nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        try:
            with _NO_PROXY.open(request, timeout=timeout_s) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode("utf-8", "replace")

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        """Return the alert records that the API shows."""
        text = "&".join(f"{key}={value}" for key, value in query.items())
        status, body = self.get(f"/api/tapewatch/alerts?{text}")
        if status != 200:
            raise AssertionError(f"/api/tapewatch/alerts answered {status}: {body}")
        found: list[dict[str, Any]] = body["alerts"]
        return found

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; return the exit code."""
        if self.process is None:
            raise RuntimeError("start the daemon first")
        self.process.send_signal(number)
        return self.process.wait(30)

    def stop(self) -> int:
        """Ask it to stop; return the exit code."""
        return self.kill(signal.SIGTERM)

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines of the log."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of the log."""
        if not self.log_path.exists():
            return ""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
