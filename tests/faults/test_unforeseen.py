"""Errors that nobody foresaw: contained where they can be, and loud where they cannot."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually
from tests.faults.oracle import RULES, engines_of, has_ended

# Python runs this at its start. While the file FAULT_FILE exists, one place of the daemon fails.
SABOTAGE = """
import os
from pathlib import Path

broken = Path(os.environ["FAULT_FILE"])
error = MemoryError if os.environ["FAULT_ERROR"] == "memory" else RuntimeError


def sabotage(owner, name, is_meant=lambda self: True):
    real = getattr(owner, name)

    def call(self, *arguments, **named):
        if broken.exists() and is_meant(self):
            raise error("nobody foresaw this")
        return real(self, *arguments, **named)

    setattr(owner, name, call)


place = os.environ["FAULT_PLACE"]
if place == "core":
    from tapewatch.rules.evaluator import RuleEvaluator

    sabotage(RuleEvaluator, "on_arrival")
elif place == "tape":
    from tapewatch.ingest.tape_source import TapeSource

    sabotage(TapeSource, "_absorb", lambda self: self.reader.header.engine == "engine0")
elif place == "rule":
    from tapewatch.rules import evaluator

    real = evaluator.RuleEvaluator._evaluate

    def evaluate(self, run, *arguments):
        if broken.exists() and run.rule.name == "poison":
            raise RuntimeError("nobody foresaw this")
        return real(self, run, *arguments)

    evaluator.RuleEvaluator._evaluate = evaluate
"""


@pytest.fixture
def sabotaged(chaos: Any, tmp_path: Path) -> Callable[..., tuple[Any, Any, Path]]:
    """Return a function that prepares a daemon with one place that can be made to fail."""

    def make(place: str, error: str = "", **kwargs: Any) -> tuple[Any, Any, Path]:
        (tmp_path / "sitecustomize.py").write_text(SABOTAGE)
        fault = tmp_path / "broken"
        environ = {"FAULT_FILE": str(fault), "FAULT_PLACE": place, "FAULT_ERROR": error}
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environ["PYTHONPATH"] = path.rstrip(os.pathsep)
        running, oracle = chaos(environ=environ, **kwargs)
        return running, oracle, fault

    return make


def logged(running: Any, event: str) -> list[dict[str, Any]]:
    return [line for line in running.log_lines() if line["event"] == event]


@pytest.mark.requirement("F9", "P2", "P3")
@pytest.mark.parametrize("error", ["runtime", "memory"])
def test_a_failure_of_the_loop_ends_the_daemon_loudly_and_loses_nothing(
    sabotaged: Any, error: str
) -> None:
    running, oracle, fault = sabotaged("core", error)
    running.start()
    oracle.raise_for(0.3)
    oracle.wait_until_told()
    fault.touch()
    oracle.raise_case()
    eventually(lambda: has_ended(running), "the daemon to end", timeout_s=15)
    assert running.process.returncode == 1
    (failed,) = logged(running, "core_failed")
    assert failed["level"] == "critical"
    assert "nobody foresaw this" in failed["reason"]
    assert logged(running, "daemon_failed")[0]["level"] == "critical"
    assert not logged(running, "daemon_stopped"), "that was no orderly end"
    for wait in (1, 2):
        # It fails again at once: each start waits longer, and says so.
        running.start(ready=False)
        assert running.process.wait(20) == 1
        assert [line["seconds"] for line in logged(running, "crash_loop")][-1] == wait
    oracle.raise_case()

    fault.unlink()
    running.start()
    assert logged(running, "crash_loop")[-1]["seconds"] == 4
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.check_repeats(at_most=1)
    oracle.check_ticks(running)
    assert running.stop() == 0
    running.start()
    assert len(logged(running, "crash_loop")) == 3, "after an orderly end nothing waits"


@pytest.mark.requirement("F41", "P1", "P2")
def test_a_tape_whose_reading_fails_stops_no_other_and_is_read_when_it_works_again(
    sabotaged: Any,
) -> None:
    running, oracle, fault = sabotaged("tape", engines=2)
    running.start()
    oracle.raise_for(0.3)
    oracle.wait_until_told()
    fault.touch()
    asked = {oracle.raise_case() for _ in range(2)}
    began = time.monotonic()
    eventually(lambda: asked & oracle.told(), "the case of the engine that is still read")
    assert time.monotonic() - began < 5
    oracle.sink.wait_for("tapes_unreadable")
    assert not asked <= oracle.told()
    assert "nobody foresaw this" in str(running.get("/status")[1])
    assert len(logged(running, "tape_failed")) == 1, "said once, not at every try"

    fault.unlink()
    oracle.wait_until_told(timeout_s=15)
    oracle.check_repeats(at_most=0)
    oracle.sink.wait_for("tapes_unreadable", "resolved")
    oracle.check_ticks(running)
    assert running.stop() == 0


@pytest.mark.requirement("P6", "F5")
def test_the_death_of_an_engine_whose_tape_cannot_be_read_is_told_all_the_same(
    sabotaged: Any,
) -> None:
    running, oracle, fault = sabotaged("tape", engines=2)
    config = running.config_path.read_text()
    running.config_path.write_text(config.replace("packs: [self]", "packs: [self, engine]"))
    running.start()
    eventually(lambda: {e["state"] for e in engines_of(running)} == {"running"}, "both to run")
    fault.touch()
    oracle.sink.wait_for("tapes_unreadable")
    began = time.monotonic()
    oracle.engines[0].kill()
    oracle.sink.wait_for("engine_crashed")
    assert time.monotonic() - began < 5
    fault.unlink()
    oracle.sink.wait_for("tapes_unreadable", "resolved")
    assert oracle.sink.names().count("engine_crashed") == 1


def test_a_rule_that_fails_inside_is_told_and_stops_no_other(
    sabotaged: Any, tmp_path: Path
) -> None:
    running, oracle, fault = sabotaged("rule")
    # Each case makes it true once more: a rule that is proved to stay as it is is not evaluated.
    poison = "      - {alert: poison, expr: chaos_signal > 0}\n"
    (tmp_path / "rules.yaml").write_text(RULES + poison)
    running.start()
    fault.touch()
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.sink.wait_for("rules_failing")
    (said,) = logged(running, "rule_failing")
    assert (said["rule"], said["level"]) == ("poison", "error")
    assert "internal error: RuntimeError" in said["reason"]
    fault.unlink()
    oracle.raise_case()
    oracle.wait_until_told()
    oracle.sink.wait_for("rules_failing", "resolved")
    oracle.check_ticks(running)
    assert running.stop() == 0
