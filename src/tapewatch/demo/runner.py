"""The demo: daemon and engine started, faults brought about, the people who are told timed."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console

from tapewatch.demo.children import DaemonChild, EngineChild
from tapewatch.demo.faults import Fault
from tapewatch.demo.ledger import Ledger, Notice
from tapewatch.demo.market import read_bars
from tapewatch.demo.models import train, write_models
from tapewatch.demo.screen import DemoState, Screen, open_screen, print_summary
from tapewatch.demo.settings import write_settings
from tapewatch.demo.sink import AlertSink
from tapewatch.demo.timetable import ROUND_SECONDS, Switch, one_round, stretch_for, timetable
from tapewatch.model.errors import TapewatchError

DEFAULT_LISTEN = "127.0.0.1:8090"
READY_SECONDS = 30.0
FIRST_TICK_SECONDS = 20.0
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 4000


class DemoError(TapewatchError):
    """The demo cannot begin or go on."""

    code = "demo"


def run_demo(
    seconds: float | None = None,
    json_output: bool = False,
    speed: float = 1.0,
    listen: str | None = None,
    data_dir: Path | None = None,
    open_page: bool = False,
) -> int:
    """Run the demo and return the exit code: 0, or 1 when an expected alert did not come.

    Args:
        seconds: Length of the run, counted from the engine's first tick; None = until Ctrl-C.
        json_output: End with one JSON object on the last line of standard output.
        speed: Bars per second as a multiple of 20.
        listen: HOST:PORT of the page; None = 127.0.0.1:8090, or a free port when that is taken.
        data_dir: Keep everything there; None = a temporary directory, removed at the end unless
            daemon or engine failed.
        open_page: Open the page in the default browser.

    Raises:
        TapewatchError: market data are missing, or daemon or engine do not start; says why.
    """
    # The likeliest thing to be missing is the recorded data: said before anything is started.
    models = train(read_bars())
    with ExitStack() as stack:
        if data_dir is None:
            directory = Path(tempfile.mkdtemp(prefix="tapewatch-demo-"))
            # What a failed child leaves is evidence: it stays, and the error says where.
            stack.push(remove_unless_failed(directory))
        else:
            directory = data_dir
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The daemon watches the model files from its first moment: they are there before it.
        models_folder = directory / "demo"
        models_folder.mkdir(mode=0o700, exist_ok=True)
        write_models(models, models_folder)
        run = DemoRun(seconds, speed, listen or free_listen(), directory)
        with stop_on_signals(run):
            interrupted = run.play(quiet_stdout=json_output, open_page=open_page)
    if json_output:
        print(json.dumps(run.ledger.to_json()), flush=True)
    else:
        print_summary(run.ledger, Console())
    return 1 if run.ledger.missing() and not interrupted else 0


def failure(what: str, log_file: Path) -> DemoError:
    """Show the end of a child's output and return the error."""
    data = log_file.read_bytes()[-LOG_TAIL_BYTES:]
    print(data.decode("utf-8", "replace"), file=sys.stderr)
    return DemoError(
        what, next_step=f"the end of its output stands above; everything is in {log_file.parent}"
    )


def how_it_ended(code: int) -> str:
    """Return a child's exit code in words.

    >>> how_it_ended(-9)
    'was killed by signal 9 (SIGKILL)'
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-code}{name}"


def remove_unless_failed(
    directory: Path,
) -> Callable[
    [type[BaseException] | None, BaseException | None, TracebackType | None], bool | None
]:
    """Return what leaves a context: it removes the directory, unless a child has failed."""

    def leave(
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, DemoError):
            shutil.rmtree(directory, ignore_errors=True)

    return leave


def free_listen() -> str:
    """Return the usual address, or another port of loopback when somebody has that one."""
    for port in (8090, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise DemoError("no free port on 127.0.0.1")


@contextmanager
def stop_on_signals(run: DemoRun) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run instead of the process."""

    def end(_number: int, _frame: FrameType | None) -> None:
        run.interrupted = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class DemoRun:
    """One run, from the start of the daemon to the end of both children."""

    seconds: float | None
    speed: float
    listen: str
    data_dir: Path
    ledger: Ledger = field(default_factory=Ledger)
    interrupted: bool = False
    _inbox: queue.SimpleQueue[Notice | dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    _state: DemoState = field(init=False)
    _screen: Screen = field(init=False)
    _engine: EngineChild | None = None
    _started: float = 0.0

    def play(self, *, quiet_stdout: bool, open_page: bool) -> bool:
        """Run to the end; return True when a person ended it."""
        url = f"http://{self.listen}/"
        self._state = DemoState(url, str(self.data_dir), self.ledger)
        sink = AlertSink(self._inbox.put)
        config = write_settings(self.data_dir, sink.url)
        daemon = DaemonChild(config, self.data_dir, self.listen)
        sink.start()
        self._screen = open_screen(self._state, quiet_stdout=quiet_stdout)
        try:
            self._await_daemon(daemon)
            if self.interrupted:
                return True
            with self._screen:
                self._say("bold", f"daemon ready; live page: {url}")
                if open_page and has_display():
                    webbrowser.open(url)
                self._engine = self._start_engine()
                self._await_first_tick()
                self._keep_time(daemon)
        finally:
            if self._engine is not None:
                self._engine.stop()
            daemon.stop()
            sink.close()
        return self.interrupted

    # --- beginning ---

    def _await_daemon(self, daemon: DaemonChild) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.interrupted and not daemon.is_ready():
            code = daemon.process.poll()
            if code is not None:
                raise failure(f"the daemon {how_it_ended(code)}", daemon.log_file)
            if time.monotonic() > deadline:
                raise failure(f"the daemon was not ready in {READY_SECONDS:.0f} s", daemon.log_file)
            time.sleep(POLL_SECONDS)

    def _start_engine(self) -> EngineChild:
        return EngineChild(self.data_dir, self.data_dir / "demo", self.speed, self._inbox.put)

    def _await_first_tick(self) -> None:
        deadline = time.monotonic() + FIRST_TICK_SECONDS
        while not self._state.status and not self.interrupted:
            self._check_engine()
            if time.monotonic() > deadline:
                raise DemoError(f"the engine made no tick in {FIRST_TICK_SECONDS:.0f} s")
            self._take(POLL_SECONDS)

    # --- the run ---

    def _keep_time(self, daemon: DaemonChild) -> None:
        """Do each switch at its time and take in what comes back."""
        self._started = time.monotonic()
        self._say("bold", f"engine {self._state.status.get('day', '')}: trading; faults follow")
        switches = self._switches()
        upcoming = next(switches, None)
        while not self.interrupted:
            elapsed = time.monotonic() - self._started
            if self.seconds is not None and elapsed >= self.seconds:
                break
            while upcoming is not None and upcoming.at_s <= elapsed:
                self._do(upcoming)
                upcoming = next(switches, None)
            self._state.next_up = next_up(upcoming, elapsed)
            self._take(POLL_SECONDS)
            code = daemon.process.poll()
            if code is not None:
                raise failure(f"the daemon {how_it_ended(code)}", daemon.log_file)
            self._check_engine()

    def _switches(self) -> Iterator[Switch]:
        if self.seconds is not None:
            switches, left_out = timetable(self.seconds)
            for fault in left_out:
                self._say("yellow", f"left out, {self.seconds:g} s are too short for it: {fault}")
            yield from switches
            return
        stretch, start = stretch_for(None), 0.0
        while True:
            yield from one_round(start, stretch)
            start += ROUND_SECONDS * stretch

    def _do(self, switch: Switch) -> None:
        fault = switch.scenario.fault
        now_ns = time.monotonic_ns()
        if switch.begins:
            self._say("bold yellow", f"fault {fault}: {switch.scenario.story}")
            self.ledger.inject(switch.scenario, now_ns)
            if fault is Fault.CRASH:
                self._crash()
            else:
                self._command({"inject": fault})
            return
        self._say("green", f"healed {fault}")
        self.ledger.heal(fault, now_ns)
        if fault is Fault.CRASH:
            self._engine = self._start_engine()
        else:
            self._command({"heal": fault})

    def _crash(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            self.ledger.evidence("killed", time.monotonic_ns())
            engine.kill()
            engine.stop()

    def _command(self, command: dict[str, Any]) -> None:
        if self._engine is not None:
            self._engine.send(command)

    def _check_engine(self) -> None:
        if self._engine is not None and self._engine.process.poll() is not None:
            code = self._engine.process.returncode
            raise failure(f"the engine {how_it_ended(code)}", self._engine.log_file)

    # --- what comes back ---

    def _take(self, timeout_s: float) -> None:
        """Take in everything that has come, waiting that long for the first."""
        try:
            self._take_one(self._inbox.get(timeout=timeout_s))
            while True:
                self._take_one(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _take_one(self, item: Notice | dict[str, Any]) -> None:
        if isinstance(item, Notice):
            self._take_notice(item)
        elif "evidence" in item:
            self.ledger.evidence(item["evidence"], item["mono_ns"])
        elif "status" in item:
            self._state.status = item["status"]

    def _take_notice(self, notice: Notice) -> None:
        outcome = self.ledger.notice(notice)
        what = f"{notice.severity.upper()} {notice.alert}"
        if not notice.firing:
            self._say("green", f"  resolved {what}")
            return
        latency = outcome.latency_ms if outcome is not None else None
        after = "" if latency is None else f" after {latency:.1f} ms"
        style = "bold red" if notice.severity == "critical" else "yellow"
        self._say(style, f"  alert {what}{after}  {notice.summary}")

    def _say(self, style: str, text: str) -> None:
        elapsed = time.monotonic() - self._started if self._started else 0.0
        self._screen.say(style, f"{elapsed:6.1f} s  {text}")


def next_up(switch: Switch | None, elapsed: float) -> str:
    """Return what happens next, for the screen."""
    if switch is None:
        return "all faults done"
    what = "next fault" if switch.begins else "healing"
    return f"{what} in {max(0.0, switch.at_s - elapsed):.0f} s: {switch.scenario.fault}"


def has_display() -> bool:
    """True when a graphical browser can come up: a text browser would take the terminal."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
