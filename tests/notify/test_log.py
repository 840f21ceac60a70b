"""The log receiver: one structured line per alert, with component="alert", whatever it holds."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
import structlog

from tapewatch.model.severity import AlertSeverity
from tapewatch.notify.log import LogReceiver
from tapewatch.testing.alerts import START_NS, firing_alert, notification, resolves

Line = tuple[int, str, dict[str, object]]


class Lines(list[Line]):
    def log(self, level: int, event: str, **fields: object) -> None:
        self.append((level, event, fields))


@pytest.mark.requirement("S5-57")
@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (AlertSeverity.INFO, logging.INFO),
        (AlertSeverity.WARNING, logging.WARNING),
        (AlertSeverity.CRITICAL, logging.ERROR),
        (AlertSeverity.EMERGENCY, logging.CRITICAL),
    ],
)
def test_each_severity_has_its_log_level(severity: AlertSeverity, level: int) -> None:
    lines = Lines()
    alert = firing_alert(severity=severity)
    asyncio.run(LogReceiver(logger=lines).send(notification(alert)))
    ((found, event, fields),) = lines
    assert (found, event) == (level, "alert")
    assert fields["component"] == "alert"
    assert fields["rule"] == "daily_loss_high"
    assert fields["severity"] == severity.name
    assert fields["notification"] == "first_notification"


def test_an_end_is_logged_at_level_info() -> None:
    lines = Lines()
    ended = resolves(firing_alert(severity=AlertSeverity.CRITICAL), START_NS + 1).alert
    asyncio.run(LogReceiver(logger=lines).send(notification(ended)))
    assert lines[0][0] == logging.INFO


@pytest.mark.requirement("S2-93")
def test_labels_and_context_are_objects_as_in_every_other_line() -> None:
    lines = Lines()
    alert = firing_alert(symbol="TCS", context={"threshold": -5.0})
    asyncio.run(LogReceiver(logger=lines).send(notification(alert)))
    fields = lines[0][2]
    assert fields["labels"] == alert.labels.as_dict()
    assert fields["context"] == {"threshold": -5.0}


@pytest.mark.requirement("T9", "T10")
def test_texts_from_outside_cannot_forge_a_line_or_drive_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nasty = 'x\n{"event": "forged"}\r\x1b[2J\u2028\u202e\ud800'
    alert = firing_alert(annotations={"summary": nasty}, symbol=nasty, context={"note": nasty})
    for renderer in (
        structlog.processors.JSONRenderer(ensure_ascii=False),
        structlog.dev.ConsoleRenderer(colors=False),
    ):
        logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[renderer])
        asyncio.run(LogReceiver(logger=logger).send(notification(alert)))
        shown = capsys.readouterr().out
        assert len(shown.splitlines()) == 1
        assert "\x1b" not in shown and "\u202e" not in shown
        if isinstance(renderer, structlog.processors.JSONRenderer):
            assert json.loads(shown)["message"].startswith("x\\n{")
