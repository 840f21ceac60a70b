"""Write the reference pages from the code itself: commands, settings, routes, metrics, errors.

``python tools/reference.py`` rewrites ``docs/reference/``; with ``--check`` it only says which page
is out of step, exit code 1. What the pages say is what the code says: help texts, descriptions of
settings, docstrings of routes, help of metrics.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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


# --- commands -----------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command of the command line with its arguments, options and exit codes."""
    import typer

    from tapewatch.cli.main import application

    root = typer.main.get_command(application())
    text = f"# Commands\n\n{cell(root.help)}\n\n{cell(root.epilog or '')}\n"
    for name, command in walk_commands("tapewatch", root):
        if command is root:
            continue
        text += f"\n## `{name}`\n\n"
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
            text += cell(paragraph) + "\n\n"
        rows = [row for p in command.params if (row := parameter_row(p)) is not None]
        if rows:
            text += table(("argument or option", "meaning"), rows)
    return text


def walk_commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child_name, child in sorted(getattr(command, "commands", {}).items()):
        if not child.hidden:
            yield from walk_commands(f"{name} {child_name}", child)


def parameter_row(parameter: Any) -> tuple[str, str] | None:
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return None
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`", parameter.help or ""
    names = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    if parameter.metavar:
        names += f" {parameter.metavar}"
    meaning = (parameter.help or "").rstrip(".") + "."
    default = parameter.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        meaning += f" Default: {default}."
    if parameter.envvar:
        meaning += f" Environment: `{parameter.envvar}`."
    return names, meaning


# --- settings -----------------------------------------------------------------------------------


def settings_page() -> str:
    """Every key of the configuration file with meaning, unit, default and why."""
    from tapewatch.config.model import Settings

    text = (
        "# Settings\n\n"
        "Keys of the configuration file. Flags are stronger than environment variables, these\n"
        "than the file, the file than the defaults; `tapewatch config show` tells where each\n"
        "value came from. An environment variable is the key in capitals with `TAPEWATCH_`\n"
        "before it and `__` for each dot: `alerts.repeat_interval` is\n"
        "`TAPEWATCH_ALERTS__REPEAT_INTERVAL`. Items of lists are written `[]` here.\n\n"
    )
    rows = list(setting_rows(Settings, ""))
    return text + table(("key", "meaning", "default"), rows)


def setting_rows(model: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = list(models_in(info.annotation))
        extra = info.json_schema_extra or {}
        meaning = info.description or ""
        if extra.get("why"):
            meaning = f"{meaning.rstrip('.')}. Why: {extra['why']}."
        is_section = bool(inner) and not is_list(info.annotation) and info.default_factory
        yield f"`{key}`", meaning, "" if is_section else shown_default(info)
        many = "[]." if is_list(info.annotation) else "."
        for child in inner:
            kind = child.model_fields.get("kind")
            label = ""
            if kind is not None and len(inner) > 1:
                label = f"{typing.get_args(kind.annotation)[0]}:"
            yield from setting_rows(child, f"{key}{many}{label}")


def is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return is_list(typing.get_args(annotation)[0])
    return origin in {tuple, list}


def models_in(annotation: Any) -> Iterator[Any]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) is not dict:
        for argument in typing.get_args(annotation):
            yield from models_in(argument)


def shown_default(info: Any) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(getattr(item, "name", item)) for item in value) or "none"
    if isinstance(value, dict):
        return "none" if not value else str(value)
    return str(getattr(value, "value", value))


# --- routes -------------------------------------------------------------------------------------


ROUTES = {
    "/": "The live page.",
    "/-/reload": "Read the configuration again; the old one stays in force if it is wrong.",
    "/api/tapewatch/alerts": "Alerts as S5's records: `active`, `severity`, `since`, `limit`.",
    "/api/tapewatch/alerts/{ref}/acknowledge": "Take an alert by id, or all of a rule.",
    "/api/tapewatch/config": "The effective settings with their origin; secrets masked.",
    "/api/tapewatch/engines": "Engines with state, last tick and key figures.",
    "/api/tapewatch/live": "What the page shows, as one snapshot.",
    "/api/tapewatch/stream": "The same as a stream of server-sent events with sequence numbers.",
    "/api/v1/alerts": "Prometheus: active alerts.",
    "/api/v1/label/{name}/values": "Prometheus: values of a label.",
    "/api/v1/labels": "Prometheus: label names.",
    "/api/v1/metadata": "Prometheus: type, unit and help of metrics.",
    "/api/v1/query": "Prometheus: evaluate an expression at one instant.",
    "/api/v1/query_range": "Prometheus: evaluate an expression over a range.",
    "/api/v1/rules": "Prometheus: rule groups with the state of their rules.",
    "/api/v1/series": "Prometheus: series that match selectors.",
    "/api/v1/status/buildinfo": "Prometheus: version, so that data sources recognise the API.",
    "/favicon.ico": "The page's icon.",
    "/health": "Status of the whole, 503 when critical.",
    "/health/detailed": "Status of each check with its evidence.",
    "/health/service/{name}": "Status of one check.",
    "/livez": "200 while the process runs: restart it when this fails.",
    "/login": "Exchange the token for a browser session; only with a token set.",
    "/logout": "End the browser session; only with a token set.",
    "/metrics": "All current metrics, as text 0.0.4 or OpenMetrics 1.0 by content negotiation.",
    "/readyz": "200 when the daemon can serve; 503 while it starts or ends.",
    "/static/...": "Files of the live page.",
    "/status": "Summary: engines, alerts, version, uptime.",
}


def routes_page() -> str:
    """Every path of the HTTP server with its methods."""
    from tapewatch.testing.service import FakeService
    from tapewatch.web.app import create_app
    from tapewatch.web.settings import WebSettings

    token = "".join(chr(33 + (i * 37) % 90) for i in range(64))
    routes = {}
    for settings in (WebSettings(), WebSettings(token=token)):
        for route in create_app(FakeService(), settings).routes:
            path = "/static/..." if route.path.startswith("/static/") else route.path
            routes[path] = ", ".join(sorted((route.methods or {"GET"}) - {"HEAD"}))
    rows = [(f"`{p}`", methods, ROUTES.get(p, "")) for p, methods in sorted(routes.items())]
    text = "# HTTP\n\nPaths of the daemon's server, by default on 127.0.0.1:8090.\n\n"
    return text + table(("path", "methods", "what it answers"), rows)


def first_line(thing: Any) -> str:
    if isinstance(thing, types.MethodType):
        thing = thing.__func__
    return (inspect.getdoc(thing) or "").partition("\n")[0] if thing is not None else ""


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
        text += f"\n## Pack `{pack}`\n\n" + pack_table(pack)
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


def pack_table(pack: str) -> str:
    from tapewatch.config.packs import load_pack

    loaded = load_pack(pack, {})
    rows = [
        (f"`{d.name}`", str(d.type.value), d.unit or "", d.help)
        for d in sorted(loaded.catalogue.definitions(), key=lambda d: d.name)
    ]
    text = table(("metric", "type", "unit", "meaning"), rows) + "\n"
    alerts = [
        (f"`{rule.name}`", str(rule.severity), f"`{rule.text}`")
        for group in loaded.groups
        for rule in group.rules
        if hasattr(rule, "severity")
    ]
    return text + table(("alert", "severity", "expression"), alerts)


# --- errors -------------------------------------------------------------------------------------


def errors_page() -> str:
    """Every stable error code."""
    from tapewatch.model.errors import TapewatchError

    for module in pkgutil.walk_packages([str(SOURCE)], "tapewatch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    codes: dict[str, str] = {}
    pending = [TapewatchError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "code" in vars(kind) and kind.__module__.startswith("tapewatch."):
            codes[kind.code] = first_line(kind)
    for code, meaning in web_codes().items():
        codes.setdefault(code, meaning)
    rows = [(f"`{code}`", meaning) for code, meaning in sorted(codes.items())]
    text = (
        "# Error codes\n\n"
        "The `code` of an error is stable; its text is for people and may change. The HTTP API\n"
        "answers an error as an object with `code`, `message` and `next_step`.\n\n"
    )
    return text + table(("code", "meaning"), rows)


def web_codes() -> dict[str, str]:
    """Find the codes that the web room gives without an exception of its own."""
    found = {}
    for file in sorted((SOURCE / "web").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and getattr(node.func, "id", "") == "error_response"
            ):
                continue
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            words = [t for t in texts if isinstance(t, str)]
            if words and re.fullmatch(r"[a-z_]+", words[0]):
                found[words[0]] = words[1] if len(words) > 1 else ""
    return found


PAGES_MADE = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "http.md": routes_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
}


def main(arguments: list[str]) -> int:
    # Help texts are written for the width of a page, and the same on every machine.
    os.environ.update({"COLUMNS": "100", "NO_COLOR": "1"})
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
