"""What a person sees: where to look, how the engine does, which alert is awaited or firing."""

from __future__ import annotations

import io
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from tapewatch.config.load import load_config
from tapewatch.demo.faults import Fault
from tapewatch.demo.ledger import Ledger, Notice
from tapewatch.demo.runner import (
    DemoError,
    failure,
    free_listen,
    how_it_ended,
    remove_unless_failed,
    run_demo,
)
from tapewatch.demo.screen import DemoState, PlainScreen, print_summary, render
from tapewatch.demo.settings import write_settings
from tapewatch.demo.timetable import SCENARIOS
from tapewatch.model.errors import TapewatchError

STATUS = {
    "day": "2004-08-19",
    "bars": 1_234,
    "equity": 1_012_345.6,
    "daily": -2_000.0,
    "realized_total": 5.0,
    "drawdown_ratio": 0.034,
    "positions": ["AAPL", "IBM"],
    "fills": 42,
    "breaker": True,
}


def shown(thing: object) -> str:
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def state() -> DemoState:
    ledger = Ledger()
    for fault in (Fault.BROKER_SESSION, Fault.CRASH):
        ledger.inject(next(s for s in SCENARIOS if s.fault is fault), 0)
    ledger.evidence("broker_session_lost", 0)
    ledger.notice(Notice("breeze_connectivity_lost", "critical", "paper", True, 3_500_000, ""))
    return DemoState("http://127.0.0.1:8090/", "/data", ledger)


def test_the_view_says_where_to_look_before_the_engine_has_ticked(state: DemoState) -> None:
    text = shown(render(state))
    assert "http://127.0.0.1:8090/" in text
    assert "tapewatch status --data-dir /data" in text
    assert "starting" in text


def test_the_view_shows_figures_alerts_and_latency(state: DemoState) -> None:
    state.status = STATUS
    state.recent.append(("bold", "something happened"))
    text = shown(render(state))
    for word in ("1,012,346", "-2,000", "3.4%", "AAPL, IBM", "TRIPPED", "something happened"):
        assert word in text
    assert "firing" in text
    assert "3.5 ms" in text
    assert "awaited" in text


def test_the_summary_names_what_is_missing(state: DemoState) -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_summary(state.ledger, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "missing: crash: engine_crashed (critical)" in text
    assert "unexpected: none" in text
    assert "max 3.5 ms" in text


def summary_of(ledger: Ledger) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_summary(ledger, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_note_on_stalls_stands_only_beside_a_stall(state: DemoState) -> None:
    assert "silence" not in summary_of(state.ledger)
    state.ledger.inject(next(s for s in SCENARIOS if s.fault is Fault.ENGINE_STALL), 0)
    state.ledger.evidence("loop_hung", 0)
    state.ledger.notice(Notice("heartbeat_lapsed", "critical", "paper", True, 2_010_000_000, ""))
    assert "(a stall counts from the end of its 2 s of silence)" in summary_of(state.ledger)


def test_a_run_that_ended_before_the_first_fault_shows_no_empty_table() -> None:
    assert summary_of(Ledger()) == "ended before the first fault\n"


def test_how_a_child_ended_is_told_in_words() -> None:
    assert how_it_ended(-9) == "was killed by signal 9 (SIGKILL)"
    assert how_it_ended(3) == "ended with exit code 3"


def test_what_a_failed_child_left_stays_and_the_error_says_where(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("the last words\n")
    with pytest.raises(DemoError) as caught, ExitStack() as stack:
        stack.push(remove_unless_failed(tmp_path))
        raise failure("the daemon was killed by signal 9 (SIGKILL)", log)
    assert str(tmp_path) in caught.value.next_step
    assert log.exists()
    with ExitStack() as stack:
        stack.push(remove_unless_failed(tmp_path))
    assert not tmp_path.exists()


def test_without_a_terminal_each_event_is_a_line(state: DemoState) -> None:
    stream = io.StringIO()
    with PlainScreen(state, stream) as screen:
        screen.say("bold red", "alert")
    assert stream.getvalue() == "alert\n"


def test_a_taken_port_makes_way_for_a_free_one() -> None:
    first = free_listen()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.partition(":")[2])))
        other.listen()
        assert free_listen() != first


def test_the_settings_it_writes_are_settings_that_the_daemon_takes(tmp_path: Path) -> None:
    folder = tmp_path / 'a folder: with "signs"'
    folder.mkdir()
    loaded = load_config(write_settings(folder, "http://127.0.0.1:1/alerts"), environ={})
    settings = loaded.settings
    assert settings.alerts.cooldowns.critical.ns == 0
    assert [receiver.name for receiver in settings.receivers] == ["jsonl", "demo"]
    assert settings.artifacts[0].path == folder / "demo/teacher_model.json"


def test_missing_prices_are_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(TapewatchError, match="pip install"):
        run_demo(seconds=1, data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
