"""List the requirements that tests show, and by which tests: ``make trace``.

A test says what it shows with ``@pytest.mark.requirement("S5-09")``. The list is what pytest
collects, so a test that is never collected counts for nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


class Collector:
    """A pytest plugin that notes the requirement marks of everything collected."""

    def __init__(self) -> None:
        self.shown: dict[str, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("requirement"):
                for requirement in mark.args:
                    self.shown[requirement].add(item.nodeid.partition("[")[0])


def in_order(requirement: str) -> tuple[object, ...]:
    """Sort S5-9 before S5-10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", requirement))


def main(arguments: list[str]) -> int:
    collector = Collector()
    quiet = ["--collect-only", "-qq", "--no-header", "-p", "no:randomly"]
    with contextlib.redirect_stdout(io.StringIO()) as listing:
        code = pytest.main([*quiet, str(ROOT / "tests")], plugins=[collector])
    if code != pytest.ExitCode.OK:
        print(listing.getvalue()[-4000:], file=sys.stderr)
        print(f"trace: tests cannot be collected, pytest exit code {int(code)}", file=sys.stderr)
        return 1
    shown = {name: sorted(collector.shown[name]) for name in sorted(collector.shown, key=in_order)}
    if "--json" in arguments:
        print(json.dumps(shown, indent=2))
        return 0
    for requirement, tests in shown.items():
        print(requirement)
        for test in tests:
            print(f"    {test}")
    print(f"{len(shown)} requirements shown by {len(set().union(*shown.values()))} tests")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
