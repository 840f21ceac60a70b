"""The wheel holds the data files that the program needs, and its checker misses nothing."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.syspath_prepend(TOOLS)
    import package

    yield package
    for name in ("package", "bootstrap"):
        sys.modules.pop(name, None)


@pytest.mark.packaging
def test_wheel_and_sdist_hold_what_they_must(
    package: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "DIST", tmp_path / "dist")
    wheel, sdist = package.build()  # type: ignore[attr-defined]
    assert package.check_wheel(wheel) > 50  # type: ignore[attr-defined]
    assert package.check_sdist(sdist) > 100  # type: ignore[attr-defined]


def test_a_wheel_without_its_data_is_refused_by_name(package: object, tmp_path: Path) -> None:
    wheel = tmp_path / "tapewatch-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tapewatch/py.typed", "")
        archive.writestr("tests/test_x.py", "")
    with pytest.raises(package.PackageError, match=r"pack.*surplus \['tests/test_x.py'\]"):  # type: ignore[attr-defined]
        package.check_wheel(wheel)  # type: ignore[attr-defined]
