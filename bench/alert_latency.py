"""From an event to the webhook's call, beside Prometheus and Alertmanager on the same event."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from bench.report import Figure, percentile, report
from tapewatch.record import Recorder
from tapewatch.testing.daemon import DaemonProcess, eventually, free_port

BENCH = "alert_latency"
RULES_LOADED = 100

OUR_RULES = """
groups:
  - name: bench
    interval: 1s
    rules:
      - alert: bench_event
        expr: bench_signal > 0
        labels: {severity: critical}
        annotations: {summary: "case {{ $labels.case }}"}
"""
FILLER = """
      - alert: bench_filler_%d
        expr: bench_filler_%d > %d
        for: %ds
        labels: {severity: warning}
"""

ENGINE = """
import sys, time
from tapewatch.record import Recorder
recorder = Recorder(sys.argv[1], cadence_s=0.02)
print("ready", flush=True)
while True:
    recorder.record_tick({"equity": time.monotonic()})
    time.sleep(0.02)
"""


class Sink:
    """The sink process and what its ledger says: when the alert of a case first arrived."""

    def __init__(self, directory: Path) -> None:
        self.ledger = directory / "arrivals.jsonl"
        self.ledger.touch()
        command = [sys.executable, "-m", "tapewatch.testing.http_sink", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--ledger", str(self.ledger)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["port"])

    def arrivals(self, label: str) -> dict[str, int]:
        """Return CLOCK_MONOTONIC ns of the first firing message by this label's value."""
        seen: dict[str, int] = {}
        for line in self.ledger.read_text(encoding="utf-8").splitlines():
            arrival = json.loads(line)
            for alert in json.loads(arrival["body"])["alerts"]:
                if alert["status"] == "firing" and label in alert["labels"]:
                    seen.setdefault(alert["labels"][label], arrival["at_mono_ns"])
        return seen

    def close(self) -> None:
        """End the process."""
        end(self.process)


def end(process: subprocess.Popen[str]) -> None:
    """End a process that we started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tapewatch(directory: Path, events: int, kills: int) -> tuple[list[int], list[int]]:
    """Return latencies in ns of events and of engine deaths."""
    sink = Sink(directory)
    rules = OUR_RULES + "".join(FILLER % (i, i, i, i % 7) for i in range(RULES_LOADED - 1))
    (directory / "rules.yaml").write_text(rules, encoding="utf-8")
    config = (
        f"rules: [{directory}/rules.yaml]\n"
        "receivers:\n"
        f"  - {{name: sink, kind: webhook, url: 'http://127.0.0.1:{sink.port}/hook'}}\n"
    )
    data = {"TAPEWATCH_DATA_DIR": str(directory / "data")}
    with DaemonProcess(directory, config) as daemon, contextlib.closing(sink):
        os.environ.update(data)
        recorder = Recorder("bench", data_dir=daemon.data_dir)
        filler = {f"bench_filler_{i}": -1.0 for i in range(RULES_LOADED - 1)}
        sent: dict[str, int] = {}
        generator = random.Random(7)
        for case in range(events):
            until = time.monotonic() + generator.uniform(0.02, 0.06)
            while time.monotonic() < until:
                recorder.record_tick(filler)
                time.sleep(0.02)
            if case:
                # A person is told of one thing at a time here; a storm is another figure.
                recorder.record_metric("bench_signal", 0.0, case=str(case - 1))
            sent[str(case)] = time.monotonic_ns()
            recorder.record_metric("bench_signal", 1.0, case=str(case))
        seen = eventually(
            lambda: (a := sink.arrivals("case")) and len(a) >= events and a,
            f"{events} alerts at the sink",
            timeout_s=60,
        )
        latencies = [seen[case] - at for case, at in sent.items()]
        recorder.close()
        deaths = list(_deaths(sink, kills, {**os.environ, **data}))
    return latencies, deaths


def _deaths(sink: Sink, kills: int, environ: dict[str, str]) -> Iterator[int]:
    for number in range(kills):
        name = f"victim{number}"
        process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, name], stdout=subprocess.PIPE, text=True, env=environ
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.2)
        at = time.monotonic_ns()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        seen = eventually(
            lambda name=name: sink.arrivals("engine").get(name), f"the alert of {name}"
        )
        yield seen - at


class Exporter(BaseHTTPRequestHandler):
    """What Prometheus scrapes: a gauge that is 1 for every case raised so far."""

    cases: list[str] = []  # noqa: RUF012 - the one list that all requests share

    def do_GET(self) -> None:
        lines = [f'bench_signal{{case="{case}"}} 1\n' for case in self.cases]
        body = "".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def prometheus(directory: Path, events: int) -> list[int]:
    """Return latencies in ns through Prometheus (1 s, 1 s) and Alertmanager (0 s)."""
    sink = Sink(directory)
    exporter = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    Thread(target=exporter.serve_forever, daemon=True).start()
    port, manager_port = free_port(), free_port()
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{directory}/peer_rules.yaml']\n"
        f"alerting: {{alertmanagers: [{{static_configs: "
        f"[{{targets: ['127.0.0.1:{manager_port}']}}]}}]}}\n"
        "scrape_configs: [{job_name: bench, static_configs: "
        f"[{{targets: ['127.0.0.1:{exporter.server_address[1]}']}}]}}]\n",
        encoding="utf-8",
    )
    (directory / "peer_rules.yaml").write_text(OUR_RULES, encoding="utf-8")
    (directory / "alertmanager.yml").write_text(
        "route: {receiver: sink, group_by: [case], group_wait: 0s, group_interval: 1s}\n"
        "receivers: [{name: sink, webhook_configs: "
        f"[{{url: 'http://127.0.0.1:{sink.port}/hook'}}]}}]\n",
        encoding="utf-8",
    )
    log = (directory / "peer.log").open("w")
    manager = subprocess.Popen(
        [
            "prometheus-alertmanager",
            f"--config.file={directory}/alertmanager.yml",
            f"--storage.path={directory}/alertmanager",
            f"--web.listen-address=127.0.0.1:{manager_port}",
            "--cluster.listen-address=",
        ],
        stdout=log,
        stderr=log,
        text=True,
    )
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
        text=True,
    )
    try:
        time.sleep(6)
        sent: dict[str, int] = {}
        generator = random.Random(7)
        for case in range(events):
            time.sleep(generator.uniform(0.2, 1.4))
            sent[str(case)] = time.monotonic_ns()
            Exporter.cases.append(str(case))
        seen: dict[str, int] = eventually(
            lambda: (a := sink.arrivals("case")) and len(a) >= events and a,
            f"{events} alerts through Alertmanager",
            timeout_s=60,
        )
        return [seen[case] - at for case, at in sent.items()]
    finally:
        exporter.shutdown()
        for process in (server, manager, sink.process):
            end(process)
        log.close()


def in_directory(run: Callable[[Path], list[int]]) -> list[int]:
    """Run in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        return run(Path(directory))


def _death_figures(deaths: list[int]) -> list[Figure]:
    if not deaths:
        return []
    name = "engine SIGKILL to webhook"
    return [
        Figure(BENCH, f"{name} p50", percentile(deaths, 0.5) / 1e6, "ms"),
        Figure(BENCH, f"{name} max", deaths[-1] / 1e6, "ms", limit=250),
    ]


def main() -> int:
    """Measure both and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--peer-events", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ours, deaths = tapewatch(Path(directory), options.events, options.kills)
    ours.sort()
    deaths.sort()
    try:
        peer = sorted(in_directory(lambda d: prometheus(d, options.peer_events)))
    except FileNotFoundError as missing:
        print(f"peer left out: {missing.filename} is not installed")
        peer = []

    def figure(name: str, q: float, limit: float) -> Figure:
        mine = percentile(ours, q) / 1e6
        if not peer:
            return Figure(BENCH, name, mine, "ms", limit=limit)
        theirs = percentile(peer, q) / 1e6
        return Figure(
            BENCH, name, mine, "ms", theirs, "Prometheus 1s/1s + Alertmanager 0s", limit / theirs
        )

    held = report(
        [
            figure("event to webhook p50", 0.5, 10),
            figure("event to webhook p99", 0.99, 50),
            Figure(BENCH, "event to webhook max", ours[-1] / 1e6, "ms"),
            *_death_figures(deaths),
        ]
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
