"""Wrong usage, help, and the commands that need neither daemon nor data."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tapewatch import __version__
from tapewatch.cli.main import execute
from tapewatch.cli.reference import helps, reference_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "cli.md"
COMMANDS = dict(helps())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["status", "--bogus"],
        ["status", "surplus"],
        ["health", "a", "b"],
        ["run", "--config"],
        ["tail", "--lines", "many"],
        ["tail", "--lines", "-1"],
        ["tail", "--severity", "loud"],
        ["tail", "--since", "yesterday-ish"],
        ["metrics", "pnl", "--window", "soon"],
        ["metrics", "pnl", "--window", "0s"],
        ["metrics", "pnl daily"],
        ["metrics", "pnl", "--aggregate", "median"],
        ["metrics", "pnl", "--format", "xml"],
        ["metrics", "pnl", "--step", "2h", "--window", "1h"],
        ["metrics", "export", "--since", "now", "--until", "1h"],
        ["query"],
        ["query", "1", "--step", "1s"],
        ["query", "1", "--time", "noonish"],
        ["query", "1", "--range", "-5m"],
        ["ack"],
        ["config"],
        ["config", "bogus"],
        ["completion"],
        ["completion", "tcsh"],
        ["demo", "--seconds", "zero"],
        ["demo", "--speed", "1000"],
        ["init", "a", "b"],
        ["doctor", "now"],
        ["check-config", "a", "b"],
        ["version", "please"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64_and_never_a_verdict(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TAPEWATCH_DATA_DIR", str(tmp_path / "data"))
    assert execute(arguments) == 64
    shown = capsys.readouterr()
    assert shown.err
    assert shown.out == "" or not arguments


def test_wrong_usage_is_64_in_a_process_of_its_own(command) -> None:
    done = command("status", "--bogus")
    assert (done.returncode, done.stdout) == (64, "")
    assert "No such option: --bogus" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_a_first_line(name: str) -> None:
    text = COMMANDS[name]
    assert text.startswith(f"Usage: {name}")
    assert len(text.splitlines()[2].strip()) > 10


@pytest.mark.parametrize("name", [n for n in COMMANDS if "Commands:" not in COMMANDS[n]])
def test_every_command_has_examples_that_begin_with_it(name: str) -> None:
    text = COMMANDS[name]
    examples = text.split("Examples:\n\n")[1].split("\n\n")[0]
    spelt = name.replace("metrics show", "metrics")
    assert spelt in examples
    assert all(len(line) <= 96 for line in examples.splitlines())


def test_help_is_the_same_in_a_process_of_its_own(command) -> None:
    done = command("status", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: tapewatch status [OPTIONS]")
    assert command("metrics", "--help").stdout.count("export") >= 1
    assert command("-h").returncode == 0


def test_the_reference_page_is_in_step_with_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_text(), (
        "run: python -m tapewatch.cli.reference > docs/reference/cli.md"
    )


def test_help_starts_fast(command) -> None:
    """The best of some tries: the machine may be busy with other tests."""
    best = min(timed(command) for _ in range(5))
    assert best < 0.25, f"tapewatch --help took {best:.3f} s of CPU time"


def timed(command) -> float:  # type: ignore[no-untyped-def]
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, '-m', 'tapewatch', '--help'], stdout=-3);"
        "r = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(r.ru_utime + r.ru_stime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=command.environ,
    )
    return float(done.stdout)


def test_starting_imports_nothing_heavy() -> None:
    heavy = {"pydantic", "numpy", "rich", "httpx2", "uvicorn", "starlette", "ruamel", "sqlite3"}
    code = "import sys, tapewatch.cli.main; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_version_in_three_ways(command) -> None:
    assert command("version").stdout == f"tapewatch {__version__}\n"
    assert command("--version").stdout == f"tapewatch {__version__}\n"
    assert json.loads(command("version", "--json").stdout)["version"] == __version__


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(command, shell: str) -> None:
    done = command("completion", shell)
    assert done.returncode == 0
    assert "_TAPEWATCH_COMPLETE" in done.stdout


def test_the_bash_completion_really_completes(command) -> None:
    script = command("completion", "bash").stdout
    folder = command.home / "bin"
    folder.mkdir()
    program = folder / "tapewatch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tapewatch "$@"\n')
    program.chmod(0o755)
    test = (
        script + "\nCOMP_WORDS=(tapewatch st); COMP_CWORD=1; "
        '_tapewatch_completion tapewatch; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", test],
        capture_output=True,
        text=True,
        check=False,
        env=command.environ | {"PATH": f"{folder}:/usr/bin:/bin"},
    )
    assert done.stdout.split() == ["status"], done.stderr


def monitor(command: Any, *arguments: str, python: Sequence[str] = (sys.executable,)) -> Any:
    """Run ``scripts/monitor.py`` as a user would."""
    return subprocess.run(
        [*python, str(ROOT / "scripts" / "monitor.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=command.environ,
    )


@pytest.mark.requirement("S5-31")
@pytest.mark.parametrize("name", ["tail", "status", "health", "metrics"])
def test_the_script_of_the_document_is_a_wrapper(command, name: str) -> None:
    done = monitor(command, name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: tapewatch {name}")


@pytest.mark.requirement("S5-31")
@pytest.mark.parametrize("wrong", ["run", "bogus", "--data-dir"])
def test_the_script_knows_only_its_four_commands(command, wrong: str) -> None:
    done = monitor(command, wrong)
    assert done.returncode == 64
    expected = "expected one of tail, status, health, metrics"
    assert done.stderr == f"monitor.py: found {wrong!r}, {expected}\n"


@pytest.mark.requirement("S5-31")
@pytest.mark.parametrize(("arguments", "code"), [((), 64), (("-h",), 0), (("--help",), 0)])
def test_the_scripts_help_shows_its_four_commands_alone(command, arguments, code: int) -> None:
    done = monitor(command, *arguments)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("Usage: monitor.py COMMAND")
    assert [
        w for w in ("tail", "status", "health", "metrics") if f"\n  {w} " not in done.stdout
    ] == []
    assert "demo" not in done.stdout


@pytest.mark.requirement("S5-31")
def test_the_script_answers_with_the_commands_output_and_exit_code(command) -> None:
    by_script = monitor(command, "status", "--quiet")
    itself = command("status", "--quiet")
    assert (by_script.returncode, by_script.stdout) == (3, itself.stdout)
    wrong = monitor(command, "status", "--nope")
    assert (wrong.returncode, wrong.stdout) == (64, "")
    assert "No such option: --nope" in wrong.stderr


@pytest.mark.requirement("S5-31")
def test_the_script_says_which_python_lacks_tapewatch(command) -> None:
    # Isolated and without site-packages, as the system's own Python is.
    done = monitor(command, "status", python=[sys.executable, "-I", "-S"])
    assert done.returncode == 1
    assert "has no module 'tapewatch'" in done.stderr
    assert "next: run it with the Python that tapewatch is installed for" in done.stderr


@pytest.mark.requirement("S5-31")
def test_ctrl_c_ends_the_script_quietly(command) -> None:
    with subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "monitor.py"), "tail"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=command.environ,
    ) as following:
        assert following.stderr is not None
        said = following.stderr.readline()
        following.send_signal(signal.SIGINT)
        rest = following.communicate(timeout=10)
    assert following.returncode == 130, said
    assert rest == ("", "")


class TestInit:
    def test_the_file_is_written_for_its_owner_alone_and_validates(self, command) -> None:
        done = command("init")
        path = command.home / ".config" / "tapewatch" / "tapewatch.yaml"
        assert done.stdout.splitlines() == [f"wrote {path}", "next: tapewatch run"]
        assert path.stat().st_mode & 0o777 == 0o600
        checked = command("check-config")
        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.startswith(f"OK: {path}: ")

    def test_an_existing_file_is_never_overwritten(self, command) -> None:
        path = command.home / "mine.yaml"
        path.write_text("timezone: UTC\n")
        done = command("init", str(path))
        assert done.returncode == 1
        assert "exists and is left as it is" in done.stderr
        assert path.read_text() == "timezone: UTC\n"

    def test_a_dash_is_standard_output(self, command) -> None:
        done = command("init", "-")
        assert done.stdout.startswith("# yaml-language-server: $schema=")
        assert not (command.home / ".config").exists()

    def test_a_place_that_cannot_be_written_is_an_error(self, command) -> None:
        done = command("init", "/proc/tapewatch.yaml")
        assert done.returncode == 1
        assert done.stderr.startswith("tapewatch: error: cannot write /proc/tapewatch.yaml")


class TestCheckConfig:
    @pytest.mark.requirement("S5-81")
    def test_every_problem_is_told_in_one_pass(self, command) -> None:
        path = command.home / "bad.yaml"
        path.write_text("lisen: 1\nstorage: {max_series: many}\n")
        done = command("check-config", str(path))
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == (
            f'{path}:1:1: unknown key "lisen"; did you mean "listen"?\n'
            f'{path}:2:23: storage.max_series: found "many", expected a whole number\n'
            "tapewatch: error: 2 problems in the configuration\n"
        )

    def test_json_gives_the_places_apart(self, command) -> None:
        path = command.home / "bad.yaml"
        path.write_text("log: {level: loud}\n")
        done = command("check-config", str(path), "--json")
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["ok"]) == (1, False)
        problem = answer["problems"][0]
        assert (problem["path"], problem["line"], problem["column"]) == (str(path), 1, 14)

    def test_rules_thresholds_and_webhooks_are_checked_with_it(self, command) -> None:
        (command.home / "rules.yaml").write_text(
            "groups:\n- name: g\n  rules:\n  - alert: a\n    expr: sum(\n"
        )
        path = command.home / "tapewatch.yaml"
        path.write_text("packs: []\nrules: [rules.yaml]\n")
        done = command("check-config", str(path))
        assert done.returncode == 1
        assert "rules.yaml:5:" in done.stderr
        path.write_text(
            "packs: []\nreceivers:\n"
            "  - {name: x, kind: webhook, url: 'http://169.254.169.254/latest'}\n"
        )
        done = command("check-config", str(path))
        assert done.returncode == 1
        assert re.search(r"tapewatch\.yaml:3:\d+: receiver \"x\": url: ", done.stderr)
        assert "latest" not in done.stderr

    def test_an_unknown_severity_is_a_warning_on_both_faces(self, command) -> None:
        (command.home / "rules.yaml").write_text(
            "groups:\n- name: g\n  rules:\n  - {alert: a, expr: x > 1, labels: {severity: page}}\n"
        )
        path = command.home / "tapewatch.yaml"
        path.write_text("packs: []\nrules: [rules.yaml]\n")
        done = command("check-config", str(path))
        assert done.returncode == 0
        assert "rules.yaml:4:48: alert 'a': unknown severity 'page'" in done.stderr
        answer = json.loads(command("check-config", str(path), "--json").stdout)
        assert answer["ok"] is True
        assert "counts as warning" in answer["warnings"][0]

    def test_run_check_is_the_same(self, command) -> None:
        path = command.home / "tapewatch.yaml"
        path.write_text("packs: []\n")
        done = command("run", "--check", "--config", str(path), "--listen", "0.0.0.0:1")
        assert done.returncode == 1
        assert done.stderr.startswith("flag --listen: listen: 0.0.0.0:1 can be reached by")
        assert command("run", "--check", "--config", str(path)).returncode == 0


class TestDoctor:
    def found(self, command, *arguments: str) -> dict[str, dict[str, str]]:  # type: ignore[no-untyped-def]
        done = command("doctor", "--json", *arguments)
        return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}

    def test_a_fresh_machine_is_all_right(self, command) -> None:
        found = self.found(command)
        assert found["configuration"]["found"] == "defaults; there is no file"
        assert found["data directory"]["outcome"] == "ok"
        assert found["preallocation"]["outcome"] == "skipped"
        assert found["session"]["outcome"] == "not_configured"

    def test_a_wrong_configuration_is_a_finding_and_the_rest_is_looked_at(self, command) -> None:
        path = command.home / "bad.yaml"
        path.write_text("lisen: 1\n")
        done = command("doctor", "--config", str(path))
        assert done.returncode == 1
        assert 'unknown key "lisen"' in done.stdout
        assert "data directory" in done.stdout

    def test_an_open_data_directory_is_warned_of_with_the_fix(self, command) -> None:
        data = command.home / "data"
        data.mkdir()
        data.chmod(0o755)
        finding = self.found(command, "--data-dir", str(data))["data directory"]
        assert finding["outcome"] == "warning"
        assert finding["fix"] == f"chmod 700 {data}"
        assert list(data.iterdir()) == []

    def test_a_data_directory_that_is_a_file_fails(self, command) -> None:
        data = command.home / "data"
        data.touch()
        assert self.found(command, "--data-dir", str(data))["data directory"]["outcome"] == "failed"

    def test_a_busy_port_fails(self, command) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            path = command.home / "tapewatch.yaml"
            path.write_text(f"listen: 127.0.0.1:{port}\n")
            finding = self.found(command, "--config", str(path))["port"]
        assert finding["outcome"] == "failed"
        assert "in use" in finding["found"]

    def test_webhooks_are_called_only_when_asked(self, command) -> None:
        path = command.home / "tapewatch.yaml"
        path.write_text(
            "receivers:\n  - {name: ops, kind: webhook, url: 'http://127.0.0.1:1/secret-path'}\n"
        )
        finding = self.found(command, "--config", str(path))["receiver ops"]
        assert finding["outcome"] == "skipped"
        finding = self.found(command, "--config", str(path), "--network")["receiver ops"]
        assert finding["outcome"] == "failed"
        assert "secret-path" not in json.dumps(finding)

    def test_a_data_directory_that_cannot_be_made_is_called_so(self, command) -> None:
        (command.home / "file").write_text("")
        for place in ("/proc/nothing", str(command.home / "file" / "data")):
            findings = json.loads(command("doctor", "--data-dir", place, "--json").stdout)
            assert "name another: --data-dir" in json.dumps(findings)
        done = command("run", "--data-dir", str(command.home / "file"))
        assert done.returncode == 1
        assert "file is not a directory" in done.stderr
        assert "--data-dir DIR" in done.stderr

    def test_a_clock_that_was_set_back_is_warned_of(self, command) -> None:
        data = command.home / "data"
        data.mkdir(mode=0o700)
        state = data / "state.db"
        state.touch()
        ahead = time.time() + 3600
        os.utime(state, (ahead, ahead))
        finding = self.found(command, "--data-dir", str(data))["clock"]
        assert finding["outcome"] == "warning"
        assert "set back" in finding["fix"]


class TestRun:
    @pytest.mark.requirement("T1")
    def test_an_open_door_is_refused_before_anything_is_made(self, command) -> None:
        done = command("run", "--listen", "0.0.0.0:8090")
        assert done.returncode == 1
        assert "there is no token" in done.stderr
        assert not (command.home / ".local").exists()

    @pytest.mark.requirement("S5-20")
    def test_switched_off_it_leaves_no_trace(self, command) -> None:
        done = command("run", environ={"TAPEWATCH_MONITORING__ENABLED": "false"})
        assert done.returncode == 0
        assert not (command.home / ".local").exists()

    def test_a_busy_port_is_told(self, command) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = command(
                "run", "--listen", f"127.0.0.1:{port}", environ={"TAPEWATCH_PACKS": "[]"}
            )
        assert done.returncode == 1
        assert str(port) in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_data_directory_that_cannot_be_made_is_told(self, command) -> None:
        done = command("run", "--data-dir", "/proc/tapewatch", environ={"TAPEWATCH_PACKS": "[]"})
        assert done.returncode == 1
        assert "/proc/tapewatch" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_broken_configuration_does_not_hide_a_running_system(calm) -> None:
    broken = {"TAPEWATCH_LOG__LEVEL": "loud", "TAPEWATCH_DATA_DIR": str(calm.data_dir)}
    done = calm.command("status", environ=broken)
    assert done.returncode == 0
    assert "warning: the configuration has 1 problem" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["status"], 3), (["health"], 3), (["version"], 1)]
)
def test_output_that_cannot_be_written_is_an_error_and_never_a_verdict(
    tmp_path: Path, arguments: list[str], expected: int
) -> None:
    environment = {**os.environ, "TAPEWATCH_DATA_DIR": str(tmp_path / "none")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tapewatch", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=60,
        )

    told = "tapewatch: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (expected, told)


def test_a_closed_standard_output_leaves_the_exit_code(tmp_path: Path) -> None:
    environment = {**os.environ, "TAPEWATCH_DATA_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m tapewatch status >&-"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (3, "")
