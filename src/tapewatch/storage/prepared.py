"""Effects as rows of the state store: one statement for each table, made before it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from tapewatch.model.alert import Alert, AlertState, Transition
from tapewatch.model.alert_json import alert_to_json, notification_to_json
from tapewatch.model.notification import DeliveryResult, Notification
from tapewatch.storage.codec import plain, to_text
from tapewatch.storage.effects import Commit


class PreparedCommit:
    """Effects as rows: nothing can fail in Python once the transaction has begun."""

    def __init__(self, effects: Commit) -> None:
        self.statements: list[tuple[str, Sequence[Sequence[Any]]]] = []
        self._keep("offsets", "source", effects.offsets.items())
        self._keep("engines", "name", effects.engines.items())
        self._add(
            "INSERT OR REPLACE INTO kept VALUES (?, ?)",
            [
                (plain(name), to_text(value))
                for name, value in effects.values.items()
                if value is not None
            ],
        )
        self._add(
            "DELETE FROM kept WHERE name = ?",
            [(plain(name),) for name, value in effects.values.items() if value is None],
        )
        transitions = list(effects.transitions)
        self._add(
            "INSERT OR IGNORE INTO transitions "
            "(alert_id, rule, previous, state, reason, event_ns, at_ns, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [_transition_row(t) for t in transitions],
        )
        # Only the last state of each alert is its row.
        last = {t.alert.id: t for t in transitions}.values()
        self._add(
            "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_alert_row(t.alert) for t in last if not _vanished(t)],
        )
        self._add(
            "DELETE FROM alerts WHERE id = ?", [(plain(t.alert.id),) for t in last if _vanished(t)]
        )
        self._add(
            "INSERT OR IGNORE INTO outbox (key, receiver, severity, state, attempts, "
            "next_attempt_ns, reason, error, latency_ns, created_at_ns, updated_at_ns, body) "
            "VALUES (?, ?, ?, 'queued', 0, NULL, '', '', NULL, ?, ?, ?)",
            [_notification_row(n) for n in effects.notifications],
        )
        # A final state is never left: a late report of an attempt must not wake the row again.
        self._add(
            "UPDATE outbox SET state=?, attempts=?, next_attempt_ns=?, reason=?, error=?, "
            "latency_ns=?, updated_at_ns=? WHERE key=? AND receiver=? "
            "AND state IN ('queued', 'sending')",
            [_delivery_row(d) for d in effects.deliveries],
        )
        self._add(
            "INSERT OR IGNORE INTO events (source, number, kind, time_ns, body) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                (plain(e.source), _held(e.number), plain(e.kind), _held(e.time_ns), body)
                for e in effects.events
                for body in (to_text(dict(e.body)),)
            ],
        )

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the rows inside a transaction."""
        for sql, rows in self.statements:
            connection.executemany(sql, rows)

    def _add(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self.statements.append((sql, rows))

    def _keep(self, table: str, key: str, items: Iterable[tuple[str, Any]]) -> None:
        pairs = list(items)
        self._add(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608 - our own words
            [(plain(name), to_text(dict(body))) for name, body in pairs if body is not None],
        )
        self._add(
            f"DELETE FROM {table} WHERE {key} = ?",  # noqa: S608 - our own words
            [(plain(name),) for name, body in pairs if body is None],
        )


def _held(number: int) -> int:
    """Return the number within SQLite's 64 bits: one wild event must not hold up every commit."""
    return max(-(1 << 63), min((1 << 63) - 1, number))


def _vanished(transition: Transition) -> bool:
    """Return whether a pending alert cleared: it never was an alert to anybody."""
    return transition.alert.state is AlertState.RESOLVED and transition.alert.fired_at_ns is None


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    return (
        plain(alert.id),
        plain(alert.fingerprint),
        plain(alert.rule),
        int(alert.severity),
        alert.state.value,
        alert.active_at_ns,
        alert.updated_at_ns,
        alert.resolved_at_ns,
        to_text(alert_to_json(alert)),
    )


def _transition_row(transition: Transition) -> tuple[Any, ...]:
    alert = transition.alert
    return (
        plain(alert.id),
        plain(alert.rule),
        "" if transition.previous is None else transition.previous.value,
        alert.state.value,
        alert.reason.value,
        transition.event_ns,
        alert.updated_at_ns,
        to_text(alert_to_json(alert)),
    )


def _notification_row(notification: Notification) -> tuple[Any, ...]:
    created = notification.created_at_ns
    return (
        plain(notification.key),
        plain(notification.receiver),
        int(notification.severity),
        created,
        created,
        to_text(notification_to_json(notification)),
    )


def _delivery_row(result: DeliveryResult) -> tuple[Any, ...]:
    return (
        result.state.value,
        result.attempts,
        result.next_attempt_ns,
        plain(result.reason),
        plain(result.error),
        result.latency_ns,
        result.at_ns,
        plain(result.key),
        plain(result.receiver),
    )
