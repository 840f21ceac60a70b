"""The documentation is held to the code: nothing undocumented, no dead link, examples that run."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import typing
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from tapewatch.cli.main import application
from tapewatch.config.model import Settings
from tapewatch.config.packs import built_in_packs, load_pack
from tapewatch.testing.service import FakeService
from tapewatch.web.app import create_app
from tapewatch.web.settings import WebSettings
from tools import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
BIN = Path(sys.executable).parent


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- the reference is what the code says ---


def reference_page(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reference.PAGES_MADE)
def test_a_page_made_from_the_code_is_in_step_with_it(name: str) -> None:
    made = reference.MADE + reference.PAGES_MADE[name]().rstrip() + "\n"
    assert reference_page(name) == made, "run: make reference"


@pytest.mark.parametrize("name", reference.PAGES_MADE)
def test_every_row_of_such_a_page_says_what_it_means(name: str) -> None:
    rows = [line for line in reference.PAGES_MADE[name]().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if not row.split(" | ")[1].strip(" |")] == []


def test_every_metric_alert_and_threshold_of_a_pack_is_on_the_page() -> None:
    page = reference_page("metrics.md")
    for name in built_in_packs():
        pack = load_pack(name)
        rules = [rule for group in pack.groups for rule in group.rules]
        names = [*pack.catalogue.definitions, *pack.thresholds, *(rule.name for rule in rules)]
        assert [name for name in names if f"`{name}`" not in page] == []


def commands() -> dict[str, Any]:
    """Return every command of the command line by the words that call it."""
    found: dict[str, Any] = {}
    pending = [("tapewatch", typer.main.get_command(application()))]
    while pending:
        name, command = pending.pop()
        found[name] = command
        for word, child in getattr(command, "commands", {}).items():
            pending.append((f"{name} {word}", child))
    return found


def test_every_command_and_option_is_on_the_page_of_the_command_line() -> None:
    page = reference_page("cli.md")
    missing = []
    for name, command in commands().items():
        section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        missing += [] if section else [name]
        for parameter in command.params if section else ():
            words = [*parameter.opts, *parameter.secondary_opts]
            missing += [f"{name} {w}" for w in words if w.startswith("--") and w not in section]
    assert missing == []


def test_every_setting_is_on_the_page_of_the_configuration() -> None:
    page = reference_page("configuration.md")
    pending: list[type[BaseModel]] = [Settings]
    missing = []
    while pending:
        model = pending.pop()
        for name, field in model.model_fields.items():
            inner = list(models_in(field.annotation))
            pending += inner
            if not inner and not re.search(rf"`(?:[\w\[\]().<>]+\.)?{name}`", page):
                missing.append(f"{model.__name__}.{name}")
    assert missing == []


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def test_every_route_is_on_the_page_of_the_http_api() -> None:
    page = reference_page("http-api.md")
    service = FakeService()
    token = "".join(chr(33 + (i * 37) % 90) for i in range(64))
    paths = {
        route.path
        for settings in (WebSettings(), WebSettings(token=token))
        for route in create_app(service, settings).routes
    }
    told = {path for path in paths if not path.startswith("/static/")} - {"/favicon.ico"}
    assert [
        p for p in sorted(told) if p != "/" and not re.search(rf"{re.escape(p)}[`?]", page)
    ] == []


# --- pages hold together ---


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if path and "://" not in path and not (page.parent / path).exists():
            dead.append(target)
    assert dead == []


def test_every_picture_is_shown_on_a_page() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    pictures = [path.name for path in (DOCS / "images").iterdir()]
    assert [name for name in pictures if not any(f"images/{name})" in text for text in texts)] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    pending = [DOCS / "index.md"]
    while pending:
        page = pending.pop()
        if page in seen or not page.exists() or page.suffix != ".md":
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            found = (page.parent / target).resolve()
            pending += [found] if found.is_file() else sorted(found.glob("*.md"))
    assert [page_id(p) for p in sorted(DOCS.rglob("*.md")) if p not in seen] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_and_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    first_words = {name.split()[1] for name in commands() if " " in name}
    named_targets = set(re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", text, re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )tapewatch ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named_targets - targets == set()
    assert named - first_words == set()


def test_the_changelog_speaks_in_its_kinds() -> None:
    entries = re.findall(r"^- (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries
    kinds = {"[CHANGE]", "[FEATURE]", "[BUGFIX]", "[SECURITY]", "[PERFORMANCE]"}
    assert {kind for kind in entries if kind not in kinds} == set()


# --- examples run ---


@dataclass(frozen=True)
class Block:
    """A fenced block with the comment that stands before it."""

    page: Path
    line: int
    instruction: str
    """What follows `test` or `file` in the comment."""
    kind: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


BLOCK = re.compile(
    r"^<!-- (test|file):? ?([^\n]*?) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start()) + 1, m[2], m[1], m[3], m[4])
        for m in BLOCK.finditer(text)
    ]


TESTED = [page for page in PAGES if blocks(page)]


class Reader:
    """Somebody who follows a page in an empty folder, with a data directory of his own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.environ = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "TAPEWATCH_DATA_DIR": str(folder / "data"),
            "TAPEWATCH_LISTEN": self.listen,
        }

    def follow(self, block: Block) -> None:
        if block.kind == "file":
            (self.folder / block.instruction).write_text(block.text)
        elif block.language == "python":
            self.run([sys.executable, "-c", block.text], {0})
        elif block.instruction == "background":
            for command in block.commands:
                self.start(command)
        elif block.instruction.startswith("wait "):
            self.wait_for(block.commands[0], block.instruction.removeprefix("wait "))
        else:
            # `status` and `health` say by their exit code how bad things are.
            codes = {0, 1, 2} if block.instruction == "status" else {0}
            for command in block.commands:
                self.run(shlex.split(command), codes)

    def run(self, command: list[str], codes: set[int]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> None:
        with (self.folder / "background.log").open("ab") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        if command == "tapewatch run":
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 30
        while True:
            try:
                with opener.open(f"http://{self.listen}/readyz", timeout=1):
                    return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "background.log").read_text()
                assert self.running[-1].poll() is None, (self.folder / "background.log").read_text()
                time.sleep(0.05)

    def wait_for(self, command: str, word: str) -> None:
        deadline = time.monotonic() + 30
        while word not in (shown := self.run(shlex.split(command), {0, 1, 2, 3})):
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)

    def leave(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", TESTED, ids=page_id)
def test_who_follows_a_page_step_by_step_gets_what_it_says(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        try:
            reader.follow(block)
        except AssertionError as error:
            raise AssertionError(f"{page_id(page)}:{block.line}: {error}") from error


def test_the_tutorial_is_among_the_pages_that_are_followed() -> None:
    assert DOCS / "tutorial/first-five-minutes.md" in TESTED


def test_the_schema_of_the_summary_is_the_one_the_demo_page_shows() -> None:
    from tapewatch.demo.ledger import Ledger

    text = (DOCS / "explanation/demo.md").read_text()
    fields = json.loads(json.dumps(Ledger().to_json()))
    assert [name for name in fields if f"| `{name}` |" not in text] == []


def test_every_fault_of_the_demo_is_explained_with_its_alerts() -> None:
    from tapewatch.demo.timetable import SCENARIOS

    rows = (DOCS / "explanation/demo.md").read_text().splitlines()
    for scenario in SCENARIOS:
        row = next(line for line in rows if line.startswith(f"| `{scenario.fault}` |"))
        assert [e.alert for e in scenario.expected if f"`{e.alert}`" not in row] == []
