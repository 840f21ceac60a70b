"""Prometheus's published query scripts, read from a directory that lies outside of the project."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tapewatch.testing.promql_script import Verdict, run_script

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = (
    Path(os.environ.get("TAPEWATCH_CONFORMANCE", REPOSITORY.parent / "shared" / "conformance"))
    / "promql"
)
SCRIPTS = sorted(DIRECTORY.glob("*.test")) if DIRECTORY.is_dir() else []

# Evaluations that pass, per script of Prometheus 3.5.3. May only rise.
LEAST_PASSED = {
    "at_modifier.test": 45,
    "functions.test": 313,
    "histograms.test": 56,
    "literals.test": 20,
    "operators.test": 136,
    "selectors.test": 31,
}


@pytest.mark.skipif(
    not SCRIPTS,
    reason=f"no query scripts in {DIRECTORY}; set TAPEWATCH_CONFORMANCE to the directory above",
)
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_published_query_scripts_give_the_published_answers(
    path: Path, record_property: pytest.RecordProperty
) -> None:
    outcomes = run_script(path.read_text())
    counts = Counter(outcome.verdict for outcome in outcomes)
    record_property("passed", counts[Verdict.PASSED])
    print(f"{path.name}: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
    failed = [
        f"{path.name}:{o.line}: {o.query}: {o.reason}"
        for o in outcomes
        if o.verdict is Verdict.FAILED
    ]
    assert failed == []
    assert counts[Verdict.PASSED] >= LEAST_PASSED.get(path.name, 1)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "data").glob("*.test")), ids=lambda path: path.name
)
def test_our_own_query_scripts_hold(path: Path) -> None:
    outcomes = run_script(path.read_text())
    assert outcomes
    assert [o for o in outcomes if o.verdict is not Verdict.PASSED] == []
