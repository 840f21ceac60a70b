"""Files in the data directory are cut, flipped, replaced: the next start needs no hand."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapewatch.tape.control import control_path
from tapewatch.testing.daemon import eventually
from tests.faults.conftest import FULL
from tests.faults.oracle import check_left_behind, engines_of, storage_health


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 13)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.write_bytes(random.randbytes(50_000))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in random.sample(range(len(data)), 200):
        data[place] ^= 0xFF
    data[20] ^= 0xFF
    path.write_bytes(data)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()


def wrong_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()[:1]:
            connection.execute(f"DROP TABLE {table}")
    connection.close()


DAMAGES: list[Callable[[Path], None]] = [cut, emptied, garbage, flipped, newer, wrong_schema]


@pytest.mark.requirement("F44", "F40")
def test_a_damaged_store_is_set_aside_and_said_and_the_start_needs_no_hand(
    chaos: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    running.start()
    oracle.raise_for(0.5)
    oracle.wait_until_told()
    cases = [(name, damage) for name in ("state.db", "samples.db") for damage in DAMAGES]
    if not FULL:
        # Both stores by the same code: each damage once, in turn.
        cases = cases[:: len(DAMAGES) + 1] + cases[2::4]
    for name, damage in cases:
        assert running.stop() == 0
        damage(running.data_dir / name)
        running.start()
        health = storage_health(running)
        where = f"{name} {damage.__name__}"
        assert "moved to" in health["message"], where
        assert name in health["message"], where
        oracle.sink.wait_for("store_recovered")
        assert any(line["event"] == "store_recovered" for line in running.log_lines()), where
        oracle.raise_case()
        oracle.wait_until_told()
    asides = [
        p for p in running.data_dir.glob("*.corrupt-*") if not p.name.endswith(("wal", "shm"))
    ]
    assert len(asides) == len(cases), "what was damaged is kept"
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F40", "F12")
def test_lock_and_control_files_full_of_garbage_hold_nobody_up(chaos: Any) -> None:
    running, oracle = chaos()
    running.start()
    oracle.raise_case()
    oracle.wait_until_told()
    (tape,) = (running.data_dir / "tapes").glob("*.tape")
    for content in (b"", b"4294967295999\n", b"\xff" * 300):
        running.kill()
        (running.data_dir / "daemon.lock").write_bytes(content)
        control = Path(control_path(tape))
        size = control.stat().st_size
        with control.open("r+b") as file:
            file.write((content * size)[:size])
        running.start()
        oracle.raise_case()
        oracle.wait_until_told()
    oracle.check_ticks(running)


@pytest.mark.requirement("F41", "T25")
def test_garbage_among_the_tapes_is_named_and_the_others_are_read(chaos: Any) -> None:
    running, oracle = chaos()
    tapes = running.data_dir / "tapes"
    eventually(lambda: list(tapes.glob("*.tape")), "the engine's tape")
    (true,) = tapes.glob("*.tape")
    header = true.read_bytes()[:65536]
    made = {
        "empty.tape": b"",
        "garbage.tape": random.randbytes(100_000),
        "short.tape": header[:100],
        "flipped.tape": bytes(b ^ 0x55 for b in header),
    }
    for name, data in made.items():
        (tapes / name).write_bytes(data)
    (tapes / "link.tape").symlink_to(true)
    (tapes / "directory.tape").mkdir()
    os.mkfifo(tapes / "pipe.tape")
    running.start()
    oracle.raise_for(0.3)
    oracle.wait_until_told()
    unreadable = running.get("/status")[1]["unreadable_tapes"]
    assert set(unreadable) >= {*made, "link.tape", "directory.tape", "pipe.tape"}
    assert [e["name"] for e in engines_of(running)] == ["engine0"]

    (tapes / "late.tape").write_bytes(b"TAPE" + random.randbytes(64))
    eventually(
        lambda: "late.tape" in running.get("/status")[1]["unreadable_tapes"],
        "the late one to be named",
    )
    for name in [*made, "late.tape", "link.tape", "pipe.tape"]:
        (tapes / name).unlink()
    (tapes / "directory.tape").rmdir()
    eventually(
        lambda: running.get("/status")[1]["unreadable_tapes"] == {}, "removed ones to be forgotten"
    )
    oracle.check_ticks(running)
    assert running.stop() == 0


@pytest.mark.requirement("F43", "P1", "P3")
def test_a_store_locked_by_another_program_delays_nobody(chaos: Any, tmp_path: Path) -> None:
    running, oracle = chaos()
    running.start()
    other = sqlite3.connect(running.data_dir / "state.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    late = []
    until = time.monotonic() + (60 if FULL else 10)
    while time.monotonic() < until:
        case = oracle.raise_case()
        began = time.monotonic()
        eventually(lambda case=case: case in oracle.told(), "the case to be told", timeout_s=5)
        late.append(time.monotonic() - began)
        time.sleep(0.2)
    assert storage_health(running)["status"] == "degraded"
    assert "locked" in storage_health(running)["message"]
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: storage_health(running)["status"] == "healthy", "it to heal", timeout_s=10)
    assert max(late) < 5, late
    running.kill()
    running.start()
    oracle.wait_until_told()
    oracle.check_repeats(at_most=oracle.cases)
    oracle.check_ticks(running)
    assert running.stop() == 0
    check_left_behind(tmp_path, running)


@pytest.mark.requirement("F45")
def test_the_alert_file_survives_a_torn_line_a_lost_directory_and_lost_rights(
    chaos: Any, tmp_path: Path
) -> None:
    running, oracle = chaos()
    config = running.config_path.read_text()
    running.config_path.write_text(
        config.replace("receivers: [", "receivers: [{name: file, kind: jsonl}, ")
    )
    running.start()
    directory = tmp_path / "data" / "logs" / "alerts"

    def recorded() -> set[str]:
        lines = [line for p in directory.glob("*.jsonl") for line in p.read_text().splitlines()]
        found = set()
        for line in lines:
            try:
                found.add(json.loads(line)["labels"].get("case"))
            except ValueError:
                assert line == '{"timestamp": "torn', "only the torn line is no record"
        return found

    first = oracle.raise_case()
    eventually(lambda: first in recorded(), "the first line")
    (path,) = directory.glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"timestamp": "torn')
    second = oracle.raise_case()
    eventually(lambda: {first, second} <= recorded(), "a line after the torn one")

    shutil.rmtree(directory)
    third = oracle.raise_case()
    eventually(lambda: third in recorded(), "the directory to be made anew")

    shutil.rmtree(directory)
    directory.write_text("in the way")
    fourth = oracle.raise_case()
    oracle.wait_until_told()
    eventually(
        lambda: any(
            r["name"] == "file" and r.get("last_error")
            for r in running.get("/status")[1]["receivers"]
        ),
        "the receiver to say what is wrong",
    )
    directory.unlink()
    eventually(lambda: directory.exists() and fourth in recorded(), "what waited", timeout_s=60)
    assert running.stop() == 0
