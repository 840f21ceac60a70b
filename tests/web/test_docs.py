"""The reference page names every route, error code and metric that there is."""

from __future__ import annotations

import re
from pathlib import Path

from tapewatch.testing.service import FakeService
from tapewatch.web.app import create_app
from tapewatch.web.own_metrics import WebMetrics
from tapewatch.web.settings import WebSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/http-api.md").read_text()


def test_every_route_and_method_is_on_the_page(token):
    app = create_app(FakeService(), WebSettings(token=token))
    for route in app.routes:
        methods = " ".join(sorted((route.methods or set()) - {"HEAD"}))
        path = route.path
        if path.startswith("/static/"):
            assert "`/static/`" in PAGE
        else:
            assert f"{methods} {path}" in PAGE, (methods, path)


def test_every_error_code_is_on_the_page():
    codes = {"config_invalid", "bad_query", "storage_unusable", "not_found", "conflict"}
    for file in (ROOT / "src/tapewatch/web").glob("*.py"):
        text = file.read_text()
        codes |= set(re.findall(r'error_response\(\s*\d+,\s*"(\w+)"', text))
        codes |= set(re.findall(r'\d{3}: \("(\w+)"', text))
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in PAGE, code


def test_every_metric_of_the_web_room_is_on_the_page():
    names = [family.name for family in WebMetrics().families()]
    assert len(names) == 7
    for name in [*names, "tapewatch_collector_up"]:
        assert f"`{name}`" in PAGE, name


def test_every_reason_for_cutting_a_connection_is_on_the_page():
    text = (ROOT / "src/tapewatch/web/connections.py").read_text()
    reasons = set(re.findall(r'connections_cut\["(\w+)"\]|return "(\w+)"|, "(\w+_full)"', text))
    found = {name for groups in reasons for name in groups if name}
    assert found >= {"head_too_slow", "not_reading", "reserve_full", "foreign_peer"}
    for name in found:
        assert f"`{name}`" in PAGE, name
