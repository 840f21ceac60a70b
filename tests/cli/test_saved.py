"""Commands without a daemon: they read what the last one saved, and never call it healthy."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.requirement("S5-34", "S5-85")


def contents(directory: Path) -> dict[str, str]:
    """Return a hash of every file that holds data."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        # SQLite's shared memory is scratch space that readers take part in.
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_nothing_saved_is_unknown_and_says_so(command) -> None:
    done = command("status")
    assert done.returncode == 3
    assert done.stdout.startswith(
        "TAPEWATCH UNKNOWN - 0 active alerts; engines: none seen; no daemon"
    )
    assert command("health", "--quiet").returncode == 3


def test_looking_makes_no_data_directory(command) -> None:
    for arguments in (["status"], ["health"], ["metrics"], ["tail", "--no-follow"], ["doctor"]):
        command(*arguments)
    assert not (command.home / ".local").exists()


def test_the_saved_alert_is_shown_and_stays_critical(left_behind) -> None:
    done = left_behind.run("status")
    assert done.returncode == 2
    assert done.stdout.startswith("TAPEWATCH CRITICAL - 1 active alert (1 CRITICAL)")
    assert "no daemon runs for" in done.stdout
    assert "P&L of momentum is -300" in done.stdout


def test_an_engine_that_ran_when_the_daemon_ended_is_unknown(left_behind) -> None:
    engine = left_behind.json("status")["engines"][0]
    assert engine["name"] == "momentum"
    assert engine["state"] == "unknown"
    assert engine["reason"].startswith("was running when the daemon ended; last tick 20")
    assert engine["ticks"] == 22


def test_without_alerts_it_is_still_unknown(live) -> None:
    live.daemon.kill(signal.SIGTERM)
    done = live.run("status", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 3
    assert answer["running"] is False
    assert answer["alerts"] == []


def test_good_news_of_a_dead_daemon_is_unknown(left_behind) -> None:
    checks = left_behind.json("health")["checks"]
    assert checks["daemon"] == {"status": "unknown", "message": "no daemon runs"}
    assert checks["broker:momentum"]["status"] == "unknown"
    assert checks["broker:momentum"]["message"].startswith("authenticated, ")
    assert checks["circuit_breaker:momentum"]["status"] == "unknown"
    assert left_behind.run("health").returncode == 3


@pytest.mark.requirement("S5-35")
def test_metrics_are_read_from_the_samples(left_behind) -> None:
    done = left_behind.run("metrics", "pnl_daily", "--json")
    assert json.loads(done.stdout) == [
        {
            "labels": {"engine": "momentum"},
            "min": -300.0,
            "max": 250.0,
            "avg": pytest.approx((250 + sum(range(100, 120)) - 300) / 22),
            "count": 22,
            "last": -300.0,
        }
    ]
    assert "reading what the last one saved" in done.stderr


def test_queries_are_answered_from_the_samples(left_behind) -> None:
    answer = left_behind.json("query", "min_over_time(pnl_daily[1h])")
    assert answer["data"]["result"][0]["value"][1] == "-300"


def test_taking_an_alert_needs_a_daemon(left_behind) -> None:
    done = left_behind.run("ack", "losing")
    assert done.returncode == 1
    assert "start it with: tapewatch run" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("ack", "losing", "--json"),
        ("retire", "momentum", "--json"),
        ("metrics", "nothing_of_this_name", "--json"),
        ("metrics", "nothing_of_this_name", "--format", "json"),
        ("metrics", "export", "nothing_of_this_name", "--json"),
        ("query", "sum(", "--json"),
    ],
)
def test_a_failure_is_json_where_json_was_asked_for(left_behind, arguments) -> None:
    done = left_behind.run(*arguments)
    said = json.loads(done.stdout)
    assert done.returncode == said["exit_code"] == 1
    assert {"error", "message", "next_step"} <= said.keys()
    assert said["message"].splitlines()[0] in done.stderr


def test_an_export_says_json_as_every_command_does(left_behind) -> None:
    done = left_behind.run("metrics", "export", "pnl_daily", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["metric"] for row in rows} == {"pnl_daily"}
    assert len(rows) == 22


def test_looking_changes_no_byte_of_what_was_saved(left_behind) -> None:
    before = contents(left_behind.data_dir)
    for arguments in (["status"], ["health"], ["metrics"], ["query", "pnl_daily"], ["doctor"]):
        left_behind.run(*arguments)
    assert contents(left_behind.data_dir) == before


def test_a_damaged_store_is_told_and_left_alone(command) -> None:
    data = command.home / "data"
    data.mkdir(mode=0o700)
    for name in ("state.db", "samples.db"):
        (data / name).write_bytes(b"this is not a database, whatever its name says" * 100)
    before = contents(data)
    done = command("status", "--data-dir", str(data))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    for arguments in (["health"], ["metrics"], ["query", "up"]):
        done = command(*arguments, "--data-dir", str(data))
        assert done.returncode in (1, 3)
        assert "Traceback" not in done.stderr
    assert contents(data) == before


def test_a_dead_socket_file_does_not_hold_anybody_up(live) -> None:
    live.daemon.kill(signal.SIGKILL)
    assert (live.data_dir / "tapewatch.sock").exists()
    done = live.run("status", "--json")
    assert json.loads(done.stdout)["running"] is False


def test_a_daemon_of_another_directory_is_not_asked(calm, tmp_path: Path) -> None:
    config = tmp_path / "tapewatch.yaml"
    config.write_text(f"listen: 127.0.0.1:{calm.daemon.port}\ndata_dir: {tmp_path / 'other'}\n")
    done = calm.command("status", "--config", str(config), "--json")
    assert json.loads(done.stdout)["running"] is False


def test_an_address_where_nobody_listens_is_unknown(command) -> None:
    done = command("status", "--url", "http://127.0.0.1:1")
    assert done.returncode == 3
    assert "nothing listens there" in done.stderr
