"""Which files are read at all, and the control file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapewatch.model.errors import TapeError
from tapewatch.tape import ControlReader, ControlWriter, TapePosition, TapeReader, control_path
from tapewatch.tape.control import ControlState

NewTape = Callable[..., Any]


@pytest.mark.requirement("T25")
def test_a_symbolic_link_is_refused(new_tape: NewTape, tmp_path: Path) -> None:
    link = tmp_path / "link.tape"
    link.symlink_to(new_tape().path)
    with pytest.raises(TapeError, match="cannot open the tape"):
        TapeReader(link)


@pytest.mark.requirement("T25")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tape")
    with pytest.raises(TapeError, match="special file"):
        TapeReader(tmp_path / "pipe.tape")


@pytest.mark.requirement("T25")
def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tape", tmp_path):
        with pytest.raises(TapeError, match=str(path)):
            TapeReader(path)


@pytest.mark.requirement("T25")
def test_a_file_that_everybody_may_write_is_refused(new_tape: NewTape) -> None:
    path = new_tape().path
    path.chmod(0o666)
    with pytest.raises(TapeError, match="everybody may write"):
        TapeReader(path)


@pytest.mark.requirement("T25")
def test_somebody_elses_file_is_refused(new_tape: NewTape) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = new_tape().path
    os.chown(path, 12345, -1)
    with pytest.raises(TapeError, match="found owner 12345"):
        TapeReader(path)


def test_a_position_of_another_tape_is_refused(new_tape: NewTape) -> None:
    with pytest.raises(TapeError, match="read this tape from its start"):
        TapeReader(new_tape().path, TapePosition("f" * 32))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"tape_id": 1, "frames": [1, 0, 0, []], "events": [1, 0, 0, []]},
        {"tape_id": "a", "frames": [1, 0, 0], "events": [1, 0, 0, []]},
        {"tape_id": "a", "frames": [-1, 0, 0, []], "events": [1, 0, 0, []]},
        {"tape_id": "a", "frames": [1, 0, 0, [[1]]], "events": [1, 0, 0, []]},
        {"tape_id": "a", "frames": None, "events": [1, 0, 0, []]},
    ],
)
def test_data_that_are_no_position_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a tape position"):
        TapePosition.from_json(data)


def test_the_lock_tells_of_the_writer(new_tape: NewTape) -> None:
    tape = new_tape()
    reader = TapeReader(tape.path)
    assert reader.writer_holds_lock()
    tape.writer.abandon()
    assert not reader.writer_holds_lock()


def test_the_control_file_carries_the_daemons_word(new_tape: NewTape) -> None:
    tape = new_tape()
    reader = ControlReader(tape.path)
    assert reader.read() == ControlState()
    writer = ControlWriter(tape.path)
    writer.release(7, 9, 1234)
    assert reader.read() == ControlState(1, 0, 0, 1234, 7, 9)
    assert tape.writer.control_heartbeat_ns() == 1234
    writer.release(3, 10, 1300)
    assert reader.read() == ControlState(1, 0, 0, 1300, 7, 10)
    writer.close()
    writer.close()
    second = ControlWriter(tape.path)
    second.release(8, 10, 1400)
    assert reader.read() == ControlState(2, 0, 0, 1400, 8, 10)
    second.close()
    reader.close()
    reader.close()


def test_a_damaged_control_file_leaves_the_last_good_word(new_tape: NewTape) -> None:
    tape = new_tape()
    writer = ControlWriter(tape.path)
    writer.release(7, 9, 1234)
    assert tape.writer.control_heartbeat_ns() == 1234
    with Path(control_path(tape.path)).open("r+b") as file:
        file.write(b"\xff" * 40)
    assert tape.writer.control_heartbeat_ns() == 1234
    reader = ControlReader(tape.path)
    assert reader.read() is None
    writer.release(8, 9, 1300)
    assert reader.read() == ControlState(1, 0, 0, 1300, 8, 9)
    writer.close()
    reader.close()


def test_a_released_position_beyond_what_was_written_frees_nothing_more(new_tape: NewTape) -> None:
    tape = new_tape(64)
    writer = ControlWriter(tape.path)
    writer.release(1 << 60, 0, 1)
    accepted = sum(tape.event(i) for i in range(500))
    batch = TapeReader(tape.path).poll()
    assert accepted > 64
    assert batch.lost_events + len(batch.records) == accepted
    writer.close()


def test_a_control_file_that_is_a_pipe_is_refused(new_tape: NewTape) -> None:
    path = Path(control_path(new_tape().path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="special file"):
        ControlWriter(path.with_suffix(""))
