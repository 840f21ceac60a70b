"""Freshness of the files that an engine depends on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tapewatch.ingest.artifacts import ArtifactWatch, Freshness, check_freshness
from tapewatch.model.clock import HOUR, SECOND

NOW = 1_767_604_500 * SECOND


def touch(path: Path, age_hours: float) -> Path:
    path.write_bytes(b"model")
    stamp = NOW - round(age_hours * HOUR)
    os.utime(path, ns=(stamp, stamp))
    return path


@pytest.mark.requirement("S5-45", "S5-68", "S5-79")
def test_the_age_is_counted_from_the_files_own_time(tmp_path: Path) -> None:
    found = check_freshness(touch(tmp_path / "teacher.pkl", 25), NOW)

    assert found == Freshness(missing=False, age_seconds=25 * 3600.0, source="file")


@pytest.mark.requirement("S5-79")
@pytest.mark.parametrize("suffix", [".json", ".meta.json"])
def test_a_recorded_creation_time_goes_before_the_files_time(tmp_path: Path, suffix: str) -> None:
    model = touch(tmp_path / "teacher.pkl", 1)
    sidecar = tmp_path / f"teacher.pkl{suffix}"
    sidecar.write_text(json.dumps({"trained_at": "2026-01-04T09:15:00+00:00"}))

    assert check_freshness(model, NOW) == Freshness(False, 24 * 3600.0, "recorded")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"created_at": "yesterday"}', "[" * 5000])
def test_a_damaged_record_beside_the_file_falls_back_to_the_file(tmp_path: Path, text: str) -> None:
    model = touch(tmp_path / "teacher.pkl", 2)
    (tmp_path / "teacher.pkl.json").write_text(text)

    assert check_freshness(model, NOW).source == "file"


@pytest.mark.requirement("S5-45", "S5-89")
def test_a_missing_file_is_a_state_of_its_own(tmp_path: Path) -> None:
    assert check_freshness(tmp_path / "gone.pkl", NOW) == Freshness(True, None, "missing")


def test_a_file_from_the_future_is_fresh_not_negative(tmp_path: Path) -> None:
    assert check_freshness(touch(tmp_path / "m", -5), NOW).age_seconds == 0.0


def test_what_is_no_file_has_no_age(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    found = check_freshness(tmp_path / "pipe", NOW)

    assert found.age_seconds is None
    assert found.source == "unreadable: not a file"


def test_the_watch_checks_each_artifact_once_an_interval(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    watch = ArtifactWatch(
        {"teacher": touch(tmp_path / "t", 1), "student": tmp_path / "s"},
        lambda name, found, _: seen.append((name, found.missing)),
        interval_ns=SECOND,
    )

    watch.run_due(NOW, NOW)
    watch.run_due(NOW + SECOND - 1, NOW)
    assert seen == [("teacher", False), ("student", True)]
    watch.run_due(NOW + SECOND, NOW)
    assert len(seen) == 4
