"""Nothing is answered that has not been let in."""

from __future__ import annotations

import itertools
import json

import httpx2
import pytest
from starlette.routing import Route

from tapewatch.testing.service import FakeService, alert
from tapewatch.web.guard import HEALTH_PATHS
from tapewatch.web.throttle import FailureThrottle

CHANGE = {"x-tapewatch": "1"}
CANARY = "canary-3f9a"


def paths_of(routes: list[Route]) -> list[tuple[str, str]]:
    """Return every method and path of the route table, with names filled in."""
    found = []
    for route in routes:
        path = route.path.replace("{name}", "engine").replace("{ref}", "daily_loss_high")
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


UNKNOWN = [
    "/nothing",
    "/api",
    "/api/v1/",
    "/api/v1/admin/tsdb/delete_series",
    "/static/",
    "/static/nothing.js",
    "/static/../app.py",
    "/health/",
    "/health/..",
    "//health",
    "/health//",
    "/HEALTH",
    "/health;x",
    "/livez/../status",
    "/healthz",
    "/-/",
    "/debug/pprof",
    "/favicon.ico",
]


@pytest.mark.requirement("T2")
def test_without_the_token_every_route_and_unknown_path_is_401(serve, token):
    server = serve(token=token)
    table = paths_of(server.app.routes)
    assert len(table) > 30
    walks = table + [
        (method, path)
        for method, path in itertools.product(("GET", "POST", "PUT", "DELETE"), UNKNOWN)
    ]
    walks += [(method, "/status") for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")]
    with server.client() as client:
        for method, path in walks:
            answer = client.request(method, path)
            if path in HEALTH_PATHS and method in ("GET", "HEAD"):
                assert answer.status_code == 200, (method, path)
            else:
                assert answer.status_code == 401, (method, path)
                if method != "HEAD":
                    assert answer.json()["error"]["code"] == "unauthorized"


@pytest.mark.requirement("T2")
def test_health_without_the_token_says_ok_and_status_only(serve, token):
    service = FakeService()
    service.overall_reason = CANARY
    server = serve(service, token=token)
    with server.client() as client:
        assert client.get("/health").json() == {"ok": True, "status": "healthy"}
        assert client.get("/livez").json() == {"ok": True}
        service.not_ready = (CANARY,)
        assert client.get("/readyz").json() == {"ok": False}
    with server.client(token=token) as client:
        assert CANARY in client.get("/health").text
        assert client.get("/readyz").json() == {"ok": False, "reasons": [CANARY]}


@pytest.mark.requirement("T2")
def test_metrics_are_open_only_where_that_is_set(serve, token):
    assert serve(token=token).client().get("/metrics").status_code == 401
    assert serve(token=token, metrics_public=True).client().get("/metrics").status_code == 200


@pytest.mark.requirement("T2")
def test_a_websocket_upgrade_is_refused_like_everything_else(serve, token):
    head = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert serve(token=token).raw(head).startswith(b"HTTP/1.1 401")


@pytest.mark.requirement("T4")
@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer wrong",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "bearer {token}x",
        "Bearer {token}, Bearer {token}",
        "{token}",
        "Bearer tökén",
        "Bearer \u00ff",
    ],
)
def test_a_wrong_absent_or_malformed_token_gets_the_same_401(serve, token, credentials):
    server = serve(token=token)
    absent = server.client().get("/status")
    value = credentials.format(token=token).encode("latin-1")
    wrong = server.client().get("/status", headers=[(b"authorization", value)])
    assert (wrong.status_code, wrong.content) == (absent.status_code, absent.content)
    assert absent.status_code == 401
    assert absent.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.requirement("T4")
def test_two_authorization_headers_are_malformed_even_when_one_is_right(serve, token):
    right = (b"authorization", f"Bearer {token}".encode())
    client = serve(token=token).client()
    assert (
        client.get("/status", headers=[right, (b"authorization", b"Bearer x")]).status_code == 401
    )
    assert client.get("/status", headers=[right]).status_code == 200


@pytest.mark.requirement("T4")
def test_after_ten_wrong_tokens_an_address_must_wait_and_the_daemon_hears_of_it(serve, token):
    service = FakeService()
    server = serve(service, token=token)
    with server.client(token="wrong") as client:
        codes = [client.get("/status").status_code for _ in range(12)]
    assert codes == [401] * 10 + [429] * 2
    assert [throttled for _, throttled in service.auth_failures] == [False] * 9 + [True]
    with server.client(token=token) as client:
        refused = client.get("/status")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert client.get("/health").status_code == 200


@pytest.mark.requirement("T4")
def test_the_throttle_forgets_after_a_minute_and_counts_addresses_apart():
    now = 0.0
    throttle = FailureThrottle(lambda: now)
    for _ in range(9):
        assert not throttle.failed("10.0.0.1")
    assert throttle.failed("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") == 60.0
    assert throttle.wait_s("10.0.0.2") == 0.0
    now = 60.0
    assert throttle.wait_s("10.0.0.1") == 0.0


@pytest.mark.requirement("T4")
def test_the_throttle_takes_an_ipv6_network_as_one_address_and_is_bounded():
    throttle = FailureThrottle(lambda: 0.0)
    for number in range(10):
        throttle.failed(f"2001:db8::{number:x}")
    assert throttle.wait_s("2001:db8::ffff") > 0
    assert throttle.wait_s("2001:db8:0:1::1") == 0.0
    for number in range(10_000):
        throttle.failed(f"10.{number >> 8}.{number & 255}.1")
    assert len(throttle._failures) == 4096


@pytest.mark.requirement("T5")
def test_a_token_in_the_query_is_not_a_token_and_never_in_the_log(serve, token, capsys):
    server = serve(token=token, access_log=True)
    assert server.client().get(f"/status?token={token}").status_code == 401
    assert server.client(token=token).get(f"/status?q={CANARY}").status_code == 200
    server.stop()
    logged = capsys.readouterr()
    assert "/status" in logged.out + logged.err
    assert token not in logged.out + logged.err
    assert CANARY not in logged.out + logged.err


@pytest.mark.requirement("T5")
def test_a_browser_logs_in_by_the_form_and_gets_a_cookie_that_scripts_cannot_read(serve, token):
    server = serve(token=token)
    with server.client() as client:
        form = client.get("/", headers={"accept": "text/html,*/*"})
        assert form.status_code == 401
        assert "<form" in form.text
        wrong = client.post("/login", data={"token": "wrong"})
        assert wrong.status_code == 401
        done = client.post("/login", data={"token": token}, headers={"origin": server.url})
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert token not in cookie
        assert client.get("/status").status_code == 200
        refused = client.post("/-/reload", json={})
        assert refused.status_code == 403
        assert client.post("/-/reload", json={}, headers=CHANGE).status_code == 200
        out = client.post("/logout", json={}, headers=CHANGE)
        assert out.status_code == 200
        assert client.get("/status").status_code == 401


@pytest.mark.requirement("T6")
def test_login_from_another_site_is_refused(serve, token):
    answer = (
        serve(token=token)
        .client()
        .post("/login", data={"token": token}, headers={"origin": "http://evil.example"})
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.requirement("T6")
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.5",
        "user@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1/evil",
        "",
        "[::1",
        "127.0.0.1:99999999",
        "2130706433",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/tapewatch/live", "/nothing"])
def test_a_foreign_host_header_is_421_on_every_path(open_server, host, path):
    answer = open_server.client().get(path, headers={"host": host})
    assert answer.status_code == 421


@pytest.mark.requirement("T6")
def test_our_own_names_are_answered(serve):
    server = serve(allowed_hosts=("Tapewatch.internal",))
    for host in (
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8090",
        "[::1]:8090",
        "tapewatch.internal",
        "localhost.",
    ):
        assert server.client().get("/status", headers={"host": host}).status_code == 200


@pytest.mark.requirement("T6")
def test_two_host_headers_or_none_are_refused(serve):
    server = serve()
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n"
    none = b"GET / HTTP/1.0\r\n\r\n"
    assert server.raw(two).split()[1] in (b"400", b"421")
    assert server.raw(none).split()[1] == b"421"


@pytest.mark.requirement("T6")
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[bad"},
        {"origin": "file://127.0.0.1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_what_another_sites_page_sends_is_refused(serve, token, headers):
    server = serve(token=token)
    with server.client(token=token) as client:
        for method, path in (("GET", "/status"), ("POST", "/-/reload"), ("POST", "/api/v1/query")):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "origin_refused"
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.requirement("T6")
def test_a_preflight_gets_no_permission(serve):
    answer = (
        serve()
        .client()
        .options(
            "/-/reload",
            headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
        )
    )
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.requirement("T6")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"by=eve"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("text/plain", b'{"by": "eve"}'),
        ("", b'{"by": "eve"}'),
    ],
)
def test_a_change_that_a_plain_form_could_send_is_refused(serve, token, kind, body):
    service = FakeService()
    service.all_alerts = [alert("daily_loss_high", service.now_ns())]
    server = serve(service, token=token)
    with server.client(token=token) as client:
        answer = client.post(
            "/api/tapewatch/alerts/daily_loss_high/acknowledge",
            content=body,
            headers={"content-type": kind} | CHANGE,
        )
        assert answer.status_code == 415
        answer = client.post("/-/reload", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "header_required")
    assert service.reloads == 0
    assert service.all_alerts[0].acknowledged is None


@pytest.mark.requirement("T6")
def test_without_a_token_reading_is_open_on_loopback_and_changing_is_not(serve):
    service = FakeService()
    server = serve(service)
    with server.client() as client:
        assert client.get("/status").status_code == 200
        answer = client.post("/-/reload", json={}, headers=CHANGE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "token_required")
    assert "tapewatch" in answer.json()["error"]["next_step"]
    assert service.reloads == 0


@pytest.mark.requirement("T2")
def test_only_post_is_a_reading_method_beside_get_and_head(open_server):
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MADEUP"):
        assert open_server.client().request(method, "/api/v1/query").status_code == 403


@pytest.mark.requirement("T8")
def test_every_answer_carries_the_security_headers(serve):
    server = serve()
    with server.client() as client:
        answers = [
            client.get("/"),
            client.get("/static/app.js"),
            client.get("/health"),
            client.get("/metrics"),
            client.get("/nothing"),
            client.get("/", headers={"host": "evil"}),
            client.post("/-/reload"),
        ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
    raw = server.raw(b"nonsense\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400")
    assert b"default-src 'self'" in raw
    assert json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"


@pytest.mark.requirement("T19")
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"by":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"by": "a", "note": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"by": ' + b"9" * 5_000 + b"}",
        b'{"by": NaN}',
        b'{"by": Infinity}',
        b'{"by": 1e999}',
        b'{"by": "x"',
        b'"text"',
        b"[]",
        b"\xff\xfe",
        b'{"by": ["a"]}',
        b'{"by": "  "}',
        b"{}",
        b'{"by": "a", "role": "admin"}',
        b'{"by": "' + b"x" * 200 + b'"}',
        b'{"by": "a", "note": "' + b"x" * 2_000 + b'"}',
    ],
)
def test_a_hostile_json_body_is_a_400_that_says_why(serve, token, body):
    service = FakeService()
    service.all_alerts = [alert("daily_loss_high", service.now_ns())]
    with serve(service, token=token).client(token=token) as client:
        answer = client.post(
            "/api/tapewatch/alerts/daily_loss_high/acknowledge",
            content=body,
            headers={"content-type": "application/json"} | CHANGE,
        )
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "bad_request"
    assert error["message"]
    assert service.all_alerts[0].acknowledged is None


@pytest.mark.requirement("T19", "T30")
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_more_than_a_mebibyte_is_413(serve, token, chunked):
    with serve(token=token).client(token=token) as client:
        body = b" " * ((1 << 20) + 1)
        content = iter([body[: 1 << 19], body[1 << 19 :]]) if chunked else body
        headers = {"content-type": "application/json"} | CHANGE
        try:
            answer = client.post("/-/reload", content=content, headers=headers)
        except (httpx2.WriteError, httpx2.ReadError):
            return  # cut while sending: refused as well
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.requirement("T10")
def test_a_path_with_line_ends_and_controls_is_one_harmless_line_in_the_log(serve, capsys):
    server = serve(access_log=True)
    server.client().get("/a%0d%0afake%20line%1b[31m%e2%80%a8%00end")
    server.stop()
    lines = [line for line in capsys.readouterr().out.splitlines() if "fake" in line]
    assert len(lines) == 1
    assert "\x1b[31m\u2028" not in lines[0]
    assert "\\r\\nfake" in lines[0].replace("\\\\", "\\")


@pytest.mark.requirement("T27")
def test_an_unforeseen_error_says_nothing_of_its_text(serve, token):
    class Broken(FakeService):
        def status(self):
            raise RuntimeError(CANARY)

        def families(self):
            raise RuntimeError(CANARY)

    with serve(Broken(), token=token).client(token=token) as client:
        answer = client.get("/status")
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert CANARY not in answer.text
        metrics = client.get("/metrics")
        assert metrics.status_code == 200
        assert "tapewatch_collector_up 0" in metrics.text
        assert CANARY not in metrics.text


@pytest.mark.requirement("T27")
def test_the_token_is_in_no_answer(serve, token):
    server = serve(token=token)
    with server.client(token=token) as client:
        for method, path in paths_of(server.app.routes):
            if path == "/api/tapewatch/stream":
                continue
            answer = client.request(method, path, headers=CHANGE)
            assert token not in answer.text + str(answer.headers)
