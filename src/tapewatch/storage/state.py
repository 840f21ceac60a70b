"""The state store: how far we read and what followed from it, durable in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tapewatch.model.alert import Alert, AlertState
from tapewatch.model.alert_json import alert_from_json, notification_from_json
from tapewatch.model.errors import StorageError, StorageFailure
from tapewatch.model.notification import DeliveryState
from tapewatch.model.severity import AlertSeverity
from tapewatch.storage.codec import from_text, plain
from tapewatch.storage.database import Database, Settings
from tapewatch.storage.effects import (
    Commit,
    EventRow,
    LoggedTransition,
    OutboxRow,
    SavedState,
)
from tapewatch.storage.prepared import PreparedCommit
from tapewatch.storage.reserve import Reserve
from tapewatch.storage.state_schema import STATE_SCHEMA

BUSY_SECONDS = 0.1
"""A commit waits this long for another program; then the daemon goes on and tries again."""
_PRUNED_AT_ONCE = 5_000
_SETTINGS = Settings(synchronous="FULL", busy_seconds=BUSY_SECONDS)
_LIVE = (AlertState.PENDING.value, AlertState.FIRING.value, AlertState.UNKNOWN.value)
_OPEN = tuple(state.value for state in DeliveryState if not state.is_final)


class StateStore:
    """Offsets, alerts, outbox, events, engines and values in one SQLite file.

    One transaction takes the offset of what was read together with everything that followed from
    it, so that after a crash nothing is lost and nothing is done twice. Writing is for one thread
    at a time (a lock sees to it); reading is for any thread.
    """

    def __init__(self, database: Database, reserve: Reserve) -> None:
        self._database = database
        self._reserve = reserve
        self.path = database.path
        self.commits = 0
        """Commits since the store was opened."""
        self.reserve_used = 0
        """How often the disk was so full that the reserve had to be given up."""

    @classmethod
    def open(cls, path: Path, *, now_ns: int, patient: bool = False) -> StateStore:
        """Open the file, or make it.

        A damaged file, or one of a newer version, is moved aside, never deleted, and a fresh one
        is begun; see ``recovered``.

        Args:
            path: The database file.
            now_ns: For the name of a damaged file.
            patient: Go on without the file while it cannot be opened for a reason that may pass;
                see ``refused``. Each commit tries to open it.

        Raises:
            StorageError: The file cannot be read or made, is locked, or is no file of ours.
        """
        database = Database.open(path, STATE_SCHEMA, _SETTINGS, now_ns=now_ns, patient=patient)
        reserve = Reserve(path.with_name(f"{path.stem}.reserve"))
        reserve.take()
        return cls(database, reserve)

    @property
    def recovered(self) -> str | None:
        """Why a fresh file was begun although there was one; None when that was not so."""
        return self._database.recovered

    @property
    def refused(self) -> StorageError | None:
        """Why the file is not open yet; None when it is."""
        return self._database.refused

    # -- writing ---------------------------------------------------------------------------

    def commit(self, effects: Commit) -> None:
        """Make the effects durable: all of them when this returns, none of them if it raises.

        Committing the same effects again changes nothing, so a commit whose outcome is not known
        may be repeated. On a full disk the reserve is given up first.

        Raises:
            StorageError: With a ``reason``. Keep the effects and try again.
        """
        prepared = PreparedCommit(effects)
        try:
            self._write(prepared)
        except StorageError as error:
            if error.reason is not StorageFailure.FULL or not self._reserve.release():
                raise
            self.reserve_used += 1
            self._write(prepared)
        else:
            self._reserve.take()
        self.commits += 1

    def update(
        self,
        key: str,
        state: DeliveryState,
        attempts: int,
        next_attempt_ns: int | None,
        error: str = "",
        *,
        at_ns: int,
    ) -> bool:
        """Move one outbox row on; return False if there is none or its state is final.

        Raises:
            StorageError: As ``commit``.
        """
        with self._database.transaction("updating the outbox in") as connection:
            changed = connection.execute(
                "UPDATE outbox SET state=?, attempts=?, next_attempt_ns=?, error=?, "
                "updated_at_ns=? WHERE key=? AND state IN ('queued', 'sending')",
                (state.value, attempts, next_attempt_ns, plain(error), at_ns, plain(key)),
            ).rowcount
        return changed > 0

    def prune(self, *, alerts_before_ns: int, events_before_ns: int) -> int:
        """Delete what is older than its retention, a bounded number of rows; return how many.

        Alerts count from their end, and live ones never go; call again until it returns 0.

        Raises:
            StorageError: As ``commit``.
        """
        rules = (
            ("alerts", "state='resolved' AND resolved_at_ns < ?", alerts_before_ns),
            (
                "transitions",
                "at_ns < ? AND alert_id NOT IN (SELECT id FROM alerts WHERE state != 'resolved')",
                alerts_before_ns,
            ),
            (
                "outbox",
                "created_at_ns < ? AND state NOT IN ('queued', 'sending')",
                alerts_before_ns,
            ),
            ("events", "time_ns < ?", events_before_ns),
        )
        deleted = 0
        with self._database.transaction("pruning") as connection:
            for table, condition, before_ns in rules:
                deleted += connection.execute(
                    f"DELETE FROM {table} WHERE rowid IN "  # noqa: S608 - our own words
                    f"(SELECT rowid FROM {table} WHERE {condition} LIMIT {_PRUNED_AT_ONCE})",
                    (before_ns,),
                ).rowcount
        if deleted:
            self._database.vacuum()
        return deleted

    # -- reading ---------------------------------------------------------------------------

    def load(self) -> SavedState:
        """Return everything that a start goes on from.

        Raises:
            StorageError: The file cannot be read.
        """
        with self._database.reading("loading") as connection:
            alerts = connection.execute(
                "SELECT body FROM alerts WHERE state IN (?, ?, ?) ORDER BY active_at_ns, id", _LIVE
            ).fetchall()
            return SavedState(
                offsets=_pairs(connection, "SELECT source, body FROM offsets"),
                active_alerts=tuple(alert_from_json(from_text(row[0])) for row in alerts),
                outbox=tuple(_outbox(connection, "state IN (?, ?)", _OPEN)),
                engines=_pairs(connection, "SELECT name, body FROM engines"),
                values=_pairs(connection, "SELECT name, body FROM kept"),
            )

    def alerts(
        self,
        *,
        active: bool | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        severity: AlertSeverity | None = None,
        limit: int = 1_000,
    ) -> list[Alert]:
        """Return alerts, the last changed first.

        Args:
            active: True for firing and unknown ones, False for those that ended, None for all;
                pending ones only with None.
            since_ns: Leave out alerts that last changed before.
            until_ns: Leave out alerts that last changed after.
            severity: Only this severity.
            limit: At most so many.
        """
        where, arguments = _where(
            ("updated_at_ns >= ?", since_ns),
            ("updated_at_ns <= ?", until_ns),
            ("severity = ?", severity),
        )
        if active is not None:
            where += " AND state IN ('firing', 'unknown')" if active else " AND state = 'resolved'"
        sql = (
            "SELECT body FROM alerts "  # noqa: S608 - our own words
            f"WHERE {where} ORDER BY updated_at_ns DESC, id LIMIT ?"
        )
        with self._database.reading("reading alerts from") as connection:
            rows = connection.execute(sql, (*arguments, limit)).fetchall()
        return [alert_from_json(from_text(row[0])) for row in rows]

    def alert(self, alert_id: str) -> Alert | None:
        """Return one alert by its id, or None."""
        with self._database.reading("reading alerts from") as connection:
            row = connection.execute(
                "SELECT body FROM alerts WHERE id = ?", (plain(alert_id),)
            ).fetchone()
        return None if row is None else alert_from_json(from_text(row[0]))

    def transitions(
        self, *, alert_id: str | None = None, since_ns: int | None = None, limit: int = 1_000
    ) -> list[LoggedTransition]:
        """Return entries of the log of alert changes, the newest first."""
        where, arguments = _where(("alert_id = ?", alert_id), ("at_ns >= ?", since_ns))
        sql = (
            "SELECT alert_id, rule, previous, state, reason, event_ns, at_ns, body "  # noqa: S608
            f"FROM transitions WHERE {where} ORDER BY number DESC LIMIT ?"
        )
        with self._database.reading("reading transitions from") as connection:
            rows = connection.execute(sql, (*arguments, limit)).fetchall()
        return [LoggedTransition(*(*row, from_text(body))) for *row, body in rows]

    def events(
        self,
        *,
        source: str | None = None,
        kind: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1_000,
    ) -> list[EventRow]:
        """Return events, the newest first."""
        where, arguments = _where(
            ("source = ?", source),
            ("kind = ?", kind),
            ("time_ns >= ?", since_ns),
            ("time_ns <= ?", until_ns),
        )
        sql = (
            "SELECT source, kind, time_ns, number, body FROM events "  # noqa: S608 - our own words
            f"WHERE {where} ORDER BY time_ns DESC, id DESC LIMIT ?"
        )
        with self._database.reading("reading events from") as connection:
            rows = connection.execute(sql, (*arguments, limit)).fetchall()
        return [EventRow(*(*row, from_text(body))) for *row, body in rows]

    def due(self, now_ns: int, limit: int = 1_000) -> list[OutboxRow]:
        """Return outbox rows whose time to be sent has come, the worst and oldest first."""
        with self._database.reading("reading the outbox from") as connection:
            return _outbox(
                connection,
                "state IN (?, ?) AND (next_attempt_ns IS NULL OR next_attempt_ns <= ?)",
                (*_OPEN, now_ns),
                order="severity DESC, number",
                limit=limit,
            )

    def outbox(self, *, limit: int = 1_000) -> list[OutboxRow]:
        """Return the newest outbox rows, whatever their state."""
        with self._database.reading("reading the outbox from") as connection:
            return _outbox(connection, "1", (), order="number DESC", limit=limit)

    def integrity(self) -> str:
        """Return ``ok``, or what a full check finds wrong. Reads the whole file."""
        return self._database.integrity()

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each table, and ``bytes`` on disk."""
        with self._database.reading("measuring") as connection:
            sizes = {
                table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
                for table in STATE_SCHEMA.columns
            }
        return {**sizes, "bytes": self._database.size_bytes()}

    def backup(self, target: Path) -> None:
        """Write a consistent copy while commits go on.

        Raises:
            StorageError: The copy cannot be written.
        """
        self._database.backup(target)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _write(self, prepared: PreparedCommit) -> None:
        with self._database.transaction("committing to") as connection:
            prepared.write(connection)


def _where(*conditions: tuple[str, Any]) -> tuple[str, list[Any]]:
    """Join the conditions that have a value; a text is made such as SQLite can hold."""
    asked = [(text, value) for text, value in conditions if value is not None]
    arguments = [plain(value) if isinstance(value, str) else int(value) for _, value in asked]
    return " AND ".join(["1", *(text for text, _ in asked)]), arguments


def _pairs(connection: sqlite3.Connection, sql: str) -> dict[str, Any]:
    return {name: from_text(body) for name, body in connection.execute(sql)}


def _outbox(
    connection: sqlite3.Connection,
    where: str,
    arguments: Sequence[Any],
    *,
    order: str = "number",
    limit: int = -1,
) -> list[OutboxRow]:
    rows = connection.execute(
        "SELECT body, state, attempts, next_attempt_ns, error, updated_at_ns "  # noqa: S608
        f"FROM outbox WHERE {where} ORDER BY {order} LIMIT ?",
        (*arguments, limit),
    )
    return [
        OutboxRow(notification_from_json(from_text(body)), DeliveryState(state), *rest)
        for body, state, *rest in rows
    ]
