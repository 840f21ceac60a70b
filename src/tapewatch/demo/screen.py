"""What a person sees while the demo runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tapewatch.demo.ledger import Ledger, Outcome

RECENT_LINES = 14


@dataclass(slots=True)
class DemoState:
    """Everything the view shows."""

    url: str
    data_dir: str
    ledger: Ledger
    status: dict[str, Any] = field(default_factory=dict)
    """The engine's newest figures."""
    next_up: str = ""
    recent: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=RECENT_LINES))
    """(style, text), oldest first."""


class Screen(Protocol):
    """Where the run is shown."""

    def say(self, style: str, text: str) -> None:
        """Show that something happened."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PlainScreen:
    """One line per event, for logs and pipes."""

    def __init__(self, state: DemoState, stream: TextIO) -> None:
        self._state = state
        self._stream = stream

    def say(self, style: str, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush()


class LiveScreen:
    """The whole state, redrawn four times a second in the terminal's alternate screen."""

    def __init__(self, state: DemoState, console: Console) -> None:
        self._state = state
        self._live = Live(
            get_renderable=lambda: render(state),
            console=console,
            screen=True,
            refresh_per_second=4,
        )

    def say(self, style: str, text: str) -> None:
        self._state.recent.append((style, text))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)


def render(state: DemoState) -> RenderableType:
    """Return the view of a state: where to look, the engine, what is happening, the alerts."""
    look = Text.assemble(
        ("Live page  ", "bold"),
        (state.url, "underline cyan"),
        ("\nIn another terminal  ", "bold"),
        f"tapewatch status --data-dir {state.data_dir}",
        ("\nStop  ", "bold"),
        "Ctrl-C (ends with a summary)",
    )
    happening = Text("\n").join(Text(text, style=style) for style, text in tuple(state.recent))
    return Group(
        Panel(look, title="Tapewatch demo: a paper-trading engine, watched"),
        Panel(engine_table(state.status), title="The engine"),
        Panel(happening, title="What is happening", subtitle=state.next_up),
        Panel(alert_table(state.ledger), title="Faults and alerts"),
    )


def engine_table(status: dict[str, Any]) -> Table:
    """Return the engine's figures in two rows."""
    table = Table.grid(expand=True)
    for _ in range(4):
        table.add_column()
    if not status:
        table.add_row("starting ...")
        return table
    daily = status["daily"]
    table.add_row(
        f"market day [bold]{status['day']}[/]",
        f"equity [bold]{status['equity']:,.0f}[/] USD",
        f"today [{'green' if daily >= 0 else 'red'}]{daily:+,.0f}[/] USD",
        f"drawdown {status['drawdown_ratio']:.1%}",
    )
    breaker = "[bold red]TRIPPED[/]" if status["breaker"] else "[green]closed[/]"
    table.add_row(
        f"bars {status['bars']:,}",
        f"holds {', '.join(status['positions']) or 'nothing'}",
        f"fills {status['fills']:,}",
        f"breaker {breaker}",
    )
    return table


def alert_table(ledger: Ledger) -> Table:
    """Return one row per expected alert of the faults so far, the newest eight."""
    table = Table(box=None, expand=True, pad_edge=False)
    for heading in ("fault", "alert", "severity", "state", "latency"):
        table.add_column(heading, justify="right" if heading == "latency" else "left")
    for injection, outcome in ledger.outcomes()[-8:]:
        latency = outcome.latency_ms
        table.add_row(
            str(injection.scenario.fault),
            outcome.expectation.alert,
            outcome.expectation.severity,
            outcome_state(outcome),
            "" if latency is None else f"{latency:.1f} ms",
        )
    return table


def outcome_state(outcome: Outcome) -> str:
    """Return the state of an expected alert, in rich markup."""
    if outcome.resolved_ns is not None:
        return "[green]resolved[/]"
    if outcome.received_ns is not None:
        return "[bold red]firing[/]"
    return "[yellow]awaited[/]"


def print_summary(ledger: Ledger, console: Console) -> None:
    """Print the result of a run: one row per expected alert, then what is missing or unexpected."""
    # Narrow enough for 80 columns: no frame, no column wider than its longest name.
    table = Table(title="Faults and alerts", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("fault", "alert expected", "severity", "raised", "resolved", "latency"):
        justify: Literal["left", "right"] = "right" if heading == "latency" else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for injection, outcome in ledger.outcomes():
        latency = outcome.latency_ms
        table.add_row(
            str(injection.scenario.fault),
            outcome.expectation.alert,
            outcome.expectation.severity,
            "yes" if outcome.received_ns is not None else "[bold red]NO[/]",
            "yes" if outcome.resolved_ns is not None else "no",
            "" if latency is None else f"{latency:.1f} ms",
        )
    if not ledger.injections:
        console.print("ended before the first fault")
        return
    console.print(table)
    summary = ledger.to_json()
    latency_ms = summary["latency_ms"]
    if latency_ms["p50"] is not None:
        console.print(
            f"from first evidence to the receiver's call: p50 {latency_ms['p50']:.1f} ms,"
            f" p99 {latency_ms['p99']:.1f} ms, max {latency_ms['max']:.1f} ms",
            soft_wrap=True,
            highlight=False,
        )
        delays = {o.expectation.delay_s for _, o in ledger.outcomes() if o.latency_ms is not None}
        if longest := max(delays):
            console.print(
                f"(a stall counts from the end of its {longest:g} s of silence)", highlight=False
            )
    for kind in ("missing", "unexpected"):
        console.print(f"{kind}: {', '.join(summary[kind]) or 'none'}")


def open_screen(state: DemoState, *, quiet_stdout: bool) -> Screen:
    """Return the live view on a terminal, plain lines on stderr or stdout elsewhere."""
    if quiet_stdout:
        return PlainScreen(state, sys.stderr)
    console = Console()
    if console.is_terminal and console.size.height >= 30:
        return LiveScreen(state, console)
    return PlainScreen(state, sys.stdout)
