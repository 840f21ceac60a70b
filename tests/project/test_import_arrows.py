"""The arrows between the rooms point inward, and the core knows no I/O.

The table is DESIGN's: what each room may import of ours. A new arrow is a decision, made here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "tapewatch"
EVERYONE = frozenset({"*"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "_version": frozenset(),
    "model": frozenset(),
    "tape": frozenset({"model"}),
    "record": frozenset({"tape", "model"}),
    "series": frozenset({"model"}),
    # The Querier protocol and its types are the one thing of `series` that readers know.
    "promql": frozenset({"model", "series.querier", "series.matching"}),
    # `config.yaml_document` is the one safe reader of YAML, with the place of every value.
    "rules": frozenset(
        {
            "model",
            "promql",
            "series.querier",
            "series.matching",
            "sessions",
            "config.yaml_document",
        }
    ),
    "alerts": frozenset({"model"}),
    "finance": frozenset({"model"}),
    "detect": frozenset({"model"}),
    "sessions": frozenset({"model"}),
    "ingest": frozenset({"model", "tape", "series"}),
    "checks": frozenset({"model"}),
    "notify": frozenset({"model"}),
    "recover": frozenset({"model"}),
    "storage": frozenset({"model", "series"}),
    "packs": frozenset(),
    "grafana": frozenset({"model", "packs"}),
    "web": frozenset({"_version", "model", "series.querier", "promql", "packs"}),
    # `record.paths` is the one function that says where data lie; packs hold rules to be loaded.
    "config": frozenset(
        {"model", "record.paths", "rules", "promql", "sessions", "packs", "web.settings"}
    ),
    "logs": frozenset({"model"}),
    "cli": EVERYONE,
    "daemon": EVERYONE,
    "monitor": EVERYONE,
    "monitoring_service": EVERYONE,
    "demo": frozenset({"_version", "model", "record"}),
    # Public fakes and conformance suites know the protocols they stand in for.
    "testing": EVERYONE,
    "__init__": EVERYONE,
    "__main__": EVERYONE,
}

CORE = ("model", "tape", "series", "promql", "rules", "alerts", "finance", "detect", "sessions")
FORBIDDEN_IN_CORE = {
    "asyncio",
    "concurrent",
    "http",
    "httpx2",
    "multiprocessing",
    "requests",
    "sched",
    "select",
    "selectors",
    "signal",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "urllib.request",
}
ALSO_FORBIDDEN_BUT_IN_TAPE = {"os", "io", "mmap", "fcntl", "shutil", "tempfile"}
ALLOWED = {
    ("series", "threading"): "one lock around the head, which a daemon thread and readers share",
}
FORBIDDEN_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("date", "today"),
    ("os", "environ"),
}


@dataclass(frozen=True)
class Import:
    """One import statement's target."""

    file: Path
    line: int
    module: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file.relative_to(PACKAGE.parent)}:{self.line}"
        return f"{place}: imports {self.module} {', '.join(self.names)}".rstrip()


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names = tuple(alias.name for alias in node.names)
            yield Import(file, node.lineno, node.module or "", names)


def targets(found: Import) -> Iterator[str]:
    """Return what an import reaches below the package, as `room` or `room.module`."""
    module = found.module
    if module == "tapewatch":
        for name in found.names:
            # A room, a module beside them, or else a name of the front door.
            there = (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()
            yield name if there else "__init__"
    elif module.startswith("tapewatch."):
        path = module.removeprefix("tapewatch.")
        if found.names and "." not in path:
            inner = [n for n in found.names if (PACKAGE / path / f"{n}.py").exists()]
            yield from (f"{path}.{name}" for name in inner)
            if len(inner) == len(found.names):
                return
        yield path


def allowed(room: str, target: str) -> bool:
    other = target.partition(".")[0]
    granted = MAY_IMPORT[room]
    return (
        other in {room, "_version"}
        or granted == EVERYONE
        or any(target == grant or target.startswith(f"{grant}.") for grant in granted)
    )


def test_every_room_has_its_row_in_the_table() -> None:
    assert {room_of(file) for file in sources()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_no_arrow_turns(room: str) -> None:
    turned = [
        str(found)
        for file in sources()
        if room_of(file) == room
        for found in imports_of(file)
        if any(not allowed(room, target) for target in targets(found))
    ]
    assert turned == [], "\n".join(turned)


@pytest.mark.parametrize("room", CORE)
def test_the_core_imports_no_io(room: str) -> None:
    forbidden = FORBIDDEN_IN_CORE | (set() if room == "tape" else ALSO_FORBIDDEN_BUT_IN_TAPE)
    found = [
        str(item)
        for file in sources()
        if room_of(file) == room
        for item in imports_of(file)
        for name in (item.module, item.module.split(".")[0])
        if name in forbidden and (room, name) not in ALLOWED
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("room", CORE)
def test_the_core_asks_neither_the_clock_nor_the_environment(room: str) -> None:
    found = [
        f"{file.relative_to(PACKAGE.parent)}:{node.lineno}: {node.value.id}.{node.attr}"
        for file in sources()
        if room_of(file) == room
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in FORBIDDEN_CALLS
    ]
    assert found == [], "\n".join(found)


def test_packs_are_data_and_hold_no_python() -> None:
    code = [p for p in (PACKAGE / "packs").rglob("*.py") if p.name != "__init__.py"]
    assert code == []


def test_the_checker_sees_a_turned_arrow() -> None:
    assert not allowed("model", "web.app")
    assert not allowed("promql", "series.head")
    assert allowed("promql", "series.querier")
    assert allowed("record", "tape.writer")
    statement = Import(PACKAGE / "x.py", 1, "tapewatch.series", ("querier", "Head"))
    assert list(targets(statement)) == ["series.querier", "series"]
