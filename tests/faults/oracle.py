"""What every fault run is judged by, from outside: the engines' and the sink's ledgers."""

from __future__ import annotations

import collections
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from tapewatch.testing.daemon import DaemonProcess, eventually

RULES = """
groups:
  - name: chaos
    rules:
      - alert: chaos_event
        expr: chaos_signal > 0
        labels: {severity: critical}
"""


def chaos_config(directory: Path, receivers: str) -> str:
    """Write the rules and return a configuration under which every case is told at once."""
    (directory / "rules.yaml").write_text(RULES)
    return (
        receivers + f"packs: [self]\nrules: [{directory}/rules.yaml]\n"
        "alerts: {cooldowns: {info: 0s, warning: 0s, critical: 0s, emergency: 0s}}\n"
    )


class Oracle:
    """Raises cases in engines and holds the daemon's account against its own."""

    def __init__(self, engines: list[Any], sink: Any) -> None:
        self.engines = engines
        self.sink = sink
        self.cases = 0

    def raise_case(self) -> str:
        """Have the next engine raise a case; return its name."""
        case = str(self.cases)
        self.engines[self.cases % len(self.engines)].tell(f"case {case}")
        self.cases += 1
        return case

    def raise_for(self, seconds: float, running: DaemonProcess | None = None) -> None:
        """Raise cases for a while, or until the daemon has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if running is not None and has_ended(running):
                return
            self.raise_case()
            time.sleep(0.05)

    def told(self) -> set[str]:
        """Return the cases that arrived at the sink."""
        return {a["labels"]["case"] for a in self.sink.told() if "case" in a["labels"]}

    def wait_until_told(self, timeout_s: float = 30) -> None:
        """Wait until no case is missing."""
        expected = {str(n) for n in range(self.cases)}
        eventually(
            lambda: expected <= self.told(), f"{self.cases} cases to be told", timeout_s=timeout_s
        )
        assert self.told() == expected

    def check_repeats(self, at_most: int) -> None:
        """No case was told under two keys, and keys were repeated at most so often in all."""
        arrivals = self.sink.arrivals()
        keys = collections.Counter(a["headers"]["idempotency-key"] for a in arrivals)
        repeats = sum(count - 1 for count in keys.values())
        assert repeats <= at_most, f"{repeats} repeats: {keys.most_common(5)}"
        by_case: dict[str, set[str]] = {}
        for arrival in arrivals:
            for alert in json.loads(arrival["body"])["alerts"]:
                if alert["status"] == "firing" and "case" in alert["labels"]:
                    key = arrival["headers"]["idempotency-key"]
                    by_case.setdefault(alert["labels"]["case"], set()).add(key)
        assert {case: k for case, k in by_case.items() if len(k) > 1} == {}

    def check_ticks(self, running: DaemonProcess) -> None:
        """Every tick that an engine recorded was counted, once; ends the engines."""
        recorded = {each.name: each.tell("stop") for each in self.engines}

        def counted() -> bool:
            return all(e["state"] == "stopped" for e in engines_of(running))

        eventually(counted, "the engines' goodbyes to be read")
        assert {e["name"]: e["ticks"] for e in engines_of(running)} == recorded
        assert all(e["lost"] == 0 for e in engines_of(running))


def engines_of(running: DaemonProcess) -> list[dict[str, Any]]:
    """Return the engines that the daemon shows."""
    status, body = running.get("/api/tapewatch/engines")
    assert status == 200, body
    engines: list[dict[str, Any]] = body["engines"]
    return engines


def has_ended(running: DaemonProcess) -> bool:
    """Return whether the daemon's process is over."""
    return running.process is None or running.process.poll() is not None


def storage_health(running: DaemonProcess) -> dict[str, Any]:
    """Return what ``/health/detailed`` says about storage."""
    _, body = running.get("/health/detailed")
    health: dict[str, Any] = (body or {}).get("checks", {}).get("storage", {})
    return health


def check_left_behind(directory: Path, running: DaemonProcess) -> None:
    """Check what a stopped daemon leaves: sound stores, whole lines, no traceback."""
    for name in ("state.db", "samples.db"):
        connection = sqlite3.connect(running.data_dir / name)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        finally:
            connection.close()
    for path in directory.rglob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line)
    lines = running.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    unexpected = [line for line in lines if "Traceback" in line]
    assert not unexpected, "\n".join(line[-3000:] for line in unexpected)
