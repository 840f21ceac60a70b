"""One event is one line, for programs and for people, with no secret in it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.logs import LogSink, configure_logs
from tapewatch.logs.render import Masking, console_line, json_line, prepare

SECRET = "canary-kD3vX9_qLw7RzT1bN5"
Lines = Callable[[], list[str]]


@pytest.fixture
def lines() -> Iterator[tuple[Callable[..., LogSink], Lines]]:
    """Configure logging into a pipe, and read what came out."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    def configure(**options: Any) -> LogSink:
        return configure_logs(descriptor=write, **options)

    def came() -> list[str]:
        try:
            return os.read(read, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    yield configure, came
    structlog.reset_defaults()
    root.handlers[:], root.level = before
    os.close(read)
    os.close(write)


@pytest.mark.requirement("S5-38", "S5-66", "S2-93")
def test_off_a_terminal_a_line_is_json_with_stable_fields(lines) -> None:
    configure, came = lines
    configure()
    structlog.get_logger(component="alert").warning("alert", rule="losing", value=1.5)
    structlog.get_logger().info("daemon_started")
    first, second = (json.loads(line) for line in came())
    assert list(first) == ["timestamp", "level", "event", "component", "rule", "value"]
    assert first["event"] == "alert"
    assert first["component"] == "alert"
    assert first["level"] == "warning"
    assert first["timestamp"].endswith("Z")
    age = datetime.now().astimezone() - datetime.fromisoformat(first["timestamp"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert second["component"] == "monitoring"


def test_lines_below_the_level_are_left_out(lines) -> None:
    configure, came = lines
    configure(level="warning")
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(line)["event"] for line in came()] == ["c", "d"]


@pytest.mark.requirement("T10")
@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(), st.floats(), st.binary())))
def test_whatever_is_logged_is_one_line_of_valid_json(fields: dict[str, Any]) -> None:
    event = prepare({"event": "x", **fields}, Masking())
    line = json_line(event)
    assert len(line.splitlines()) == 1
    json.loads(line, parse_constant=lambda word: pytest.fail(word))
    assert len(console_line(event, colours=False).splitlines()) <= 1


@pytest.mark.requirement("T9", "T10")
def test_controls_are_shown_and_never_obeyed_on_a_terminal() -> None:
    event = prepare({"event": "e\x1b[2J", "level": "info", "text": "a\nb\x9b\u202e\r"}, Masking())
    line = console_line(event, colours=False)
    assert not set(line) & {"\x1b", "\n", "\x9b", "\u202e", "\r"}
    assert r"text=a\nb\x9b\u202e\r" in line


@pytest.mark.requirement("T27")
def test_secrets_are_masked_by_value_and_by_name(lines) -> None:
    configure, came = lines
    configure(secrets=[SECRET])
    log = structlog.get_logger()
    log.info("a", url=f"http://h/{SECRET}?x=1", nested={"list": [f"x{SECRET}"]})
    log.info("b", token="short", api_key="x", authorization="Bearer y", auth_password=object())
    log.info(f"c{SECRET}")
    try:
        raise ValueError(f"failed with {SECRET}")
    except ValueError:
        log.exception("d")
    logging.getLogger("library").error("it says %s", SECRET)
    text = "\n".join(came())
    assert SECRET not in text
    second = json.loads(text.splitlines()[1])
    assert {second[k] for k in ("token", "api_key", "authorization", "auth_password")} == {
        "********"
    }


def test_names_that_only_look_like_secrets_are_left_alone() -> None:
    event = prepare({"event": "x", "key": "k", "tokens": 3, "token_count": 5}, Masking())
    assert event["key"] == "k"
    assert event["tokens"] == 3
    assert event["token_count"] == 5


def test_what_libraries_log_comes_as_lines_of_the_same_form(lines) -> None:
    configure, came = lines
    configure()
    configure()  # twice must not double them
    logging.getLogger("asyncio").error("Task %s failed", "x")
    logging.getLogger("chatty").info("not this")
    (line,) = came()
    event = json.loads(line)
    assert event["event"] == "library_message"
    assert event["logger"] == "asyncio"
    assert event["message"] == "Task x failed"


def test_an_exception_is_one_field_of_its_line(lines) -> None:
    configure, came = lines
    configure()
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        structlog.get_logger().exception("failed")
    (line,) = came()
    assert "ZeroDivisionError: by zero" in json.loads(line)["exception"]


@pytest.mark.requirement("S5-29")
def test_a_value_that_cannot_be_shown_does_not_stop_the_line() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Colour(Enum):
        RED = "red"

    deep: list[Any] = []
    deep.append(deep)
    event = prepare(
        {"event": "x", "rude": Rude(), "colour": Colour.RED, "path": Path("/a"), "deep": deep},
        Masking(),
    )
    json_line(event)
    assert event["rude"] == "<Rude: RuntimeError>"
    assert event["colour"] == "red"
    assert event["path"] == "/a"


def test_a_closed_pipe_is_counted_and_never_raised() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        sink = configure_logs(descriptor=write)
        structlog.get_logger().info("nobody_reads")
        assert sink.dropped == 1
    finally:
        structlog.reset_defaults()
        os.close(write)


def test_people_get_text_when_they_ask_for_it(lines) -> None:
    configure, came = lines
    configure(form="console")
    structlog.get_logger(component="alert").error("alert", rule="losing money")
    (line,) = came()
    assert line[8:] == ' error    alert: alert  rule="losing money"'


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_is_coloured_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    controller, terminal = os.openpty()
    try:
        configure_logs(descriptor=terminal)
        structlog.get_logger().info("hello")
        text = os.read(controller, 4096).decode()
    finally:
        structlog.reset_defaults()
        os.close(controller)
        os.close(terminal)
    assert ("\x1b[" in text) is coloured
    assert "hello" in text
    assert not text.startswith("{")
