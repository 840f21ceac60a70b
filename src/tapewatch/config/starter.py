"""The commented configuration that ``tapewatch init`` writes: it validates as it stands."""

from __future__ import annotations

from tapewatch.config.schema import schema_path

_TEXT = """\
# yaml-language-server: $schema={schema}
#
# Tapewatch's configuration. Every key may be left out; what is commented shows the default or an
# example. Check it with `tapewatch check-config`, see what is in force with `tapewatch config
# show`. Flags and environment variables (TAPEWATCH_LOG__LEVEL means log.level) go before it.
# Durations are written 1h30m, 15s or 250ms; a bare number means seconds.

# Where the page, the APIs and /metrics are served. Off this machine a token is required.
listen: 127.0.0.1:8090

# The zone of alert times and of the dates of alert files.
timezone: UTC

# The engines that should be running: one that is missing raises an alert. Others are watched
# from their first tick on. `cadence` is the expected time between two ticks.
engines: []
#  - name: momentum
#    cadence: 1s
#    grace: 60s

# Files whose age matters. A missing file is an alert of its own.
artifacts: []
#  - name: teacher_model
#    path: /srv/models/teacher.pkl
#    engine: momentum

# When the market is open. Without it the session counts as always open.
#session:
#  name: XNSE
#  timezone: Asia/Kolkata
#  weekdays: [mon, tue, wed, thu, fri]
#  open: 09:15
#  close: 15:30
#  holidays: [2026-12-25]

# Rules that come with Tapewatch, with thresholds of your own.
packs:
  - name: engine
    thresholds:
#      daily_loss_warning_pct: 3
  - name: self

# Your own Prometheus rule files, as paths or patterns; relative ones lie beside this file.
rules: []
#  - rules/*.yaml

# Who is told. `log` writes to the daemon's log, `jsonl` to logs/alerts/<date>.jsonl below the
# data directory, `webhook` posts the payload that Alertmanager posts.
receivers:
  - name: log
    kind: log
  - name: jsonl
    kind: jsonl
#  - name: ops
#    kind: webhook
#    url: http://127.0.0.1:9000/alerts
#    min_severity: warning
#    secret_file: /etc/tapewatch/ops.secret

alerts:
  # The shortest time between two notifications of one alert, and between reminders.
  cooldowns:
    info: 10m
    warning: 5m
    critical: 1m
    emergency: 10s
  repeat_interval: 4h
  # People to be told by receivers that need addresses.
  recipients: []

monitoring:
  enabled: true
  # An engine that declares no cadence counts as stalled after so long without a tick.
  heartbeat_interval: 60s

storage:
  metrics_retention: 30d
  alerts_retention: 90d

snapshots:
  enabled: true
  interval: 60s

#web:
#  auth_token_file: /etc/tapewatch/token
#  allowed_hosts: [monitor.example.org]

#log:
#  level: info
#  format: auto
#  file:
#    path: /var/log/tapewatch/tapewatch.log
"""


def starter_text() -> str:
    """Return the starter configuration."""
    return _TEXT.format(schema=schema_path())
