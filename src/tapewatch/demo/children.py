"""The demo's two child processes: started in sessions of their own, ended by their own pid."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tapewatch.demo.engine import DEFAULT_TICKS_PER_SECOND, ENGINE_NAME

STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel to stop this process when its parent dies, however that dies (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a child: SIGTERM, and SIGKILL when it takes too long. Returns its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class DaemonChild:
    """``tapewatch run`` in its own process, its output in a file."""

    def __init__(self, config: Path, data_dir: Path, listen: str) -> None:
        self.log_file = data_dir / "daemon.log"
        self.base_url = f"http://{listen}"
        command = [sys.executable, "-m", "tapewatch", "run", "--config", str(config)]
        command += ["--data-dir", str(data_dir), "--listen", listen]
        # The demo is the same on every machine: no setting of the user's environment gets in.
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TAPEWATCH_")}
        with self.log_file.open("ab") as log:
            # Called before any thread of the demo starts: preexec_fn is safe here, and the
            # parent whose death counts is the main thread.
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread yet
            )

    def is_ready(self) -> bool:
        """True when the daemon answers that it can serve."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.base_url}/readyz", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> int:
        return stop(self.process)


class EngineChild:
    """The engine in its own process, with a control pipe in and reports out."""

    def __init__(
        self,
        data_dir: Path,
        models: Path,
        speed: float,
        take: Callable[[dict[str, Any]], None],
    ) -> None:
        command = [sys.executable, "-m", "tapewatch.demo.engine", "--control"]
        command += ["--data-dir", str(data_dir), "--models", str(models), "--name", ENGINE_NAME]
        command += ["--ticks-per-second", str(DEFAULT_TICKS_PER_SECOND * speed)]
        self.log_file = data_dir / "engine.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: S101
        self._commands: IO[bytes] = self.process.stdin
        self._reader = threading.Thread(
            target=_read_reports,
            args=(self.process.stdout, take),
            name="engine-reports",
            daemon=True,
        )
        self._reader.start()

    def send(self, command: dict[str, Any]) -> None:
        """Give the engine a command; one that just died does not get it."""
        try:
            self._commands.write(json.dumps(command).encode() + b"\n")
            self._commands.flush()
        except (BrokenPipeError, ValueError):
            return

    def kill(self) -> None:
        """SIGKILL: the engine gets no chance to say anything."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it cleanly: it closes its tape and says so there."""
        self.send({"stop": True})
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        try:
            code = self.process.wait(STOP_SECONDS / 2)
        except subprocess.TimeoutExpired:
            code = stop(self.process)
        self._reader.join(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def _read_reports(stream: IO[bytes], take: Callable[[dict[str, Any]], None]) -> None:
    for line in stream:
        try:
            report = json.loads(line)
        except ValueError:
            # The line that SIGKILL cut short.
            continue
        take(report)
