"""The repository is what it says: documented modules, licences, no trace of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tapewatch"
TEXT_SUFFIXES = {
    ".cfg", ".css", ".html", ".js", ".json", ".lock", ".md", ".py", ".svg", ".toml", ".txt",
    ".yaml", ".yml", "",
}  # fmt: skip


def tracked() -> list[Path]:
    """Return every file of the repository, or of the unpacked source distribution."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        files = [ROOT / name for name in listing.split("\0") if name]
    else:
        files = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [file for file in files if file.is_file()]


@pytest.mark.parametrize("folder", ["src", "tests", "bench", "tools"])
def test_every_module_begins_with_its_idea(folder: str) -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").strip()
    ]
    assert silent == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    # Built from pieces, so that this file does not find itself.
    traces = [f"/{'work'}/", f"/{'root'}/", f"/{'home'}/[a-z]+/"]
    pattern = re.compile("|".join(traces))
    found = []
    for file in tracked():
        if file.suffix not in TEXT_SUFFIXES:
            continue
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == [], "\n".join(found)


def test_vendored_front_end_code_carries_its_licence_and_version() -> None:
    vendored = [
        folder
        for folder in PACKAGE.rglob("vendor/*")
        if folder.is_dir() and not folder.name.startswith("__")
    ]
    bare = [
        str(folder.relative_to(ROOT))
        for folder in vendored
        if not any(file.name.upper().startswith("LICENSE") for file in folder.iterdir())
    ]
    assert bare == []


def test_the_licence_is_mit() -> None:
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_the_marker_for_type_checkers_is_there() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.requirement("T32")
@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert entries
    bare = [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert bare == []
    assert "http" not in "".join(part for e in entries for part in e.split() if "://" in part)


def test_the_lock_files_hold_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = (
        project["project"]["dependencies"] + project["project"]["optional-dependencies"]["demo"]
    )
    locked = {
        _plain(line.split("==")[0])
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    assert {_plain(re.split(r"[<>=!~\[; ]", item)[0]) for item in declared} <= locked


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@pytest.mark.requirement("T32")
def test_the_page_loads_nothing_from_anywhere_else() -> None:
    outside = re.compile(r"""(?:src|href|url|import|fetch)\s*[=(]?\s*["'(]\s*(?:https?:)?//""")
    found = [
        f"{file.relative_to(ROOT)}: {match.group(0)}"
        for file in (PACKAGE / "web").rglob("*")
        if file.suffix in {".html", ".js", ".css", ".svg"}
        for match in outside.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_requirement_marks_have_the_shape_of_an_id() -> None:
    shape = re.compile(r"^(S[1-5]-\d{2,3}|[TFPDRC]-?\d{1,2}|[TF]\d{1,2})$")
    marks = re.compile(r"mark\.requirement\(([^)]*)\)")
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for match in marks.finditer(file.read_text(encoding="utf-8"))
        for name in re.findall(r"\"([^\"]*)\"", match.group(1))
        if not shape.match(name)
    ]
    assert wrong == []
