"""Build wheel and sdist, look inside, and prove the wheel in an empty environment.

``python tools/package.py`` builds into ``dist/`` and checks the contents. With ``--fresh DIR`` it
also makes an environment there that holds the locked dependencies and the wheel, nothing else.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import bootstrap

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

IN_WHEEL = (
    r"tapewatch/py\.typed",
    r"tapewatch/packs/engine/pack\.yaml",
    r"tapewatch/packs/engine/rules\.yaml",
    r"tapewatch/packs/engine/runbooks/.+\.md",
    r"tapewatch/config/tapewatch\.schema\.json",
    r"tapewatch/web/static/.+\.html",
    r"tapewatch/web/static/.+\.js",
    r"tapewatch/demo/rules\.yaml",
    r"tapewatch-.+\.dist-info/licenses/LICENSE",
    r"tapewatch-.+\.dist-info/entry_points\.txt",
)
NOT_IN_WHEEL = (r"tests/", r"bench/", r".*\.pyc", r"tapewatch/.*__pycache__")
IN_SDIST = ("src/tapewatch/py.typed", "tests/conftest.py", "docs/index.md", "Makefile", "LICENSE")


class PackageError(Exception):
    """The distribution is not as it should be."""


def build() -> tuple[Path, Path]:
    """Build both distributions anew; return wheel and sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise PackageError(f"the build failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return next(DIST.glob("*.whl")), next(DIST.glob("*.tar.gz"))


def check_wheel(wheel: Path) -> int:
    """Check what must and must not be inside; return the number of files.

    Raises:
        PackageError: names every file that is missing or should not be there.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [p for p in IN_WHEEL if not any(re.fullmatch(p, name) for name in names)]
    surplus = [name for name in names if any(re.match(p, name) for p in NOT_IN_WHEEL)]
    if missing or surplus:
        raise PackageError(f"{wheel.name}: missing {missing or 'nothing'}, surplus {surplus}")
    return len(names)


def check_sdist(sdist: Path) -> int:
    """Check that the source distribution can be built and tested; return the number of files."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in names]
    if missing:
        raise PackageError(f"{sdist.name}: missing {missing}")
    return len(names)


def fresh_install(wheel: Path, venv: Path) -> None:
    """Make an environment with the locked dependencies and the wheel, and let pip check it."""
    if venv.exists():
        raise PackageError(f"{venv} is there already; a fresh environment needs a new folder")
    pip = [*bootstrap.make_environment(venv), "--disable-pip-version-check", "--no-input"]
    lock = str(ROOT / "requirements.lock")
    for arguments in (
        ["install", "-qq", "--require-hashes", "--only-binary", ":all:", "-r", lock],
        ["install", "-qq", "--no-deps", "--no-index", str(wheel)],
        ["check"],
    ):
        done = subprocess.run(  # noqa: S603
            [*pip, *arguments], cwd=venv, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PackageError(f"pip {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fresh", type=Path, metavar="DIR", help="install the wheel into DIR")
    options = parser.parse_args()
    try:
        wheel, sdist = build()
        print(f"package: {wheel.name}: {check_wheel(wheel)} files, {wheel.stat().st_size} bytes")
        print(f"package: {sdist.name}: {check_sdist(sdist)} files, {sdist.stat().st_size} bytes")
        if options.fresh:
            fresh_install(wheel, options.fresh.absolute())
            print(f"package: {wheel.name} installed into an empty environment, pip check passed")
    except (PackageError, bootstrap.BootstrapError) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
