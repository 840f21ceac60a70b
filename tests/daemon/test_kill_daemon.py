"""The daemon is killed again and again; nothing is lost, nothing takes effect twice."""

from __future__ import annotations

import collections
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tapewatch.testing.daemon import eventually

KILLS = 200 if os.environ.get("TAPEWATCH_CHAOS") == "full" else 8
RULES = """
groups:
  - name: chaos
    rules:
      - alert: chaos_event
        expr: chaos_signal > 0
        labels: {severity: critical}
"""


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.requirement("P2", "P3", "F1", "S5-83")
def test_no_tick_and_no_notification_is_lost_or_counted_twice(
    daemon: Any, engine: Any, sink: Any, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    running = daemon(sink.receiver() + f"rules: [{tmp_path}/rules.yaml]\n")
    engines = [engine(f"engine{n}", rate=200, cadence=1) for n in range(3)]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    cases = 0
    running.start()
    for _ in range(KILLS):
        until = time.monotonic() + generator.uniform(0.0, 1.5)
        while time.monotonic() < until:
            generator.choice(engines).tell(f"case {cases}")
            cases += 1
            time.sleep(0.05)
        running.kill(signal.SIGKILL)
        running.start(ready=False)
    running.wait_ready()

    told = eventually(
        lambda: (
            (t := {a["labels"]["case"] for a in sink.told() if "case" in a["labels"]})
            and len(t) >= cases
            and t
        ),
        f"all {cases} alerts to be told",
        timeout_s=60,
    )
    assert told == {str(n) for n in range(cases)}

    keys = collections.Counter(a["headers"]["idempotency-key"] for a in sink.arrivals())
    doubled = sum(count - 1 for count in keys.values())
    assert doubled <= KILLS, "only a send in flight at a kill may be repeated"
    firing = collections.Counter(
        (a["labels"]["case"], a["startsAt"]) for a in sink.told() if "case" in a["labels"]
    )
    assert sum(count - 1 for count in firing.values()) <= doubled, "a repeat has the same key"

    recorded = {each.name: each.tell("stop") for each in engines}

    def counted() -> bool:
        shown = running.get("/api/tapewatch/engines")[1]["engines"]
        return all(e["state"] == "stopped" for e in shown)

    eventually(counted, "the engines' goodbyes to be read")
    shown = running.get("/api/tapewatch/engines")[1]["engines"]
    assert {e["name"]: e["ticks"] for e in shown} == recorded
    assert [e["lost"] for e in shown] == [0, 0, 0]
