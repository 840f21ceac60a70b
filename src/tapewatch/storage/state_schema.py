"""The form of the state store's file, version by version."""

from __future__ import annotations

from tapewatch.storage.database import Schema

_VERSION_1 = """
CREATE TABLE offsets (source TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE engines (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE alerts (
  id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rule TEXT NOT NULL, severity INTEGER NOT NULL,
  state TEXT NOT NULL, active_at_ns INTEGER NOT NULL, updated_at_ns INTEGER NOT NULL,
  resolved_at_ns INTEGER, body TEXT NOT NULL
);
CREATE INDEX alerts_by_state ON alerts (state, updated_at_ns);
CREATE INDEX alerts_by_update ON alerts (updated_at_ns);
CREATE TABLE transitions (
  number INTEGER PRIMARY KEY AUTOINCREMENT, alert_id TEXT NOT NULL, rule TEXT NOT NULL,
  previous TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, event_ns INTEGER NOT NULL,
  at_ns INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE UNIQUE INDEX transitions_once
  ON transitions (alert_id, at_ns, event_ns, previous, state, reason);
CREATE INDEX transitions_by_time ON transitions (at_ns);
CREATE TABLE outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, receiver TEXT NOT NULL,
  severity INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
  next_attempt_ns INTEGER, reason TEXT NOT NULL, error TEXT NOT NULL, latency_ns INTEGER,
  created_at_ns INTEGER NOT NULL, updated_at_ns INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE UNIQUE INDEX outbox_once ON outbox (key, receiver);
CREATE INDEX outbox_by_state ON outbox (state, next_attempt_ns);
CREATE INDEX outbox_by_time ON outbox (created_at_ns);
CREATE TABLE events (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,
  time_ns INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE UNIQUE INDEX events_once ON events (source, number);
CREATE INDEX events_by_time ON events (time_ns);
"""

STATE_SCHEMA = Schema(
    what="state store",
    migrations=(_VERSION_1,),
    columns={
        "offsets": "source, body",
        "engines": "name, body",
        "kept": "name, body",
        "alerts": "id, fingerprint, rule, severity, state, active_at_ns, updated_at_ns, "
        "resolved_at_ns, body",
        "transitions": "number, alert_id, rule, previous, state, reason, event_ns, at_ns, body",
        "outbox": "number, key, receiver, severity, state, attempts, next_attempt_ns, reason, "
        "error, latency_ns, created_at_ns, updated_at_ns, body",
        "events": "id, source, number, kind, time_ns, body",
    },
)
