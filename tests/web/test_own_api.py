"""Health routes and Tapewatch's own API: shapes, codes, filters."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from tapewatch.model.alert import AlertState
from tapewatch.model.errors import ConfigError, Problem, StorageError
from tapewatch.model.health import HealthStatus
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricType
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.service import ENGINE, FakeService, alert
from tapewatch.web.exposition import MetricFamily

CHANGE = {"x-tapewatch": "1"}


@pytest.fixture
def service() -> FakeService:
    fake = FakeService()
    now = fake.now_ns()
    fake.all_alerts = [
        alert("daily_loss_high", now, age_s=60, value=-5.2),
        alert("api_quota_low", now, age_s=7200, severity=AlertSeverity.INFO),
        alert(
            "stale_model",
            now,
            age_s=30,
            lasted_s=5,
            state=AlertState.RESOLVED,
            severity=AlertSeverity.WARNING,
        ),
    ]
    return fake


@pytest.fixture
def client(serve, service, token):
    return serve(service, token=token).client(token=token)


@pytest.mark.requirement("S2-09", "S4-75")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (HealthStatus.HEALTHY, 200),
        (HealthStatus.DEGRADED, 200),
        (HealthStatus.UNHEALTHY, 503),
        (HealthStatus.CRITICAL, 503),
        (HealthStatus.UNKNOWN, 503),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/health/detailed"])
def test_health_is_200_when_it_serves_and_503_when_it_does_not_or_nobody_knows(
    client, service, status, code, path
):
    service.overall = status
    answer = client.get(path)
    assert answer.status_code == code
    assert answer.json()["ok"] is (code == 200)
    assert answer.json()["status"] == status.value


@pytest.mark.requirement("S2-10", "S4-76")
def test_detailed_health_shows_every_check_with_its_evidence(client):
    checks = client.get("/health/detailed").json()["checks"]
    assert checks[ENGINE]["details"] == {"last_tick_age_seconds": 0.2}


@pytest.mark.requirement("S2-11")
def test_one_services_health_has_its_own_route_and_404_for_an_unknown_name(client, service):
    assert client.get("/health/service/storage").json()["status"] == "healthy"
    service.checks["storage"] = {"status": HealthStatus.CRITICAL, "message": "disk full"}
    answer = client.get("/health/service/storage")
    assert (answer.status_code, answer.json()["message"]) == (503, "disk full")
    missing = client.get("/health/service/nothing")
    assert missing.status_code == 404
    error = missing.json()["error"]
    assert set(error) == {"code", "message", "next_step"}
    assert error["code"] == "not_found"
    assert "storage" in error["next_step"]


def test_liveness_is_about_the_process_and_readiness_about_serving(client, service):
    service.overall = HealthStatus.CRITICAL
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    service.not_ready = ("draining",)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])
    assert client.get("/livez").status_code == 200
    service.is_live = False
    assert client.get("/livez").status_code == 503


@pytest.mark.requirement("S2-14")
def test_status_is_a_json_summary(client):
    assert client.get("/status").json()["engines"] == 1


@pytest.mark.requirement("S5-46", "S5-57")
def test_alerts_have_the_six_fields_and_can_be_filtered(client):
    def rules(**fields):
        answer = client.get("/api/tapewatch/alerts", params=fields)
        assert answer.status_code == 200
        return [record["rule"] for record in answer.json()["alerts"]]

    assert rules() == ["stale_model", "daily_loss_high", "api_quota_low"]
    assert rules(active="true") == ["daily_loss_high", "api_quota_low"]
    assert rules(active="false") == ["stale_model"]
    assert rules(severity="WARNING") == ["stale_model", "daily_loss_high"]
    assert rules(since="1h") == ["stale_model", "daily_loss_high"]
    assert rules(since="2026-01-05T14:44:30+05:30") == ["stale_model"]
    assert rules(since="1767604470") == ["stale_model"]
    assert rules(limit=1) == ["stale_model"]
    record = client.get("/api/tapewatch/alerts").json()["alerts"][1]
    assert list(record)[:6] == [
        "timestamp",
        "severity",
        "rule",
        "message",
        "context",
        "acknowledged",
    ]
    assert (record["severity"], record["value"]) == ("CRITICAL", -5.2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("active", "yes"),
        ("severity", "severe"),
        ("since", "yesterday"),
        ("since", "2026-01-05T14:44:30"),
        ("since", "1e999"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "٣"),
    ],
)
def test_a_wrong_filter_is_a_400_that_names_it(client, name, value):
    answer = client.get("/api/tapewatch/alerts", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(name)


@pytest.mark.requirement("S5-74")
def test_an_alert_is_taken_by_id_or_rule_with_name_and_note(client, service):
    ref = service.all_alerts[0].id
    path = f"/api/tapewatch/alerts/{ref}/acknowledge"
    answer = client.post(path, json={"by": " Asha ", "note": "on it"}, headers=CHANGE)
    assert answer.status_code == 200
    record = answer.json()["alert"]
    assert record["acknowledged"] is True
    assert record["acknowledgement"]["by"] == "Asha"
    assert record["acknowledgement"]["note"] == "on it"
    by_rule = client.post(
        "/api/tapewatch/alerts/api_quota_low/acknowledge", json={"by": "Asha"}, headers=CHANGE
    )
    assert by_rule.json()["alert"]["rule"] == "api_quota_low"


@pytest.mark.parametrize(
    ("ref", "failure", "status", "code"),
    [
        ("nothing", None, 404, "not_found"),
        ("stale_model", None, 409, "conflict"),
        ("daily_loss_high", StorageError("the disk is full"), 503, "storage_unusable"),
    ],
)
def test_what_cannot_be_taken_says_why_in_the_common_shape(
    client, service, ref, failure, status, code
):
    service.fail_with = failure
    answer = client.post(
        f"/api/tapewatch/alerts/{ref}/acknowledge", json={"by": "Asha"}, headers=CHANGE
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_failed_reload_lists_every_problem_with_its_place(client, service):
    service.fail_with = ConfigError([Problem("tw.yaml", 3, 5, 'unknown key "webb"')])
    answer = client.post("/-/reload", json={}, headers=CHANGE)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "config_invalid"
    assert error["problems"] == [
        {"path": "tw.yaml", "line": 3, "column": 5, "message": 'unknown key "webb"'}
    ]
    service.fail_with = None
    assert client.post("/-/reload", json={}, headers=CHANGE).json() == {"reloaded": True}


def test_the_live_picture_says_whether_this_client_may_change_things(serve, service, token):
    with_token = serve(service, token=token).client(token=token).get("/api/tapewatch/live").json()
    assert with_token["may_change"] is True
    assert with_token["live"]["active_alerts"][0]["rule"] == "daily_loss_high"
    without = serve(service).client().get("/api/tapewatch/live").json()
    assert without["may_change"] is False


@pytest.mark.requirement("F58")
def test_numbers_that_json_does_not_know_become_null_and_odd_text_stays_valid(client, service):
    service.engine_views[0]["equity"] = float("nan")
    service.engine_views[0]["name"] = "a\ud800b"
    shown = client.get("/api/tapewatch/engines").json()["engines"][0]
    assert shown["equity"] is None
    assert shown["name"] == "a\ud800b"


@pytest.mark.requirement("T27")
def test_the_config_view_is_what_the_daemon_masked(client):
    assert client.get("/api/tapewatch/config").json()["web"]["token"] == "***"


def test_a_wrong_method_is_405_in_the_common_shape(client):
    answer = client.get("/-/reload")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    answer = client.delete("/status", headers=CHANGE | {"content-type": "application/json"})
    assert answer.status_code == 405


@pytest.mark.requirement("S2-07", "S2-13", "S4-78")
def test_metrics_are_negotiated_and_hold_the_daemons_and_the_rooms_own(client, service):
    service.metric_families = [
        MetricFamily(
            "ticks_total", MetricType.COUNTER, "Ticks.", labels=(Labels.of(engine="a"),), values=[7]
        )
    ]
    text = client.get("/metrics")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'ticks_total{engine="a"} 7' in text.text
    assert "tapewatch_http_responses_total" in text.text
    openmetrics = client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1")
    names = {family.name for family in parse_openmetrics(openmetrics.text)}
    assert {"ticks", "tapewatch_http_responses", "tapewatch_collector_up"} <= names


@pytest.mark.server("promtool")
def test_promtool_accepts_the_whole_of_metrics(client):
    promtool = shutil.which("promtool")
    assert promtool is not None
    client.get("/nothing")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=client.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
