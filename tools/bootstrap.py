"""Make the checkout's virtual environment from the lock files, with Debian's bare python3 alone.

Usage: ``python3 tools/bootstrap.py run`` (what ``make run`` needs) or ``... dev`` (also the tests
and checks). Standard library only. A second call finds its stamp and returns at once; a changed
lock file, ``pyproject.toml`` or Python brings the environment up to date.

Debian's ``python3`` has neither pip nor ``ensurepip``. The ways tried, in order, and said aloud:

1. ``venv`` with ``ensurepip`` (most machines);
2. ``apt-get install python3-venv``, when root on a machine that has apt, then 1;
3. ``venv`` without pip, and one pinned pip wheel fetched through the index that pip or uv is
   configured for, its SHA-256 checked before a byte of it runs.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import contextlib
import fcntl
import hashlib
import html.parser
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
MINIMUM = (3, 11)

PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
# What pip itself uses when nothing is configured.
DEFAULT_INDEX = "https://pypi.org/simple"
FETCH_TIMEOUT_S = 60.0
WHEEL_LIMIT_BYTES = 16 << 20


class BootstrapError(Exception):
    """The environment could not be made; the text says what was tried and what to do."""


def say(text: str) -> None:
    """Print one line of progress at once, so that it stands before the output of child programs."""
    print(f"bootstrap: {text}", flush=True)


def without_credentials(url: str) -> str:
    """Return the URL with user and password removed, fit for a terminal or a log."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# --- which index --------------------------------------------------------------------------------


@dataclass(frozen=True)
class PipSettings:
    """The part of pip's and uv's configuration that fetching one wheel needs."""

    index_url: str
    origin: str
    certificates: str | None


def pip_config_files(environ: dict[str, str]) -> list[Path]:
    """Return the files that pip reads, the strongest last."""
    home = Path(environ.get("HOME") or "~").expanduser()
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    xdg_dirs = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    files = [Path(part) / "pip/pip.conf" for part in xdg_dirs.split(":") if part]
    files.append(Path("/etc/pip.conf"))
    files.append(home / ".pip/pip.conf")
    files.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf")
    if named:
        files.append(Path(named))
    return files


def read_pip_settings(environ: dict[str, str]) -> PipSettings:
    """Find index and certificates: environment over configuration files over the default."""
    index, origin, certificates = DEFAULT_INDEX, "pip's default", None
    for file in pip_config_files(environ):
        if not file.is_file():
            continue
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError) as error:
            say(f"{file}: cannot be read ({type(error).__name__}); passed over")
            continue
        for section in ("global", "install", "download"):
            if parser.has_option(section, "index-url"):
                index, origin = parser.get(section, "index-url").strip(), str(file)
            if parser.has_option(section, "cert"):
                certificates = parser.get(section, "cert").strip()
    for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        if environ.get(name):
            index, origin = environ[name], name
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT"):
        if environ.get(name):
            certificates = environ[name]
    return PipSettings(index.rstrip("/"), origin, certificates)


class Links(html.parser.HTMLParser):
    """Collects the targets of a simple-index page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def open_url(url: str, settings: PipSettings) -> bytes:
    """Fetch one file of bounded size from the index, with its credentials in a header."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"https", "http", "file"}:
        raise BootstrapError(f"index {without_credentials(url)}: expected https, http or file")
    request = urllib.request.Request(without_credentials(url))  # noqa: S310 - scheme checked above
    if parts.username:
        pair = (
            f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        )
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    context = None
    if parts.scheme == "https":
        import ssl

        context = ssl.create_default_context(cafile=settings.certificates)
    with urllib.request.urlopen(  # noqa: S310 - scheme checked above
        request, timeout=FETCH_TIMEOUT_S, context=context
    ) as response:
        body: bytes = response.read(WHEEL_LIMIT_BYTES + 1)
    if len(body) > WHEEL_LIMIT_BYTES:
        raise BootstrapError(f"{without_credentials(url)}: more than {WHEEL_LIMIT_BYTES} bytes")
    return body


def fetch_pip(folder: Path, environ: dict[str, str]) -> Path:
    """Download the pinned pip wheel into a folder and check its hash.

    Raises:
        BootstrapError: the index cannot be reached, has no such file, or another content.
    """
    settings = read_pip_settings(environ)
    page_url = f"{settings.index_url}/pip/"
    shown = f"{without_credentials(settings.index_url)} (from {settings.origin})"
    try:
        page = open_url(page_url, settings).decode("utf-8", "replace")
        links = Links()
        links.feed(page)
        for target in links.targets:
            url = urllib.parse.urljoin(page_url, target).partition("#")[0]
            if url.rpartition("/")[2] == PIP_WHEEL:
                body = open_url(url, settings)
                break
        else:
            raise BootstrapError(f"{shown} offers no {PIP_WHEEL}")
    except (urllib.error.URLError, OSError) as error:
        raise BootstrapError(
            f"{PIP_WHEEL} cannot be fetched from {shown}: {error}; set PIP_INDEX_URL to an index"
            " that this machine reaches, or install python3-venv"
        ) from error
    found = hashlib.sha256(body).hexdigest()
    if found != PIP_SHA256:
        raise BootstrapError(f"{PIP_WHEEL} from {shown}: SHA-256 {found}, expected {PIP_SHA256}")
    wheel = folder / PIP_WHEEL
    wheel.write_bytes(body)
    return wheel


# --- the environment ----------------------------------------------------------------------------


def run(command: Sequence[str | Path], *, quiet: bool = False) -> int:
    """Run a program in the checkout and return its exit code; quiet hides what it prints."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(  # noqa: S603 - our own fixed commands
        [str(part) for part in command], cwd=ROOT, stdout=sink, stderr=sink, check=False
    ).returncode


def has_module(python: str | Path, module: str) -> bool:
    return run([python, "-c", f"import {module}"], quiet=True) == 0


def is_base_debian_python() -> bool:
    return sys.executable.startswith("/usr/bin/") and shutil.which("apt-get") is not None


def apt_install(packages: Sequence[str]) -> bool:
    """Install Debian packages without a question; False when it did not work."""
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    return run(["apt-get", "update", "-q"], quiet=True) == 0 and run(install, quiet=True) == 0


def make_environment(venv: Path) -> list[str]:
    """Create the environment if it is not there; return the command that runs pip for it."""
    python = venv / "bin/python"
    works = python.exists() and run([python, "-c", "pass"], quiet=True) == 0
    if not works:
        if venv.exists():
            say(f"{venv.name} does not run (its Python went away): made anew")
            shutil.rmtree(venv)
        create_environment(venv)
    if has_module(python, "pip"):
        return [str(python), "-m", "pip"]
    if has_module(python, "ensurepip") and run([python, "-m", "ensurepip"], quiet=True) == 0:
        return [str(python), "-m", "pip"]
    say(f"no ensurepip here: fetching the pinned {PIP_WHEEL} through the configured index")
    with tempfile.TemporaryDirectory(dir=venv) as folder:
        wheel = fetch_pip(Path(folder), dict(os.environ))
        pip_in_wheel = [str(python), f"{wheel}/pip"]
        if run([*pip_in_wheel, "install", "-q", "--no-index", "--no-deps", wheel]) != 0:
            raise BootstrapError(f"{PIP_WHEEL} could not be installed into {venv}")
    return [str(python), "-m", "pip"]


def create_environment(venv: Path) -> None:
    """Make the bare environment by the first way that works on this machine."""
    if not has_module(sys.executable, "ensurepip") and is_base_debian_python():
        package = f"python3.{sys.version_info.minor}-venv"
        if os.geteuid() != 0:
            say(f"this python3 has no ensurepip, and not root: going on without {package}")
        elif apt_install([package]):
            say(f"this python3 had no ensurepip: installed {package} with apt")
        else:
            say(f"apt could not install {package}: going on without it")
    if has_module(sys.executable, "ensurepip"):
        if run([sys.executable, "-m", "venv", venv]) == 0:
            say(f"made {venv.name} with venv and ensurepip ({sys.executable})")
            return
        shutil.rmtree(venv, ignore_errors=True)
    if run([sys.executable, "-m", "venv", "--without-pip", venv]) != 0:
        raise BootstrapError(
            f"{sys.executable} -m venv failed; install the package that holds venv"
            f" (Debian: apt-get install python3-venv) and run again"
        )
    say(f"made {venv.name} with venv, without pip ({sys.executable})")


def fingerprint(kind: str) -> str:
    """Return what the environment depends on, as one hash."""
    digest = hashlib.sha256(f"{sys.version}\0{ROOT}\0".encode())
    for name in (LOCKS[kind], "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_current(venv: Path, kind: str) -> bool:
    """True when the stamp of this kind matches and the environment is still there."""
    stamp = venv / f".tapewatch-{kind}"
    try:
        return (
            stamp.read_text(encoding="ascii") == fingerprint(kind)
            and (venv / "bin/tapewatch").exists()
        )
    except OSError:
        return False


def install(venv: Path, kind: str) -> None:
    """Bring the environment to the state of the lock file and put the project into it."""
    pip = [*make_environment(venv), "--disable-pip-version-check", "--no-input"]
    lock = LOCKS[kind]
    say(f"installing what {lock} pins (hashes checked)")
    # --only-binary keeps other people's build scripts from running on this machine.
    # Twice quiet: no warnings about mirrors that lack one package; errors still show.
    if run([*pip, "install", "-qq", "--require-hashes", "--only-binary", ":all:", "-r", lock]) != 0:
        raise BootstrapError(
            f"pip could not install {lock}; its own message stands above. Needed: the package"
            " index that pip is configured for (pip config list)"
        )
    project = ["--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)]
    if run([*pip, "install", "-qq", *project]) != 0:
        raise BootstrapError("pip could not install the checkout itself; its message stands above")


@contextlib.contextmanager
def locked(venv: Path) -> Iterator[None]:
    """Hold a lock beside the environment, so that two commands at once do not build it twice."""
    with (venv.parent / f"{venv.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(LOCKS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    options = parser.parse_args(arguments)
    venv: Path = options.venv.absolute()
    if sys.version_info < MINIMUM:
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"bootstrap: {sys.executable} is Python {found}; Tapewatch needs 3.11 or newer."
            " Name another: make PYTHON=python3.12 run",
            file=sys.stderr,
        )
        return 1
    wanted: str = options.kind
    # What the tests need holds all that running needs.
    if any(is_current(venv, kind) for kind in {wanted, "dev"}):
        return 0
    started = time.monotonic()
    try:
        with locked(venv):
            if not is_current(venv, wanted):
                install(venv, wanted)
                (venv / f".tapewatch-{wanted}").write_text(fingerprint(wanted), encoding="ascii")
    except (BootstrapError, OSError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    say(f"{venv.name} is ready ({wanted}, {time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
