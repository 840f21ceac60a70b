"""The Prometheus API answers in Prometheus's shapes, kinds and codes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.model.alert import AlertState
from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.labels import Labels
from tapewatch.model.severity import AlertSeverity
from tapewatch.testing.clock import TestClock
from tapewatch.testing.service import FakeService, alert
from tapewatch.web.facade import RuleGroupView, RuleView
from tapewatch.web.prometheus_json import (
    exponent_text,
    float_text,
    float_texts,
    iso_time,
    text_json,
    time_text,
)

NOW_S = TestClock().now_ns() // SECOND


@pytest.fixture
def service() -> FakeService:
    fake = FakeService()
    now = fake.now_ns()
    times = [now - i * 15 * SECOND for i in range(40, -1, -1)]
    for engine, base in (("a", 100.0), ("b", -5.5)):
        labels = Labels.of("pnl_daily", engine=engine, note='say "hi"')
        fake.querier.add(labels, times, [base + i for i in range(41)])
    fake.querier.add(Labels.of("ticks_total", engine="a"), times, [i * 30.0 for i in range(41)])
    return fake


@pytest.fixture
def api(serve, service):
    return serve(service).client()


def data(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "success"
    return body["data"]


@pytest.mark.requirement("S1-48")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_instant_query_gives_a_vector_with_string_values(api, method):
    fields = {"query": 'pnl_daily{engine="b"}', "time": str(NOW_S)}
    how = {"params": fields} if method == "GET" else {"data": fields}
    assert data(api.request(method, "/api/v1/query", **how)) == {
        "resultType": "vector",
        "result": [
            {
                "metric": {"__name__": "pnl_daily", "engine": "b", "note": 'say "hi"'},
                "value": [NOW_S, "34.5"],
            }
        ],
    }


def test_without_a_time_the_query_is_about_now(api):
    assert len(data(api.get("/api/v1/query", params={"query": "pnl_daily"}))["result"]) == 2


def test_a_time_may_be_rfc_3339_or_a_float(api):
    for when in ("2026-01-05T09:15:00Z", "2026-01-05T14:45:00+05:30", f"{NOW_S}.000"):
        found = data(api.get("/api/v1/query", params={"query": "sum(pnl_daily)", "time": when}))
        assert found["result"] == [{"metric": {}, "value": [NOW_S, "174.5"]}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("1 + 1", {"resultType": "scalar", "result": [NOW_S, "2"]}),
        ('"text"', {"resultType": "string", "result": [NOW_S, "text"]}),
        ("absent(pnl_daily)", {"resultType": "vector", "result": []}),
        ("1 / 0", {"resultType": "scalar", "result": [NOW_S, "+Inf"]}),
        ("0 / 0", {"resultType": "scalar", "result": [NOW_S, "NaN"]}),
    ],
)
def test_scalars_and_strings_carry_the_time_of_the_query(api, query, expected):
    assert data(api.get("/api/v1/query", params={"query": query, "time": NOW_S})) == expected


def test_a_range_selector_gives_a_matrix(api):
    found = data(api.get("/api/v1/query", params={"query": 'ticks_total{engine="a"}[31s]'}))
    assert found["resultType"] == "matrix"
    assert found["result"][0]["values"] == [
        [NOW_S - 30, "1140"],
        [NOW_S - 15, "1170"],
        [NOW_S, "1200"],
    ]


@pytest.mark.parametrize("step", ["60", "1m", "60.0"])
def test_a_range_query_evaluates_at_every_step(api, step):
    fields = {"query": "sum(pnl_daily)", "start": NOW_S - 120, "end": NOW_S, "step": step}
    found = data(api.get("/api/v1/query_range", params=fields))
    values = [[NOW_S - 120, "158.5"], [NOW_S - 60, "166.5"], [NOW_S, "174.5"]]
    assert found == {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("query", {}, 'invalid parameter "query"'),
        ("query", {"query": "sum("}, 'invalid parameter "query"'),
        ("query", {"query": "1", "time": "yesterday"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "time": "1e400"}, 'invalid parameter "time"'),
        ("query", {"query": "1", "time": "NaN"}, 'invalid parameter "time"'),
        ("query", {"query": "(" * 10_000}, 'invalid parameter "query"'),
        ("query", {"query": "+".join(["1"] * 5_001)}, 'invalid parameter "query"'),
        ("query_range", {"query": "1"}, 'invalid parameter "start"'),
        ("query_range", {"query": "1", "start": 10, "end": 5, "step": 1}, "before start time"),
        ("query_range", {"query": "1", "start": 0, "end": 5, "step": 0}, "zero or negative"),
        ("query_range", {"query": "1", "start": 0, "end": 5, "step": "x"}, "valid duration"),
        ("query_range", {"query": "1", "start": 0, "end": 20_000, "step": 1}, "11,000 points"),
        ("series", {}, "no match[] parameter provided"),
        ("series", {"match[]": "{"}, 'invalid parameter "match[]"'),
        ("series", {"match[]": "a + b"}, "one series selector"),
        ("labels", {"match[]": "a", "start": "x"}, 'invalid parameter "start"'),
        ("label/bad-name/values", {}, "invalid label name"),
        ("rules", {"type": "x"}, "invalid query parameter type"),
    ],
)
def test_what_is_wrong_is_bad_data_with_the_parameters_name(api, path, fields, words):
    answer = api.get(f"/api/v1/{path}", params=fields)
    assert answer.status_code == 400
    body = answer.json()
    assert body["status"] == "error"
    assert body["errorType"] == "bad_data"
    assert words in body["error"]


def test_a_long_query_by_post_is_not_bounded_by_the_request_line(api):
    query = "sum(pnl_daily) # " + "x" * 5_000
    assert data(api.post("/api/v1/query", data={"query": query}))["resultType"] == "vector"


def test_a_post_that_is_no_form_is_bad_data(api):
    answer = api.post("/api/v1/query", json={"query": "1"})
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")


def test_what_cannot_be_evaluated_is_422_execution(api):
    query = "pnl_daily * on(note) pnl_daily"
    answer = api.get("/api/v1/query", params={"query": query})
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")


def test_an_unknown_path_and_an_unforeseen_failure_keep_the_shape(serve):
    class Broken(FakeService):
        def rule_groups(self):
            raise RuntimeError("secret text")

    client = serve(Broken()).client()
    missing = client.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["errorType"]) == (404, "not_found")
    broken = client.get("/api/v1/rules")
    assert (broken.status_code, broken.json()["errorType"]) == (500, "internal")
    assert "secret text" not in broken.text


def test_warnings_and_infos_travel_with_the_result(api):
    body = api.get("/api/v1/query", params={"query": "rate(pnl_daily[5m])"}).json()
    assert any("pnl_daily" in info for info in body.get("infos", []))


def test_series_labels_and_values_can_be_listed_and_limited(api):
    fields = {"match[]": ['pnl_daily{engine="b"}', "ticks_total"]}
    found = data(api.get("/api/v1/series", params=fields))
    assert [each["__name__"] for each in found] == ["pnl_daily", "ticks_total"]
    assert data(api.get("/api/v1/labels")) == ["__name__", "engine", "note"]
    assert data(api.post("/api/v1/labels", data={"match[]": "ticks_total"})) == [
        "__name__",
        "engine",
    ]
    assert data(api.get("/api/v1/label/engine/values")) == ["a", "b"]
    assert data(api.get("/api/v1/label/__name__/values")) == ["pnl_daily", "ticks_total"]
    limited = api.get("/api/v1/label/engine/values", params={"limit": 1}).json()
    assert limited["data"] == ["a"]
    assert limited["warnings"] == ["results truncated due to limit"]


@pytest.fixture
def groups(service):
    now = service.now_ns()
    firing = alert("daily_loss_high", now, value=-5.2, annotations={"summary": "lost 5.2 %"})
    pending = alert("stale_model", now, state=AlertState.PENDING, severity=AlertSeverity.WARNING)
    unknown = replace(alert("heartbeat_lapsed", now), state=AlertState.UNKNOWN)
    rules = (
        RuleView(
            "daily_loss_high",
            "risk_daily_loss_pct < -5",
            True,
            {"severity": "critical"},
            {"summary": "lost {{ $value }} %"},
            for_ns=2 * SECOND,
            alerts=(firing,),
            evaluated_at_ns=now,
            evaluation_ns=250_000,
        ),
        RuleView("stale_model", "age > 24", True, alerts=(pending,), evaluated_at_ns=now),
        RuleView("heartbeat_lapsed", "up == 0", True, alerts=(unknown,), evaluated_at_ns=now),
        RuleView("quiet", "vector(0) > 1", True),
        RuleView("job:pnl:sum", "sum(pnl_daily)", False, last_error="boom", evaluated_at_ns=now),
    )
    service.groups = [
        RuleGroupView("engine", "pack:engine", MINUTE, rules, evaluated_at_ns=now),
        RuleGroupView("mine", "/etc/rules.yml", 15 * SECOND, (), limit=10),
    ]
    return service.groups


def test_rules_show_state_timing_and_alerts_as_prometheus_does(api, groups):
    shown = data(api.get("/api/v1/rules"))["groups"]
    assert [(g["name"], g["file"], g["interval"], g["limit"]) for g in shown] == [
        ("engine", "pack:engine", 60.0, 0),
        ("mine", "/etc/rules.yml", 15.0, 10),
    ]
    first, *_, recording = shown[0]["rules"]
    assert first == {
        "state": "firing",
        "name": "daily_loss_high",
        "query": "risk_daily_loss_pct < -5",
        "duration": 2.0,
        "keepFiringFor": 0.0,
        "labels": {"severity": "critical"},
        "annotations": {"summary": "lost {{ $value }} %"},
        "alerts": [
            {
                "labels": {
                    "alertname": "daily_loss_high",
                    "engine": "momentum-equities",
                    "severity": "critical",
                },
                "annotations": {"summary": "lost 5.2 %"},
                "state": "firing",
                "activeAt": "2026-01-05T09:14:00Z",
                "value": "-5.2e+00",
            }
        ],
        "health": "ok",
        "evaluationTime": 0.00025,
        "lastEvaluation": "2026-01-05T09:15:00Z",
        "type": "alerting",
    }
    assert [r["state"] for r in shown[0]["rules"][:4]] == [
        "firing",
        "pending",
        "firing",
        "inactive",
    ]
    assert shown[0]["rules"][3]["health"] == "unknown"
    assert recording["type"] == "recording"
    assert (recording["health"], recording["lastError"]) == ("err", "boom")


def test_rules_can_be_filtered(api, groups):
    def names(**fields):
        shown = data(api.get("/api/v1/rules", params=fields))["groups"]
        return [rule["name"] for group in shown for rule in group["rules"]]

    assert names(type="record") == ["job:pnl:sum"]
    assert "job:pnl:sum" not in names(type="alert")
    assert names(**{"rule_name[]": "quiet"}) == ["quiet"]
    assert names(**{"rule_group[]": "mine"}) == []
    assert len(names(**{"file[]": "pack:engine"})) == 5
    bare = data(api.get("/api/v1/rules", params={"exclude_alerts": "true"}))["groups"]
    assert bare[0]["rules"][0]["alerts"] == []


def test_alerts_list_pending_and_firing_and_show_unknown_as_firing_with_a_note(api, groups):
    shown = data(api.get("/api/v1/alerts"))["alerts"]
    assert [a["state"] for a in shown] == ["firing", "pending", "firing"]
    assert "unknown" in shown[2]["annotations"]["tapewatch_state"]


def test_build_info_names_the_prometheus_whose_api_is_spoken(api):
    info = data(api.get("/api/v1/status/buildinfo"))
    assert info["version"] == "3.5.0"
    assert info["application"] == "Tapewatch"


@pytest.mark.server("promtool")
def test_promtool_can_query(serve, service):
    promtool = shutil.which("promtool")
    assert promtool is not None
    url = serve(service).url
    done = subprocess.run(
        [promtool, "query", "instant", url, "sum(pnl_daily)", "--time", str(NOW_S)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"{{}} => 174.5 @[{NOW_S}]", done.stderr
    done = subprocess.run(
        [
            promtool,
            "query",
            "series",
            "--match=ticks_total",
            f"--start={NOW_S - 60}",
            f"--end={NOW_S}",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'engine="a"' in done.stdout, done.stderr


@given(st.floats())
def test_a_float_is_written_so_that_it_reads_back_equal(value):
    text = float_text(value)
    back = float(text.replace("Inf", "inf"))
    assert back == value or (math.isnan(back) and math.isnan(value))
    small = abs(value) < 1e-6 or abs(value) >= 1e21
    assert ("e" in text) == (small and value != 0 and math.isfinite(value))


@given(st.lists(st.floats() | st.integers(-1000, 1000).map(float)))
def test_a_column_is_written_as_its_values_one_by_one(values):
    assert float_texts(values) == [float_text(v) for v in values]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_alerts_value_has_one_digit_before_the_point_and_an_exponent(value):
    text = exponent_text(value)
    assert float(text) == value
    mantissa, _, exponent = text.partition("e")
    assert len(mantissa.lstrip("-").split(".")[0]) == 1
    assert exponent[0] in "+-"
    assert len(exponent) >= 3


@given(st.integers(min_value=-(1 << 40), max_value=1 << 42))
def test_a_time_has_milliseconds_only_where_there_are_any(ms):
    text = time_text(ms * 1_000_000)
    assert round(float(text) * 1000) == ms
    assert ("." in text) == (ms % 1000 != 0)


@given(st.text())
def test_any_text_becomes_valid_json(text):
    back = json.loads(text_json(text))
    if all(not 0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert back == text


def test_what_has_never_been_has_the_zero_time():
    assert iso_time(None) == "0001-01-01T00:00:00Z"
    assert iso_time(1_767_604_500_250_000_000) == "2026-01-05T09:15:00.25Z"
