"""A canary for every secret: no command, and nothing that the daemon writes, ever shows it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tapewatch.testing.daemon import DaemonProcess

TOKEN = "canary7Token-vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4oViQ6x"
SECRET = "canary7Secret-kD3vX9_qLw7RzT1bN5yHcJ8mPfA2sGuE4"
URL_PATH = "services/canary7Path/T0B0"
CANARY = "canary7"


@pytest.mark.requirement("T27")
def test_no_secret_is_in_any_output(command) -> None:
    home = command.home
    for name, text in (("token", TOKEN), ("secret", SECRET)):
        (home / name).write_text(text + "\n")
        (home / name).chmod(0o600)
    daemon = DaemonProcess(
        home / "live",
        "packs: []\nlog: {level: debug, file: {path: own.log}}\n"
        f"web: {{auth_token_file: {home / 'token'}}}\n"
        "receivers:\n"
        "  - {name: log, kind: log}\n"
        f"  - {{name: ops, kind: webhook, url: 'http://127.0.0.1:1/{URL_PATH}',"
        f" secret_file: {home / 'secret'}}}\n",
    )
    daemon.start()
    config = ["--config", str(daemon.config_path)]
    try:
        seen = [
            json.dumps(daemon.get(path))
            for path in ("/status", "/metrics", "/health/detailed", "/api/tapewatch/config")
        ]
        for arguments in (
            ["config", "show"],
            ["config", "show", "--json"],
            ["check-config", "--json"],
            ["doctor", "--network"],
            ["status", "--json"],
            ["health", "--json"],
            ["ack", "nothing"],
            ["query", "up"],
            ["status", "--url", f"http://127.0.0.1:{daemon.port}", "--token-file", "/dev/null"],
        ):
            done = command(*arguments, *config)
            seen.append(done.stdout + done.stderr)
        assert '"********"' in seen[5]
        assert daemon.process is not None
        seen.append(Path(f"/proc/{daemon.process.pid}/cmdline").read_text())
        daemon.process.send_signal(signal.SIGHUP)
        authorised = command(
            *("status", "--url", f"http://127.0.0.1:{daemon.port}"),
            *("--token-file", str(home / "token"), "--json"),
        )
        assert json.loads(authorised.stdout)["running"] is True
    finally:
        daemon.stop()
    seen.append(daemon.log_path.read_text())
    own = home / "live" / "data" / "own.log"
    assert "daemon_started" in own.read_text()
    seen.append(own.read_text())
    for number, text in enumerate(seen):
        assert CANARY not in text, f"output {number}: {text}"


@pytest.mark.requirement("T27")
def test_a_wrong_token_in_a_variable_is_refused_without_showing_it(command) -> None:
    done = command("config", "show", environ={"TAPEWATCH_WEB__AUTH_TOKEN": "canary7-short"})
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
