"""The demo's trading engine as a process of its own: ``python -m tapewatch.demo.engine``.

One loop: wait for the next tick or a command, trade the next recorded bar, report the tick. The
market runs faster than real time (20 bars a second unless told otherwise); all times it reports
come from the machine's clock, market time is a field.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tapewatch.demo.control import CommandPipe, ReportPipe
from tapewatch.demo.faults import Fault
from tapewatch.demo.market import MarketDataError, read_bars
from tapewatch.demo.models import TRAINING_DAYS, read_models, train, write_models
from tapewatch.demo.paper_engine import PaperEngine
from tapewatch.record import Recorder
from tapewatch.record.paths import data_directory

ENGINE_NAME = "paper"
DEFAULT_TICKS_PER_SECOND = 20.0


@dataclass(frozen=True, slots=True)
class ScriptStep:
    """One entry of a fault script: at that many seconds, for that long."""

    at_s: float
    fault: Fault
    seconds: float


def read_script(text: str) -> list[ScriptStep]:
    """Read ``[{"at": 3, "fault": "broker_session", "seconds": 2}, ...]``.

    Raises:
        ValueError: not that shape; names the entry.
    """
    steps = []
    for index, entry in enumerate(json.loads(text)):
        try:
            steps.append(
                ScriptStep(float(entry["at"]), Fault(entry["fault"]), float(entry["seconds"]))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"fault script, entry {index}: {entry!r}: {error!r}; expected"
                ' {"at": seconds, "fault": name, "seconds": how long}, names:'
                f" {', '.join(Fault)}"
            ) from error
    return steps


class Loop:
    """The process around the engine: its clock, its commands, its signals."""

    def __init__(self, engine: PaperEngine, commands: CommandPipe | None) -> None:
        self.engine = engine
        self.commands = commands
        self.stopping = False

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: end after the tick that runs."""
        self.stopping = True

    def run(self, seconds: float | None, script: Sequence[ScriptStep]) -> None:
        """Tick until stopped, or for that many seconds. Late ticks are not made up for."""
        period_ns = int(1e9 / self.engine.ticks_per_second)
        started = due = time.monotonic_ns()
        end_ns = started + int(seconds * 1e9) if seconds is not None else None
        switches = [(step.at_s, True, step) for step in script]
        switches += [(step.at_s + step.seconds, False, step) for step in script]
        switches.sort(key=lambda switch: switch[0])
        while not self.stopping:
            now_ns = time.monotonic_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            while switches and switches[0][0] * 1e9 <= now_ns - started:
                _, begins, step = switches.pop(0)
                self._play(step, begins)
            self.engine.tick(time.monotonic_ns(), time.time())
            due = max(due + period_ns, time.monotonic_ns())
            self._wait_until(due)

    def _play(self, step: ScriptStep, begins: bool) -> None:
        """Do one switch of the fault script."""
        if step.fault is Fault.ENGINE_STALL and begins:
            time.sleep(step.seconds)
        elif step.fault is Fault.CRASH and begins:
            os.kill(os.getpid(), signal.SIGKILL)
        elif begins:
            self.engine.inject(step.fault)
        else:
            self.engine.heal(step.fault)

    def _wait_until(self, due_ns: int) -> None:
        """Wait for the next tick, obeying commands as they come."""
        while not self.stopping:
            left_s = (due_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0.0:
                return
            if self.commands is None:
                time.sleep(left_s)
                continue
            for command in self.commands.wait(left_s):
                self._obey(command)
            self.stopping = self.stopping or self.commands.closed

    def _obey(self, command: dict[str, Any]) -> None:
        self.stopping = self.stopping or bool(command.get("stop"))
        try:
            if "heal" in command:
                self.engine.heal(Fault(command["heal"]))
            fault = Fault(command["inject"]) if "inject" in command else None
        except ValueError:
            self.engine.report({"refused": command})
            return
        if fault is Fault.ENGINE_STALL:
            self._hang()
        elif fault is not None:
            self.engine.inject(fault)

    def _hang(self) -> None:
        """Block as a hung call would: no tick, no sign of life, until the fault is healed."""
        commands = self.commands
        self.engine.report({"evidence": "loop_hung", "mono_ns": self.engine.last_tick_ns})
        while commands is not None and not (self.stopping or commands.closed):
            for command in commands.wait(None):
                if command.get("stop"):
                    self.stopping = True
                if command.get("heal") == Fault.ENGINE_STALL:
                    return


def main(arguments: Sequence[str] | None = None) -> int:
    """Trade until stopped. Exit code 0 after a clean stop, 1 when it cannot begin."""
    parser = argparse.ArgumentParser(
        prog="python -m tapewatch.demo.engine",
        description="Paper-trade recorded market data and report every tick to a tape.",
    )
    parser.add_argument("--name", default=ENGINE_NAME, help="the engine's name on its tape")
    parser.add_argument("--data-dir", type=Path, help="the data directory; default: as the daemon")
    parser.add_argument("--models", type=Path, help="folder of the model files; default: DATA/demo")
    parser.add_argument(
        "--ticks-per-second", type=float, default=DEFAULT_TICKS_PER_SECOND, metavar="N"
    )
    parser.add_argument("--seconds", type=float, help="end by itself; default: until stopped")
    parser.add_argument("--script", type=Path, help="JSON file of faults and their times")
    parser.add_argument(
        "--control", action="store_true", help="take commands on standard input; end when it closes"
    )
    options = parser.parse_args(arguments)
    if not options.ticks_per_second > 0.0:
        parser.error(f"--ticks-per-second: found {options.ticks_per_second}, expected more than 0")
    data_dir = data_directory(options.data_dir)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    models_folder: Path = options.models or data_dir / "demo"
    try:
        script = read_script(options.script.read_text(encoding="utf-8")) if options.script else []
        bars = read_bars()
        models_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_models(train(bars), models_folder)
    except (MarketDataError, OSError, ValueError) as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    first_day = sorted({bar.day for bar in bars})[TRAINING_DAYS]
    recorder = Recorder(options.name, data_dir=data_dir, cadence_s=1.0 / options.ticks_per_second)
    engine = PaperEngine(
        # The models were fitted to the days before: no trade is made on what they learnt from.
        bars=[bar for bar in bars if bar.day >= first_day],
        history=[bar for bar in bars if bar.day < first_day],
        models=read_models(models_folder),
        models_folder=models_folder,
        sink=recorder,
        report=ReportPipe(sys.stdout).send,
        ticks_per_second=options.ticks_per_second,
        started_mono_ns=time.monotonic_ns(),
    )
    loop = Loop(engine, CommandPipe(sys.stdin.fileno()) if options.control else None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, loop.stop)
    try:
        loop.run(options.seconds, script)
    finally:
        recorder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
