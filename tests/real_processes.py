"""A real daemon, real engines and a real receiver, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import DaemonProcess, eventually

ENGINE = Path(__file__).parent / "daemon" / "engine_process.py"


class EngineProcess:
    """One test engine."""

    def __init__(
        self, name: str, data_dir: Path, rate: float, cadence: float, *, frame_bytes: int
    ) -> None:
        self.name = name
        environ = {**os.environ, "TAPEWATCH_DATA_DIR": str(data_dir)}
        self.process = subprocess.Popen(
            [sys.executable, str(ENGINE), name, str(rate), str(cadence), str(frame_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> int:
        """Send a line; return the ticks recorded so far."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.read())

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class SinkProcess:
    """The receiver outside the daemon: the oracle of what was told."""

    def __init__(self, directory: Path) -> None:
        self.ledger = directory / "arrivals.jsonl"
        self.ledger.touch()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tapewatch.testing.http_sink", "--port", "0"),
                *("--ledger", str(self.ledger)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["port"])

    def receiver(self) -> str:
        """Return the receiver as configuration."""
        url = f"http://127.0.0.1:{self.port}/hook"
        return f"receivers: [{{name: sink, kind: webhook, url: '{url}'}}]\n"

    def arrivals(self) -> list[dict[str, Any]]:
        lines = self.ledger.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def told(self, status: str = "firing") -> list[dict[str, Any]]:
        """Return the alerts told with this status, in order."""
        alerts = [a for each in self.arrivals() for a in json.loads(each["body"])["alerts"]]
        return [alert for alert in alerts if alert["status"] == status]

    def names(self, status: str = "firing") -> list[str]:
        return [alert["labels"]["alertname"] for alert in self.told(status)]

    def wait_for(self, name: str, status: str = "firing", timeout_s: float = 20) -> None:
        eventually(
            lambda: name in self.names(status), f"{name} to be told {status}", timeout_s=timeout_s
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SinkProcess]:
    process = SinkProcess(tmp_path)
    yield process
    process.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[str], DaemonProcess]]:
    """Return a function that prepares the daemon; what runs at the end is stopped."""
    made: list[DaemonProcess] = []

    def make(config: str = "", **kwargs: Any) -> DaemonProcess:
        made.append(DaemonProcess(tmp_path, config, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Return a function that starts an engine on the daemon's data directory."""
    made: list[EngineProcess] = []

    def make(
        name: str = "alpha", rate: float = 50, cadence: float = 0.02, frame_bytes: int = 64 << 20
    ) -> EngineProcess:
        made.append(EngineProcess(name, tmp_path / "data", rate, cadence, frame_bytes=frame_bytes))
        return made[-1]

    yield make
    for each in made:
        each.close()
