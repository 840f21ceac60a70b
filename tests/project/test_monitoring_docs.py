"""The pages about monitoring an engine say what the code does, all of it."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tapewatch import MonitoringService
from tapewatch.config.model import Settings
from tapewatch.config.packs import load_pack
from tapewatch.ingest.artifacts import Freshness
from tapewatch.model import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "reference/monitoring-service.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to/embed-monitoring-service.md").read_text(encoding="utf-8")
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """Return what stands below a heading, up to the next one of its level."""
    level = title.partition(" ")[0]
    found = page.partition(f"\n{title}\n")[2]
    return re.split(rf"^{level} ", found, flags=re.MULTILINE)[0]


def public_methods() -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(MonitoringService, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.requirement("S5-107")
def test_the_reference_shows_each_method_as_it_is_called() -> None:
    rows = {
        match[1]: match[2] for match in re.finditer(r"^\| `(\w+)\((.*?)\)` \|", PAGE, re.MULTILINE)
    }
    assert rows.keys() == public_methods().keys()
    for name, signature in public_methods().items():
        told = [part.partition("=")[0].lstrip("*") for part in rows[name].split(", ") if part]
        assert told == list(signature.parameters)[1:], name
        defaults = {p.name: p.default for p in signature.parameters.values()}
        for part in rows[name].split(", "):
            argument, _, default = part.partition("=")
            if default:
                assert repr(defaults[argument]) == default


@pytest.mark.requirement("S5-107")
def test_the_reference_shows_each_argument_and_its_default() -> None:
    signature = inspect.signature(MonitoringService)
    call = PAGE.partition("```python\n")[2].partition("```")[0]
    shown = re.sub(r"\s+", " ", call)
    arguments = list(signature.parameters.values())
    parts = [f"{p.name}={p.default!r}".replace("'", '"') for p in arguments]
    parts.insert(1, "*")
    assert shown.strip() == f"MonitoringService({', '.join(parts)})"
    assert [p.name for p in arguments if f"\n| `{p.name}` |" not in PAGE] == []


@pytest.mark.requirement("S5-107")
def test_the_reference_names_every_field_and_error(tmp_path: Path) -> None:
    fields = [f.name for f in dataclasses.fields(Freshness)] + ["age_hours"]
    told = section(PAGE, "### `Freshness`")
    assert [name for name in fields if f"\n| `{name}` |" not in told] == []

    service = MonitoringService("doc", data_dir=tmp_path, start_daemon=False)
    collected = service.collect_metrics()
    service.close()
    told = section(PAGE, "### What `collect_metrics` returns")
    paths = [
        f"{group}.{name}" if isinstance(value, dict) else group
        for group, value in collected.items()
        for name in (value if isinstance(value, dict) else [""])
    ]
    assert [path for path in paths if f"\n| `{path}` |" not in told] == []

    raised = set(re.findall(r"`(\w+Error)`", PAGE))
    assert raised == set(re.findall(r"^\s+(\w+Error):", inspect.getsource(MonitoringService), re.M))
    assert all(issubclass(getattr(errors, name), errors.TapewatchError) for name in raised)


@pytest.mark.requirement("S5-26", "S5-63", "S5-107")
def test_the_settings_of_the_engine_have_the_place_and_default_that_the_guide_says() -> None:
    told = section(HOW_TO, "## Settings")
    settings = Settings()
    assert settings.monitoring.enabled is True
    assert settings.monitoring.heartbeat_interval == 60 * 10**9
    assert list(settings.alerts.recipients) == []
    keys = ["monitoring.enabled", "monitoring.heartbeat_interval", "alerts.recipients"]
    thresholds = load_pack("engine").thresholds
    expected = {
        "max_sentiment_failures": 5,
        "sentiment_window_seconds": 3600,
        "artifact_stale_hours": 24,
        "daily_loss_warning_pct": 4,
        "daily_loss_critical_pct": 5,
        "max_open_positions": 20,
        "max_position_value": float("inf"),
    }
    assert {name: abs(thresholds[name]) for name in expected} == expected
    assert [key for key in [*keys, *expected] if f"`{key}`" not in told] == []


STAND_IN = """
class _Bound:
    def __init__(self, fields):
        self.fields = fields
    def bind(self, **fields):
        return _Bound({**self.fields, **fields})
    def opt(self, **_options):
        return self
    def log(self, level, text, *values):
        print(level, self.fields["component"], text.format(*values))
logger = _Bound({})
"""
WITH_LOGURU = """
import sys
import loguru
if hasattr(loguru.logger, "add"):
    loguru.logger.remove()
    loguru.logger.add(sys.stdout, format="{level} {extra[component]} {message}")
import loguru_bridge
from tapewatch import MonitoringService
service = MonitoringService("alpha", data_dir=sys.argv[1], start_daemon=False)
(alert,) = service.evaluate_alerts({"circuit_breaker_active": True})
service.emit_alert(alert)
service.close()
"""


@pytest.mark.requirement("S5-38", "S5-66", "S5-107")
def test_the_bridge_of_the_guide_carries_the_component_to_loguru(tmp_path: Path) -> None:
    """With the real loguru where it is installed, else with something that has its methods."""
    bridge = HOW_TO.partition("<!-- file: loguru_bridge.py -->\n```python\n")[2]
    (tmp_path / "loguru_bridge.py").write_text(bridge.partition("```")[0])
    code = "import importlib.util as u; print(u.find_spec('loguru') is not None)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if found.stdout.strip() != "True":
        (tmp_path / "loguru.py").write_text(STAND_IN)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", WITH_LOGURU, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("INFO monitoring monitoring 'alpha' in ")
    assert lines[1].startswith("WARNING alert alert circuit_breaker_triggered (CRITICAL): ")


@pytest.mark.requirement("S5-96")
def test_the_architecture_has_its_section_on_monitoring_with_a_diagram() -> None:
    told = section(ARCHITECTURE, "## Monitoring & Alerts")
    assert "record_tick(metrics)" in told and "┌" in told, "the picture of how it is fitted in"
    groups = ("heartbeat", "positions", "pnl", "risk", "sentiment", "connectivity", "artifacts")
    assert [group for group in groups if f"| `{group}` |" not in told] == []
    assert "`logs/alerts/<date>.jsonl`" in told
    assert "`data/monitoring/metrics_<timestamp>.json`" in told

    picture = re.search(r"!\[[^\]]+\]\((images/[\w.]+)\)", ARCHITECTURE)
    assert picture is not None
    assert (DOCS / picture[1]).read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.requirement("S5-96", "S5-06", "S5-09", "S5-10", "S5-11", "S5-12")
def test_the_architecture_gives_each_rule_the_severity_it_has() -> None:
    told = section(ARCHITECTURE, "## Monitoring & Alerts")
    have: dict[str, set[str]] = {}
    for group in load_pack("engine").groups:
        for rule in group.rules:
            have.setdefault(rule.name, set()).add(rule.labels.get("severity", "").upper())
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([A-Z, ]+) \|", told, re.MULTILINE)
    assert len(rows) >= 10
    for names, severities in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert have[name] == set(severities.split(", ")), name


@pytest.mark.requirement("S5-67")
@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="the source distribution has no CI")
def test_a_submission_passes_ruff_mypy_and_pytest() -> None:
    def recipe(target: str) -> str:
        asked = ["make", "-n", "--no-print-directory", target]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert steps.splitlines()[0].startswith("#!") and re.search(r"^set -\w*e", steps, re.MULTILINE)
    assert re.search(r"^make check$", steps, re.MULTILINE)
    assert re.search(r"^make test$", steps, re.MULTILINE)
    check, test = recipe("check"), recipe("test")
    for tool in ("ruff check", "ruff format --check", "-m mypy"):
        assert tool in check
    assert "-m pytest --cov" in test
