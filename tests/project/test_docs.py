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
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
BIN = Path(sys.executable).parent


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(autouse=True)
def _page_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


# --- the reference is what the code says ---


@pytest.mark.parametrize("name", reference.PAGES_MADE)
def test_a_reference_page_is_in_step_with_the_code(name: str) -> None:
    made = reference.MADE + reference.PAGES_MADE[name]().rstrip() + "\n"
    written = (reference.PAGES / name).read_text(encoding="utf-8")
    assert written == made, "run: make reference"


@pytest.mark.parametrize("name", reference.PAGES_MADE)
def test_every_row_of_the_reference_says_what_it_means(name: str) -> None:
    rows = [line for line in reference.PAGES_MADE[name]().splitlines() if line.startswith("| `")]
    assert rows
    # A default may be empty, a meaning may not: it is the second column, the last of routes.
    empty = [
        row for row in rows if not row.split(" | ")[-1 if name == "http.md" else 1].strip(" |")
    ]
    assert empty == []


def test_every_command_option_key_route_metric_and_code_is_on_a_page() -> None:
    """The generator finds each kind of thing at all: its pages are not empty by accident."""
    expected = {
        "commands.md": ["tapewatch run", "tapewatch demo", "`--seconds`", "tapewatch ack"],
        "settings.md": ["`listen`", "`alerts.cooldowns.critical`", "`receivers[].webhook:url`"],
        "http.md": ["`/metrics`", "`/readyz`", "`/api/v1/query`"],
        "metrics.md": ["`tapewatch_engine_up`", "`pnl_daily`", "`circuit_breaker_triggered`"],
        "errors.md": ["`config_invalid`", "`bad_query`", "`directory_in_use`"],
    }
    for name, words in expected.items():
        text = (reference.PAGES / name).read_text(encoding="utf-8")
        assert [word for word in words if word not in text] == [], name


# --- pages hold together ---


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if path and "://" not in path and not (page.parent / path).exists():
            dead.append(target)
    assert dead == []


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
    commands = set(re.findall(r"^## `tapewatch ([^`]+)`", reference.commands_page(), re.MULTILINE))
    first_words = {command.split()[0] for command in commands}
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
