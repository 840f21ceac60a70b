"""The page in a real browser, and its files: nothing hostile runs, nothing else is served."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tapewatch.model.alert import Acknowledgement, AlertState
from tapewatch.model.health import HealthStatus
from tapewatch.testing.clock import TestClock
from tapewatch.testing.service import FakeService, alert, engine_view

STATIC = Path(str(files("tapewatch.web").joinpath("static")))
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>"
    "<svg onload=window.hacked=3>'\"`--></title></table>${window.hacked=4}"
)


def hostile_service() -> FakeService:
    service = FakeService()
    now = service.now_ns()
    firing = alert(
        HOSTILE,
        now,
        engine=HOSTILE,
        annotations={"summary": HOSTILE, "runbook_url": "javascript:window.hacked=5"},
        labels={"le": HOSTILE, "__proto__": HOSTILE},
    )
    data = replace(
        firing,
        id="second",
        annotations={"runbook_url": "data:text/html,<script>window.hacked=6</script>"},
        acknowledged=Acknowledgement(HOSTILE, now, HOSTILE),
    )
    good = alert("good", now, annotations={"runbook_url": "https://runbooks.example/x?a=1&b=<2>"})
    ended = alert("x", now, engine=HOSTILE, state=AlertState.RESOLVED)
    service.all_alerts = [firing, data, good, replace(ended, rule=HOSTILE)]
    service.overall_reason = HOSTILE
    service.engine_views = [
        engine_view(HOSTILE, HOSTILE, reason=HOSTILE, instance=HOSTILE, currency=HOSTILE)
    ]
    stamp = now / 1e9
    service.chart_views = [
        {"engine": HOSTILE, "metric": HOSTILE, "times": [stamp - 2, stamp - 1], "values": [1, 2]}
    ]
    service.receiver_views = [
        {
            "name": HOSTILE,
            "kind": HOSTILE,
            "status": HealthStatus.DEGRADED,
            "accepted": 1,
            "failed": 0,
            "queued": 0,
            "last_error": HOSTILE,
        }
    ]
    service.fault_views = [
        {"name": HOSTILE, "state": HOSTILE, "at": HOSTILE, "expected_rule": HOSTILE}
    ]
    return service


@pytest.mark.requirement("T8")
def test_hostile_names_labels_and_links_are_shown_as_text_and_nothing_runs(serve, browser):
    server = serve(hostile_service())
    browser.look(1280, 900)
    browser.open(server.url + "/")
    browser.wait_for("document.querySelectorAll('#alerts-body tr').length === 3")
    browser.evaluate("document.querySelector('.take').click()")
    assert browser.evaluate("window.hacked") is None
    assert browser.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert HOSTILE in browser.evaluate("document.querySelector('#alerts-body').textContent")
    assert HOSTILE in browser.evaluate("document.querySelector('#engines').textContent")
    links = browser.evaluate("[...document.querySelectorAll('#alerts-body a')].map(a => a.href)")
    assert links == ["https://runbooks.example/x?a=1&b=%3C2%3E"]
    rels = browser.evaluate("document.querySelector('#alerts-body a').rel")
    assert rels == "noopener noreferrer"
    assert browser.problems() == []


@pytest.mark.requirement("T32")
def test_the_page_asks_for_nothing_from_anywhere_else(serve, browser):
    server = serve()
    browser.open(server.url + "/")
    browser.wait_for("document.querySelector('#overall-word').textContent === 'All right'")
    assert all(url.startswith(server.url) for url in browser.requested())
    assert browser.problems() == []


def test_when_the_daemon_goes_the_page_says_so_and_recovers_by_itself(serve, browser):
    service = FakeService()
    server = serve(service)
    browser.open(server.url + "/")
    browser.wait_for("document.querySelector('#overall-word').textContent === 'All right'")
    assert not browser.evaluate("document.body.classList.contains('stale')")
    server.stop()
    browser.wait_for("document.body.classList.contains('stale')")
    assert browser.evaluate("document.querySelector('#overall-word').textContent") == "Unknown"
    banner = browser.evaluate("document.querySelector('#banner').textContent")
    assert "Connection lost since" in banner
    service.engine_views = [engine_view("after-the-restart")]
    serve(service, port=server.port)
    browser.wait_for("!document.body.classList.contains('stale')")
    browser.wait_for("document.querySelector('#engines').textContent.includes('after-the-restart')")
    assert browser.evaluate("document.querySelector('#overall-word').textContent") == "All right"


def test_an_alert_appears_is_taken_by_keyboard_and_leaves(serve, browser, token):
    service = FakeService()
    server = serve(service, token=token)
    browser.open(server.url + "/")
    browser.wait_for("document.querySelector('input[type=password]')")
    browser.evaluate(
        f"document.querySelector('#token').value = {json.dumps(token)};"
        "document.querySelector('form').requestSubmit()"
    )
    browser.wait_for("document.querySelector('#overall-word')?.textContent === 'All right'")
    service.all_alerts = [alert("daily_loss_high", service.now_ns())]
    service.version += 1
    browser.wait_for("document.querySelector('#overall-word').textContent === '1 firing'")
    browser.evaluate("document.querySelector('.take').focus()")
    _press(browser, "Enter", "\r")
    browser.wait_for("document.querySelector('#take').open")
    browser.evaluate("document.querySelector('#take-by').value = 'Asha'")
    browser.evaluate("document.querySelector('#take-by').focus()")
    _press(browser, "Enter", "\r")
    browser.wait_for("document.querySelector('#alerts-body').textContent.includes('taken by Asha')")
    assert service.all_alerts[0].acknowledged.by == "Asha"
    service.all_alerts = []
    service.version += 1
    browser.wait_for("document.querySelector('#alerts-none-text').offsetParent !== null")


def _press(browser, key: str, text: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            text=text if kind == "keyDown" else "",
            windowsVirtualKeyCode=13,
        )


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [True, False])
def test_nothing_sticks_out_sideways_on_a_phone_or_a_desk(serve, browser, width, dark):
    service = FakeService(TestClock())
    now = service.now_ns()
    service.all_alerts = [
        alert(
            "a_rule_with_a_rather_long_name_that_goes_on", now, engine="an-engine-with-a-long-name"
        )
    ]
    service.engine_views = [engine_view("an-engine-with-a-very-long-name-indeed-" * 2, pid=1)]
    browser.look(width, 800, dark=dark, phone=width < 500)
    browser.open(serve(service).url + "/")
    browser.wait_for("document.querySelectorAll('#alerts-body tr').length === 1")
    inside = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.evaluate(inside)


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2f%2e%2e%2fapp.py",
        "/static//etc/passwd",
        "/static/..\\app.py",
        "/static/%5c..%5capp.py",
        "/static/app.js%00.txt",
        "/static/%00",
        "/static/vendor",
        "/static/vendor/",
        "/static/.",
        "/static/app.js/",
        "/static/APP.JS",
        "/static/{name}",
        "/static/:id",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/..;/app.py",
        "/static/%252e%252e/app.py",
        "/static/%c0%ae%c0%ae/app.py",
    ],
)
def test_no_trick_in_a_path_reaches_another_file(open_server, path):
    raw = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = open_server.raw(raw)
    assert answer.split()[1] in (b"404", b"400"), answer[:300]
    assert b"import" not in answer
    assert b"root:" not in answer


@pytest.mark.requirement("T26")
def test_a_link_that_appears_beside_the_files_is_not_served(serve):
    server = serve()
    link = STATIC / "linked.txt"
    link.symlink_to("/etc/passwd")
    try:
        assert server.client().get("/static/linked.txt").status_code == 404
    finally:
        link.unlink()


def test_files_carry_their_type_and_are_checked_by_tag(serve):
    with serve().client() as client:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/static/app.js", "text/javascript; charset=utf-8"),
            ("/static/style.css", "text/css; charset=utf-8"),
            ("/favicon.ico", "image/svg+xml"),
        ):
            first = client.get(path)
            assert (first.status_code, first.headers["content-type"]) == (200, kind)
            again = client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.requirement("T8", "T32")
def test_the_pages_own_files_hold_no_markup_writer_inline_code_or_foreign_address():
    for file in STATIC.glob("*.*"):
        text = file.read_text()
        words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
        assert not re.search(words, text), file
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)[a-z]", text), file
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", html)


@pytest.mark.requirement("T32")
def test_vendored_files_stand_beside_their_licence_and_origin():
    folder = STATIC / "vendor" / "uplot"
    assert "MIT License" in (folder / "LICENSE.txt").read_text()
    assert "uplot@1.6.32" in (folder / "ORIGIN.txt").read_text()
