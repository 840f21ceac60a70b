"""The two model files that the engine trades by: fitted from recorded prices, kept as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tapewatch.demo.market import Bar
from tapewatch.demo.strategy import Parameters, fit_parameters

TEACHER_FILE = "teacher_model.json"
STUDENT_FILE = "student_model.json"
TRAINING_DAYS = 500
DEFAULT_VOLATILITY = 0.03
"""Daily, for a share that was not yet listed in the training days."""


@dataclass(frozen=True, slots=True)
class Models:
    """What was learnt: the teacher's averages and the student's volatilities by symbol."""

    parameters: Parameters
    volatilities: dict[str, float]


def train(bars: Sequence[Bar]) -> Models:
    """Fit both models to the first TRAINING_DAYS closes of each share listed by then."""
    history: dict[str, list[float]] = {}
    first_days = sorted({bar.day for bar in bars})[:TRAINING_DAYS]
    last_day = first_days[-1]
    for bar in bars:
        if bar.day <= last_day:
            history.setdefault(bar.symbol, []).append(bar.close)
    volatilities = {}
    for symbol, closes in history.items():
        changes = [later / earlier - 1.0 for earlier, later in pairwise(closes)]
        if changes:
            volatilities[symbol] = math.sqrt(sum(c * c for c in changes) / len(changes))
    return Models(fit_parameters(history), volatilities)


def write_models(models: Models, folder: Path) -> None:
    """Write both files, each whole or not at all."""
    teacher = {"fast": models.parameters.fast, "slow": models.parameters.slow}
    for name, content in (
        (TEACHER_FILE, {"kind": "dual moving average", **teacher}),
        (STUDENT_FILE, {"kind": "daily volatility", "symbols": models.volatilities}),
    ):
        scratch = folder / f".{name}.new"
        scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        scratch.replace(folder / name)


def read_models(folder: Path) -> Models:
    """Read what ``write_models`` wrote."""
    teacher = json.loads((folder / TEACHER_FILE).read_text(encoding="utf-8"))
    student = json.loads((folder / STUDENT_FILE).read_text(encoding="utf-8"))
    parameters = Parameters(fast=teacher["fast"], slow=teacher["slow"])
    return Models(parameters, dict(student["symbols"]))


def age_hours(file: Path, now_s: float) -> float | None:
    """Return the hours since the file was written (by wall clock), None when it is missing."""
    try:
        return max(0.0, now_s - os.stat(file).st_mtime) / 3600.0  # noqa: PTH116 - hot path
    except FileNotFoundError:
        return None
