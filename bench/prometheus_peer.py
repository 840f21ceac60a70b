"""A real Prometheus over the same data as ours: the peer of queries, rules and storage."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tapewatch.model.labels import Labels

Series = tuple[list[Labels], np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Series over the same times: labels, times in seconds, values of shape (times, series)."""


def milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Return the median time of a call, after one to warm up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


class Peer:
    """A Prometheus over the same data."""

    def __init__(self, port: int, data: Path) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.data = data
        """Where its blocks lie."""

    def get(self, path: str, **parameters: object) -> Any:
        url = f"{self.base}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=60) as response:
            return json.load(response)["data"]

    def query_ms(self, path: str, **parameters: object) -> float:
        """Return the median of what it says a query's evaluation took."""
        seconds: list[float] = [
            self.get(path, stats="all", **parameters)["stats"]["timings"]["execTotalTime"]
            for _ in range(8)
        ]
        return statistics.median(seconds[1:]) * 1000

    def rules_ms(self) -> float:
        """Return what the evaluation of its rule group took, when it has had a few rounds."""
        found: list[float] = []
        for _ in range(40):
            group = self.get("/api/v1/rules")["groups"][0]
            if group["evaluationTime"] and group["evaluationTime"] not in found:
                found.append(group["evaluationTime"])
            if len(found) == 4:
                break
            time.sleep(0.5)
        return statistics.median(found[1:]) * 1000


@contextmanager
def prometheus(data: Sequence[Series], rules: Sequence[Mapping[str, str]]) -> Iterator[Peer | None]:
    """Run a Prometheus over the data, with alert rules; None without the binaries."""
    binary, tool = shutil.which("prometheus"), shutil.which("promtool")
    if binary is None or tool is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_open_metrics(directory / "in.om", data)
        subprocess.run(
            [tool, "tsdb", "create-blocks-from", "openmetrics", "in.om", "data"],
            cwd=directory,
            check=True,
            capture_output=True,
        )
        groups = {"groups": [{"name": "g", "interval": "1s", "rules": list(rules)}]}
        (directory / "rules.yml").write_text(json.dumps(groups))
        (directory / "p.yml").write_text("rule_files: [rules.yml]\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [binary, "--config.file=p.yml", "--storage.tsdb.path=data"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"],
                cwd=directory,
                stdout=log,
                stderr=log,
            )
        try:
            peer = Peer(port, directory / "data")
            wait_until_ready(peer)
            yield peer
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_ready(peer: Peer) -> None:
    for _ in range(300):
        try:
            peer.get("/api/v1/status/buildinfo")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError("prometheus did not become ready")


def write_open_metrics(path: Path, data: Sequence[Series]) -> None:
    with path.open("w") as file:
        for labels, times, values in data:
            for column, own in enumerate(labels):
                inner = ",".join(f'{k}="{v}"' for k, v in own if k != "__name__")
                for at, value in zip(times.tolist(), values[:, column].tolist(), strict=True):
                    file.write(f"{own.name}{{{inner}}} {value!r} {at}\n")
        file.write("# EOF\n")
