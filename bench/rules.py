"""How much of one core rule evaluation takes while an engine ticks, with and without the proof.

100 rules (the engine pack, and threshold rules on the same tick, a third of them with ``for``)
are evaluated for batches that come every 5 to 50 ms, each with up to 2,500 ticks of 15 fields.
The peer is the same evaluator without the proof from bounds: each batch evaluates every rule that
reads one of its metrics in full.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from bench.report import Figure, report
from tapewatch.config.packs import load_pack
from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.labels import Labels
from tapewatch.promql import QueryEngine
from tapewatch.rules.evaluator import RuleEvaluator
from tapewatch.rules.load import load_rules
from tapewatch.rules.model import RuleGroup
from tapewatch.series.head import Head

START = 1_767_604_500 * SECOND
RULES = 100
LIMIT_PERCENT = 25.0
FIELDS = {
    "positions_count": 3.0,
    "positions_total_value": 150_000.0,
    "positions_symbols": 3.0,
    "pnl_daily": 2_500.5,
    "pnl_unrealized": 1_200.0,
    "pnl_realized": 1_300.5,
    "risk_circuit_breaker_active": 0.0,
    "risk_daily_loss_pct": -0.25,
    "risk_max_position_value": 50_000.0,
    "sentiment_last_score": 0.65,
    "sentiment_provider_errors_1h": 0.0,
    "sentiment_cache_hit_rate": 0.85,
    "connectivity_breeze_authenticated": 1.0,
    "artifacts_teacher_model_age_hours": 12.0,
    "artifacts_student_model_age_hours": 6.0,
}
CASES = ((5, 1), (5, 25), (5, 250), (10, 10), (50, 1), (50, 2_500))
"""Milliseconds between batches, ticks in each."""


def rule_groups() -> list[RuleGroup]:
    """Return 100 rules: the engine pack, and thresholds beyond the values that arrive."""
    groups = list(load_pack("engine").groups)
    lines = ["groups:", "- name: extra", "  rules:"]
    for index in range(RULES - sum(len(g.rules) for g in groups)):
        name, value = list(FIELDS.items())[index % len(FIELDS)]
        lines.append(f"  - alert: extra_{index}")
        lines.append(f"    expr: {name} > {abs(value) * 2 + 10 + index}")
        if index % 3 == 0:
            lines.append("    for: 5s")
    return groups + load_rules("\n".join(lines), "extra.yaml")


def core_percent(batch_ms: int, ticks: int, seconds: float, *, proof: bool, firing: bool) -> float:
    """Return the share of one core, in percent, that evaluation takes at this rhythm."""
    head = Head()
    evaluator = RuleEvaluator(
        rule_groups(),
        QueryEngine(head),
        started_ns=START,
        record=head.append,
        newest=head if proof else None,
        monotonic=time.perf_counter if proof else None,
    )
    table = head.table([Labels.of(name, engine="bench") for name in FIELDS])
    values = np.tile(np.array(list(FIELDS.values())), (ticks, 1))
    if firing:
        values[:, list(FIELDS).index("risk_daily_loss_pct")] = -6.0
    noise = np.random.default_rng(1)
    batch_ns = batch_ms * MILLISECOND
    batches = max(5, round(seconds * SECOND / batch_ns))
    spent = 0.0
    for batch in range(batches):
        now = START + (batch + 1) * batch_ns
        times = now - batch_ns + 1 + np.arange(ticks, dtype=np.int64) * (batch_ns // ticks)
        values[:, 3] = 2_500 + noise.normal(size=ticks)
        table.append(times, values)
        changed = dict.fromkeys(FIELDS, times)
        began = time.process_time()
        evaluator.on_arrival(changed, now)
        if evaluator.next_deadline_ns() <= now:
            evaluator.on_interval(now)
        spent += time.process_time() - began
    if firing and not evaluator.active():
        raise RuntimeError("the loss did not raise its alerts")
    return 100 * spent / (batches * batch_ns / SECOND)


def main() -> int:
    """Measure, report, and exit 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="engine time of each case")
    options = parser.parse_args()
    figures = []
    for firing in (False, True):
        for batch_ms, ticks in CASES:
            case = f"{'alerts firing' if firing else 'calm'}, {ticks:,} ticks each {batch_ms} ms"
            ours = core_percent(batch_ms, ticks, options.seconds, proof=True, firing=firing)
            full = core_percent(batch_ms, ticks, options.seconds / 4, proof=False, firing=firing)
            figures.append(Figure("rules", f"{case}: core", ours, "%", limit=LIMIT_PERCENT))
            figures.append(
                Figure("rules", f"{case}: beside", ours, "%", full, "every rule in full", 1 / 2)
            )
    print(f"{RULES} rules, {len(FIELDS)} fields; percent of one core spent evaluating rules")
    return 0 if report(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
