"""What the tests of the recorder share: an engine's recorder and everything that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tapewatch.record import Recorder
from tapewatch.tape import RecordKind, TapeReader, TapeRecord, WriterCounters

SMALL = 1 << 20


@dataclass
class Written:
    """Everything on a tape, frames and records as dictionaries in the order of their numbers."""

    ticks: list[dict[str, Any]] = field(default_factory=list)
    series: list[tuple[dict[str, float], dict[str, str]]] = field(default_factory=list)
    """Values by path, and labels, of metrics and timers."""
    events: list[TapeRecord] = field(default_factory=list)
    lost: int = 0
    torn: int = 0
    skipped_bytes: int = 0
    counters: WriterCounters | None = None


def everything(path: str | Path) -> Written:
    """Read a tape to its end as a dead one."""
    reader = TapeReader(Path(path))
    written = Written()
    ticks: list[tuple[int, dict[str, Any]]] = []
    batch = reader.poll(final=True)
    for run in batch.frames:
        for number, row in zip(run.numbers.tolist(), run.values.tolist(), strict=True):
            values = dict(zip(run.layout.paths, row, strict=True))
            if run.layout.kind is RecordKind.TICK:
                ticks.append((number, values))
            else:
                written.series.append((values, dict(run.layout.labels)))
    for record in batch.records:
        if record.kind is RecordKind.TICK:
            ticks.append((record.number, record.body))
        else:
            written.events.append(record)
    written.ticks = [tick for _number, tick in sorted(ticks, key=lambda pair: pair[0])]
    written.lost = batch.lost_frames + batch.lost_events
    written.torn, written.skipped_bytes = batch.torn, batch.skipped_bytes
    written.counters = reader.counters()
    assert reader.poll(final=True).is_empty
    reader.close()
    return written


@pytest.fixture
def read_tape() -> Callable[[str | Path], Written]:
    """Read a tape to its end."""
    return everything


@pytest.fixture
def read_recorder() -> Callable[[Recorder], Written]:
    """Close a recorder and read what it wrote."""

    def read(recorder: Recorder) -> Written:
        path = recorder.path
        assert path is not None
        recorder.close()
        return everything(path)

    return read


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder with small rings in a data directory of its own."""
    recorder = Recorder("engine", data_dir=tmp_path, frame_bytes=SMALL, event_bytes=SMALL)
    assert recorder.recording
    yield recorder
    recorder.close()
