"""The bootstrap finds the right index, trusts no wrong wheel, and does its work once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools import bootstrap
from tools.bootstrap import BootstrapError, fetch_pip, read_pip_settings, without_credentials

ROOT = Path(__file__).parents[2]


def environ(home: Path, **extra: str) -> dict[str, str]:
    return {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "xdg"), **extra}


def pip_conf(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_without_configuration_the_index_is_pips_own_default(tmp_path: Path) -> None:
    found = read_pip_settings(environ(tmp_path, PIP_CONFIG_FILE="/dev/null"))
    assert (found.index_url, found.origin) == (bootstrap.DEFAULT_INDEX, "pip's default")
    assert found.certificates is None


def test_a_users_file_is_stronger_than_a_sites_and_the_environment_than_both(
    tmp_path: Path,
) -> None:
    pip_conf(tmp_path / "xdg/pip/pip.conf", "[global]\nindex-url = https://site.example/simple/\n")
    found = read_pip_settings(environ(tmp_path))
    assert found.index_url == "https://site.example/simple"
    user = pip_conf(
        tmp_path / ".config/pip/pip.conf",
        "[global]\nindex-url = https://user.example/simple\ncert = ca.pem\n",
    )
    found = read_pip_settings(environ(tmp_path))
    assert found.index_url == "https://user.example/simple"
    assert found.origin == str(user)
    found = read_pip_settings(environ(tmp_path, PIP_INDEX_URL="https://env.example/simple"))
    assert (found.index_url, found.origin) == ("https://env.example/simple", "PIP_INDEX_URL")


def test_uvs_index_serves_when_pip_names_none(tmp_path: Path) -> None:
    found = read_pip_settings(environ(tmp_path, UV_INDEX_URL="https://uv.example/simple"))
    assert found.index_url == "https://uv.example/simple"


def test_a_damaged_pip_file_is_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = pip_conf(tmp_path / ".config/pip/pip.conf", "index-url = before any section\n")
    assert read_pip_settings(environ(tmp_path)).index_url
    assert str(broken) in capsys.readouterr().out


def test_a_password_in_the_index_is_never_shown() -> None:
    shown = without_credentials("https://user:secret@index.example:8443/simple")
    assert shown == "https://index.example:8443/simple"


def local_index(folder: Path, content: bytes) -> str:
    page = folder / "pip"
    page.mkdir(parents=True)
    (folder / bootstrap.PIP_WHEEL).write_bytes(content)
    (page / "index.html").write_text(
        f'<a href="../other-1.0.whl">x</a><a href="../{bootstrap.PIP_WHEEL}#sha256=00">pip</a>'
    )
    return folder.as_uri()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder stand for an index: its pages are files."""
    real = bootstrap.open_url

    def open_page(url: str, settings: bootstrap.PipSettings) -> bytes:
        return real(url + "index.html" if url.endswith("/") else url, settings)

    monkeypatch.setattr(bootstrap, "open_url", open_page)


@pytest.mark.requirement("T32")
@pytest.mark.usefixtures("serve")
def test_a_wheel_with_another_content_is_refused(tmp_path: Path) -> None:
    index = local_index(tmp_path / "index", b"not pip")
    with pytest.raises(BootstrapError, match=r"SHA-256 .* expected f3b60b20"):
        fetch_pip(tmp_path, environ(tmp_path, PIP_INDEX_URL=index))
    assert not (tmp_path / bootstrap.PIP_WHEEL).exists()


@pytest.mark.usefixtures("serve")
def test_the_right_wheel_is_fetched_through_the_configured_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PIP_SHA256", hashlib.sha256(b"a wheel").hexdigest())
    index = local_index(tmp_path / "index", b"a wheel")
    wheel = fetch_pip(tmp_path, environ(tmp_path, PIP_INDEX_URL=index))
    assert wheel.read_bytes() == b"a wheel"


@pytest.mark.usefixtures("serve")
def test_an_index_without_the_wheel_or_without_an_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "index/pip").mkdir(parents=True)
    (tmp_path / "index/pip/index.html").write_text("<a href='pip-1.0.tar.gz'>old</a>")
    index = (tmp_path / "index").as_uri()
    with pytest.raises(BootstrapError, match=f"offers no {bootstrap.PIP_WHEEL}"):
        fetch_pip(tmp_path, environ(tmp_path, PIP_INDEX_URL=index))
    gone = (tmp_path / "gone").as_uri()
    with pytest.raises(BootstrapError, match="set PIP_INDEX_URL"):
        fetch_pip(tmp_path, environ(tmp_path, PIP_INDEX_URL=gone))
    with pytest.raises(BootstrapError, match="expected https, http or file"):
        fetch_pip(tmp_path, environ(tmp_path, PIP_INDEX_URL="ftp://index.example/simple"))


def test_a_stamp_is_current_until_the_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, venv = tmp_path / "checkout", tmp_path / "venv"
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        pip_conf(checkout / name, "as it was\n")
    monkeypatch.setattr(bootstrap, "ROOT", checkout)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/tapewatch").touch()
    assert not bootstrap.is_current(venv, "run")
    (venv / ".tapewatch-run").write_text(bootstrap.fingerprint("run"))
    assert bootstrap.is_current(venv, "run")
    assert bootstrap.main(["run", "--venv", str(venv)]) == 0
    (checkout / "requirements.lock").write_text("changed\n")
    assert not bootstrap.is_current(venv, "run")


def test_the_bootstrap_runs_on_the_standard_library_alone() -> None:
    """No site packages, no environment: what a bare Debian python3 has."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "tools/bootstrap.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "{dev,run}" in done.stdout
