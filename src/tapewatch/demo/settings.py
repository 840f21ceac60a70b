"""The daemon's configuration for the demo, written as a person would write it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from tapewatch.demo.engine import ENGINE_NAME
from tapewatch.demo.models import STUDENT_FILE, TEACHER_FILE
from tapewatch.demo.tick import POSITION_LIMIT

TEMPLATE = """\
# Made by `tapewatch demo`. Cool-downs are off: each fault of the timetable is to be heard.
alerts:
  cooldowns: {{info: 0s, warning: 0s, critical: 0s, emergency: 0s}}
engines:
  - name: {engine}
artifacts:
  - {{name: teacher_model, path: {teacher}, engine: {engine}}}
  - {{name: student_model, path: {student}, engine: {engine}}}
packs:
  - name: engine
    thresholds: {{max_position_value: {position_limit:.0f}}}
rules:
  - {rules}
snapshots:
  interval: 10s
receivers:
  - {{name: jsonl, kind: jsonl}}
  - {{name: demo, kind: webhook, url: {sink}}}
"""


def write_settings(data_dir: Path, sink_url: str) -> Path:
    """Write configuration and rule file into the data directory; return the configuration."""
    rules = data_dir / "demo-rules.yaml"
    rules.write_bytes(resources.files("tapewatch.demo").joinpath("rules.yaml").read_bytes())
    config = data_dir / "demo.yaml"
    models = data_dir / "demo"
    # JSON strings are YAML strings: a path with a colon or a quote stays one value.
    text = TEMPLATE.format(
        engine=ENGINE_NAME,
        teacher=json.dumps(str(models / TEACHER_FILE)),
        student=json.dumps(str(models / STUDENT_FILE)),
        rules=json.dumps(str(rules)),
        position_limit=POSITION_LIMIT,
        sink=json.dumps(sink_url),
    )
    config.write_text(text, encoding="utf-8")
    return config
