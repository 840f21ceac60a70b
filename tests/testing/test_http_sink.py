"""The sink as its own process: an oracle that outlives what it judges."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tapewatch.testing.http_sink", "--port", "0"]
    command += ["--ledger", str(tmp_path / "ledger.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()) | {"ledger": tmp_path / "ledger.jsonl"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_says_where_it_listens_and_writes_each_arrival_before_it_answers(
    sink: dict[str, Any],
) -> None:
    before = time.monotonic_ns()
    answer = httpx2.post(sink["url"], headers={"Idempotency-Key": "k1"}, json={"a": 1})
    after = time.monotonic_ns()
    assert answer.status_code == 200
    (line,) = sink["ledger"].read_text().splitlines()
    arrival = json.loads(line)
    assert arrival["key"] == "k1"
    assert json.loads(arrival["body"]) == {"a": 1}
    assert before < arrival["at_mono_ns"] <= arrival["done_mono_ns"] < after


def test_it_changes_its_behaviour_when_told(sink: dict[str, Any]) -> None:
    base = f"http://127.0.0.1:{sink['port']}"
    told = httpx2.post(f"{base}/_behave", json={"status": 503, "headers": {"Retry-After": "2"}})
    assert told.status_code == 200
    answer = httpx2.post(sink["url"], content=b"x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    refused = httpx2.post(f"{base}/_behave", json={"colour": "red"})
    assert refused.status_code == 400 and "colour" in refused.text
    assert httpx2.get(f"{base}/_nothing").status_code == 404
    (arrival,) = httpx2.get(f"{base}/_arrivals").json()
    assert arrival["body"] == "x"
