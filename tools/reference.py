"""Write the reference pages of metrics, alerts and error codes from the code itself.

``python tools/reference.py`` rewrites them in ``docs/reference/``; with ``--check`` it only says
which is out of step, exit code 1. What they say is what the code says: help of metrics, packs as
they are loaded, docstrings of errors.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import pkgutil
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "tapewatch"
MADE = "<!-- Made by tools/reference.py; change the code, then run: make reference -->\n\n"


def cell(text: object) -> str:
    """Return text that stays inside one cell of a table."""
    return re.sub(r"\s+", " ", str(text)).strip().replace("|", "\\|")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# --- metrics ------------------------------------------------------------------------------------

NOT_METRICS = {
    "tapewatch_access", "tapewatch_peer", "tapewatch_reserve", "tapewatch_session",
    "tapewatch_state",
}  # fmt: skip
"""Names of the same shape that mean something else: cookies, keys of scopes, loggers."""
ENGINE_FAMILIES = {
    "tapewatch_artifact_age_seconds": "Age of a watched file by its modification time.",
    "tapewatch_artifact_missing": "1 while a watched file is not there.",
    "tapewatch_artifact_unreadable": "1 while a watched file cannot be looked at.",
    "tapewatch_clock_jump_seconds": "Distance of the wall clock from the daemon's steady timeline.",
    "tapewatch_config_reload_successful": "0 after a reload that was refused.",
    "tapewatch_engine_crashed": "1 after an unexpected death, until it runs again or is retired.",
    "tapewatch_engine_errors_total": "Errors the engine recorded.",
    "tapewatch_engine_events_lost_total": "Events that could not be read any more.",
    "tapewatch_engine_frames_lost_total": "Ticks overwritten before they were read.",
    "tapewatch_engine_instances": "Live tapes of one engine name.",
    "tapewatch_engine_invalid": "1 while the engine reports values that are no numbers.",
    "tapewatch_engine_invalid_values_total": "Values that were no numbers.",
    "tapewatch_engine_last_tick_timestamp_seconds": "When the last tick was recorded, Unix s.",
    "tapewatch_engine_never_started": "1 when a configured engine was never seen.",
    "tapewatch_engine_records_dropped_total": "Records the engine's recorder could not write.",
    "tapewatch_engine_records_torn_total": "Records cut short by the engine's death.",
    "tapewatch_engine_stalled": "1 while ticks stay away longer than allowed.",
    "tapewatch_engine_ticks_total": "Ticks read.",
    "tapewatch_engine_trades_total": "Closed trades read.",
    "tapewatch_engine_up": "1 while the engine's process lives and has not stopped.",
    "tapewatch_notifications_failed_total": "Notifications that were given up.",
    "tapewatch_receiver_up": "0 while a receiver does not take notifications.",
    "tapewatch_session_open": "1 while the market of the label `calendar` is open.",
    "tapewatch_storage_degraded": "1 while the stores cannot be written.",
    "tapewatch_rules_failing": "Rules whose last evaluation failed.",
    "tapewatch_stores_recovered": "Stores that were moved aside and begun anew.",
    "tapewatch_tapes_unreadable": "Tape files that cannot be used.",
}
"""Families that the daemon writes as samples, for rules to read: they carry no help text there."""
METRIC = re.compile(r"tapewatch_[a-z0-9]+(?:_[a-z0-9]+)*")


def metrics_page() -> str:
    """Tapewatch's own metric families, and those that the built-in packs describe."""
    text = "# Metrics\n\n## Tapewatch's own\n\n"
    rows = [(f"`{name}`", meaning) for name, meaning in sorted(own_metrics().items())]
    text += table(("metric", "meaning"), rows)
    for pack in sorted(p.parent.name for p in (SOURCE / "packs").glob("*/pack.yaml")):
        text += f"\n## Pack `{pack}`\n\n" + pack_page(pack)
    return text


def own_metrics() -> dict[str, str]:
    """Find each family by its name in the source, with the help text that stands beside it."""
    found: dict[str, str] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        if "demo" in file.parts or "testing" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if METRIC.fullmatch(node.value):
                    found.setdefault(node.value, ENGINE_FAMILIES.get(node.value, ""))
            elif isinstance(node, ast.Call):
                name, meaning = family_of(node)
                if name:
                    found[name] = meaning or found.get(name, "")
    return {name: text for name, text in found.items() if name not in NOT_METRICS}


def family_of(call: ast.Call) -> tuple[str, str]:
    texts = [
        value.value
        for value in [*call.args, *(k.value for k in call.keywords)]
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]
    names = [text for text in texts if METRIC.fullmatch(text)]
    helps = [text for text in texts if " " in text]
    return (names[0] if names else "", helps[0] if helps else "")


def pack_page(name: str) -> str:
    """The metrics, thresholds and alerts of a built-in pack."""
    from tapewatch.config.packs import load_pack
    from tapewatch.model.duration import format_duration
    from tapewatch.promql import format_expr
    from tapewatch.rules.model import AlertingRule

    pack = load_pack(name)
    text = cell(pack.description) + "\n\n"
    metrics = [
        (f"`{d.name}`", f"{d.help} ({', '.join(filter(None, (d.type.value, d.unit)))})")
        for d in sorted(pack.catalogue.definitions.values(), key=lambda d: d.name)
    ]
    text += table(("metric", "meaning"), metrics)
    thresholds = [
        (f"`{s.name}`", s.help, "not set" if math.isinf(s.default) else f"{s.default:g} {s.unit}")
        for s in pack.settings
    ]
    text += "\n" + table(("threshold", "meaning", "default"), thresholds) + "\n"
    alerts = []
    for group in pack.groups:
        for rule in group.rules:
            if isinstance(rule, AlertingRule):
                wait = f" for {format_duration(rule.for_ns)}" if rule.for_ns else ""
                alerts.append(
                    (f"`{rule.name}`", f"`{format_expr(rule.expr)}`{wait}", rule.severity.name)
                )
    return text + table(("alert", "fires while", "severity"), alerts)


# --- errors -------------------------------------------------------------------------------------


def first_line(kind: type) -> str:
    """Return the first line of a class's own docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def errors_page() -> str:
    """Every stable error code."""
    from tapewatch.model.errors import TapewatchError

    for module in pkgutil.walk_packages([str(SOURCE)], "tapewatch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds: list[type[TapewatchError]] = []
    pending = [TapewatchError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "code" in vars(kind) and kind.__module__.startswith("tapewatch."):
            kinds.append(kind)
    # Where two kinds share a code the more general one is described, whatever was imported first.
    kinds.sort(key=lambda kind: (-len(kind.__mro__), kind.__module__, kind.__name__))
    codes = {kind.code: first_line(kind) for kind in kinds}
    rows = [(f"`{code}`", meaning) for code, meaning in sorted(codes.items())]
    text = (
        "# Error codes\n\n"
        "The `code` of an error is stable; its text is for people and may change. These are the\n"
        "codes of Tapewatch's own errors, wherever they come out; those that only the HTTP API\n"
        "gives stand in [HTTP API](http-api.md).\n\n"
    )
    return text + table(("code", "meaning"), rows)


PAGES_MADE = {
    "metrics.md": metrics_page,
    "errors.md": errors_page,
}


def main(arguments: list[str]) -> int:
    PAGES.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, make in PAGES_MADE.items():
        text = MADE + make().rstrip() + "\n"
        page = PAGES / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"reference: out of step: {', '.join(stale)}; run: make reference", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
