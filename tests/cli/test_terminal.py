"""What commands look like on a terminal, through a real one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import termios

import pytest

from tapewatch.cli.sparkline import BARS


def on_terminal(live, *arguments: str, environ: dict[str, str] | None = None) -> str:  # type: ignore[no-untyped-def]
    """Run a command whose output is a terminal of 160 columns; return what it was sent."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    process = live.command.start(
        *arguments,
        *("--config", str(live.daemon.config_path)),
        stdout=terminal,
        stderr=terminal,
        environ={"TERM": "xterm-256color", "COLUMNS": "160", **(environ or {})},
    )
    os.close(terminal)
    parts = []
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(controller, 65536):
            parts.append(part)
    process.wait(30)
    os.close(controller)
    return b"".join(parts).decode()


def test_tables_are_drawn_and_states_are_coloured(calm) -> None:
    text = on_terminal(calm, "status")
    assert "\x1b[32mrunning" in text
    assert "─" in text


def test_no_color_is_honoured(calm) -> None:
    text = on_terminal(calm, "status", environ={"NO_COLOR": "1"})
    assert "running" in text
    assert "\x1b[3" not in text


@pytest.mark.requirement("S5-35")
def test_a_metric_has_its_trend_drawn(left_behind) -> None:
    text = on_terminal(left_behind, "metrics", "pnl_daily", "--window", "30s")
    assert "TREND" in text
    assert set(text) & set(BARS)


def test_a_range_query_has_its_trend_drawn(calm) -> None:
    text = on_terminal(calm, "query", "vector(time())", "--range", "1m")
    assert BARS[0] in text
    assert BARS[-1] in text


@pytest.mark.parametrize("columns", ["70", "80", "100", "160"])
def test_a_trend_and_the_figures_stay_in_one_line_however_wide_the_terminal(
    left_behind, columns: str
) -> None:
    text = on_terminal(
        left_behind, "metrics", "pnl_daily", "--window", "30s", environ={"COLUMNS": columns}
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    drawn = [line for line in lines if not line.startswith("tapewatch: ")]
    assert len([line for line in drawn if set(line) & set(BARS)]) == 1
    assert max(map(len, drawn)) <= int(columns)


def test_a_terminal_too_narrow_for_a_table_shows_a_line_for_each_cell(calm) -> None:
    text = on_terminal(calm, "status", environ={"COLUMNS": "40", "NO_COLOR": "1"})
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()]
    assert "ENGINE     momentum" in lines
    assert "STATE      running" in lines


@pytest.mark.requirement("T9")
def test_markup_in_a_message_is_text(live) -> None:
    live.engine.record_tick({"pnl": {"daily": 251.0}, "[bold red]evil[/]": 1.0})
    live.until_pnl(251.0)
    text = on_terminal(live, "metrics")
    assert "\x1b[1;31mevil" not in text
