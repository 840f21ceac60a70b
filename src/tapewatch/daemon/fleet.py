"""Every tape in the data directory: found, read, judged, released."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tapewatch.daemon.engines import Engine
from tapewatch.daemon.steady_clock import SteadyClock
from tapewatch.ingest.batch import IngestBatch
from tapewatch.ingest.liveness import EngineLife, EngineState
from tapewatch.ingest.process_watch import ProcessWatch
from tapewatch.ingest.tape_source import TapeCounts, TapeSource
from tapewatch.model.clock import SECOND
from tapewatch.model.errors import TapeError
from tapewatch.model.labels import Labels
from tapewatch.model.metric import MetricCatalogue
from tapewatch.series.head import Head
from tapewatch.tape.control import ControlWriter, control_path
from tapewatch.tape.layout import TAPE_SUFFIX
from tapewatch.tape.types import TapeBatch, TapePosition

LOOK_NS = SECOND // 40
"""How soon a new tape is seen."""
RESCAN_NS = SECOND
"""A directory whose time stamp stands still is looked at again after so long."""
RELEASE_NS = SECOND // 4
"""How often an engine is told what it may overwrite, and that the daemon lives."""
FIRST_RETRY_NS = SECOND
LAST_RETRY_NS = 60 * SECOND
"""A tape whose reading failed is tried again after the first, then twice as long, to the last."""

log = structlog.get_logger(component="monitoring")


@dataclass(frozen=True, slots=True)
class EngineExpectation:
    """What the settings say about an engine."""

    cadence_ns: int | None = None
    grace_ns: int = 60 * SECOND


@dataclass(slots=True)
class _Tape:
    source: TapeSource
    engine: Engine
    control: ControlWriter | None
    alive: bool
    closed: bool = False
    """Its writer has ended the recording, though the process may live on."""
    released_at: int = 0
    position: dict[str, Any] | None = None
    """Where reading stood when its writer had ended, while the rest is searched; or when it
    failed."""
    search: Future[TapeBatch] | None = None
    """The search of the whole dead tape for what lies behind damage and in holes."""
    failed: bool = False
    """Reading failed at ``position`` and waits to be tried again."""
    end_judged: bool = False
    retry_at: int = 0
    retry_ns: int = FIRST_RETRY_NS


class Fleet:
    """Reads all tapes in turn and keeps the life of every engine.

    The daemon's thread alone calls it. ``awake_ns`` is the steady timeline less the daemon's own
    sleep: an engine that went on ticking while the daemon was stopped must not look stalled.
    """

    def __init__(
        self,
        directory: Path,
        *,
        head: Head,
        catalogue: MetricCatalogue,
        clock: SteadyClock,
        heartbeat_ns: int,
        expected: Mapping[str, EngineExpectation],
        offsets: Mapping[str, Mapping[str, Any]],
        watermarks: Mapping[str, Mapping[str, Any]],
        saved_engines: Mapping[str, Mapping[str, Any]],
        retired: Mapping[str, int],
        awake_ns: int,
    ) -> None:
        self.engines: dict[str, Engine] = {}
        self.watch = ProcessWatch()
        self.stopped: list[Engine] = []
        """Engines that said goodbye since this was last emptied."""
        self.unreadable: dict[str, str] = {}
        """Files that are no usable tape, by name, with the reason."""
        self._directory = directory
        self._place = str(directory)
        self._look_at = 0
        self._head = head
        self._catalogue = catalogue
        self._clock = clock
        self._heartbeat = heartbeat_ns
        self._expected = expected
        self._offsets = dict(offsets)
        self._watermarks = dict(watermarks)
        self._saved = dict(saved_engines)
        self._retired = dict(retired)
        self._tapes: dict[Path, _Tape] = {}
        self._ended: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._done: set[str] = set()
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="tape-search")
        self._scanned_at = 0
        self._scanned_mtime = -1
        for name in {**saved_engines, **expected}:
            self._engine(name, awake_ns)

    @property
    def sources(self) -> Iterator[TapeSource]:
        """The tapes that are being read."""
        return (tape.source for tape in self._tapes.values())

    def discover(self, now_ns: int, awake_ns: int) -> bool:
        """Open new tapes; return True if there were any."""
        if now_ns < self._look_at:
            return False
        self._look_at = now_ns + LOOK_NS
        try:
            mtime = os.stat(self._place).st_mtime_ns  # noqa: PTH116 - 40 times a second
        except FileNotFoundError:
            return False
        if mtime == self._scanned_mtime and now_ns - self._scanned_at < RESCAN_NS:
            return False
        self._scanned_mtime, self._scanned_at = mtime, now_ns
        try:
            present = sorted(self._directory.glob(f"*{TAPE_SUFFIX}"))
        except OSError as error:
            # Out of descriptors, for example. The known tapes go on, and it is tried again.
            log.warning("tapes_not_listed", reason=str(error))
            self._look_at = now_ns + RESCAN_NS
            self._scanned_mtime = -1
            return False
        for name in self.unreadable.keys() - {path.name for path in present}:
            del self.unreadable[name]
        fresh = [
            path for path in present if path not in self._tapes and path.name not in self._done
        ]
        for path in fresh:
            self._open(path, now_ns, awake_ns)
        return bool(fresh)

    def poll(
        self,
        batch: IngestBatch,
        dead: Sequence[Path],
        now_ns: int,
        awake_ns: int,
        deviation_ns: int,
    ) -> bool:
        """Read every tape once; return True when some tape holds more.

        A tape whose reading fails for a reason that nobody foresaw does not end the monitoring of
        the others: it is named as unreadable, and tried again from where it stood.
        """
        more = False
        for path, tape in list(self._tapes.items()):
            # Noted at once: what is left to read may take more than this round.
            tape.alive = tape.alive and path not in dead
            if tape.failed and not self._try_again(path, tape, now_ns, awake_ns):
                continue
            # While the rest of a dead tape is searched, the reader belongs to the search.
            position = None if tape.search is not None else tape.source.reader.position()
            try:
                more |= self._read(path, tape, batch, now_ns, awake_ns, deviation_ns)
            except Exception as error:
                self._set_aside(path, tape, position, error, now_ns)
        return more

    def _read(
        self,
        path: Path,
        tape: _Tape,
        batch: IngestBatch,
        now_ns: int,
        awake_ns: int,
        deviation_ns: int,
    ) -> bool:
        if tape.search is not None:
            if tape.search.done():
                tape.source.absorb(tape.search.result(), batch, now_ns)
                self._finish(path, tape, batch, now_ns)
            return False
        tape.source.wall_deviation_ns = deviation_ns
        before = tape.source.counts.ticks
        left = tape.source.poll(batch, now_ns)
        if tape.source.counts.ticks != before:
            tape.engine.last_tick_ns = tape.source.last_tick_ns
            if tape.alive:
                tape.engine.life.ticked(awake_ns)
        if (tape.closed or not tape.alive) and not left:
            self._died(path, tape, batch, now_ns, awake_ns)
        if tape.retry_ns != FIRST_RETRY_NS:
            tape.retry_ns = FIRST_RETRY_NS
            self.unreadable.pop(path.name, None)
            log.info("tape_works_again", tape=path.name, engine=tape.engine.name)
        return left

    def _set_aside(
        self,
        path: Path,
        tape: _Tape,
        position: TapePosition | None,
        error: Exception,
        now_ns: int,
    ) -> None:
        if position is not None:
            tape.position = position.to_json()
        tape.search = None
        tape.failed = True
        tape.retry_at = now_ns + tape.retry_ns
        tape.retry_ns = min(2 * tape.retry_ns, LAST_RETRY_NS)
        reason = f"reading failed: {type(error).__name__}: {error}"
        if self.unreadable.get(path.name) != reason:
            log.error("tape_failed", tape=path.name, engine=tape.engine.name, exc_info=error)
        self.unreadable[path.name] = reason

    def _try_again(self, path: Path, tape: _Tape, now_ns: int, awake_ns: int) -> bool:
        """Go back to where reading failed, if it is time; a death is told without waiting."""
        if not tape.alive:
            self._judge_end(tape, awake_ns)
        if now_ns < tape.retry_at or tape.position is None:
            return False
        try:
            tape.source.rewind(TapePosition.from_json(tape.position))
        except (TapeError, OSError) as error:
            self._set_aside(path, tape, None, error, now_ns)
            return False
        tape.failed, tape.position = False, None
        return True

    def judge(self, awake_ns: int) -> list[Engine]:
        """Apply the independent timer; return the engines whose state changed."""
        return [engine for engine in self.engines.values() if engine.life.judge(awake_ns)]

    def deadline_ns(self) -> int | None:
        """Return the awake time at which ``judge`` next has something to say."""
        deadlines = [engine.life.deadline_ns() for engine in self.engines.values()]
        return min((d for d in deadlines if d is not None), default=None)

    def positions(self) -> dict[str, dict[str, Any]]:
        """Return the offsets of all tapes after what was read, by source."""
        live = {
            t.source.id: t.position or t.source.reader.position().to_json()
            for t in self._tapes.values()
        }
        return live | {source: position for source, (_, position) in self._ended.items()}

    def ended_before(self, positions: Mapping[str, Any]) -> list[str]:
        """Return the sources among these whose tapes were read to their end."""
        return [source for source in positions if source in self._ended]

    def forget_ended(self, sources: Sequence[str]) -> None:
        """Let go of tapes whose samples and effects are both durable."""
        for source in sources:
            self._ended.pop(source, None)

    def release(self, durable: Mapping[str, Mapping[str, Any]], now_ns: int) -> None:
        """Tell engines which slots lie behind both watermarks, and that the daemon lives."""
        mono = time.monotonic_ns()
        for tape in self._tapes.values():
            if tape.control is None or now_ns - tape.released_at < RELEASE_NS:
                continue
            tape.released_at = now_ns
            saved = durable.get(tape.source.id)
            position = TapePosition.from_json(saved) if saved else None
            events = position.released_event_seq if position else 0
            frames = position.released_frame_seq if position else 0
            with contextlib.suppress(OSError):
                tape.control.release(events, frames, mono)

    def hear_writers(self) -> None:
        """Take over what recorders say: what they dropped, and a goodbye of a living process."""
        for tape in self._tapes.values():
            if tape.search is not None:
                continue
            said = tape.source.reader.counters()
            tape.engine.dropped[tape.source.id] = said.dropped_frames + said.dropped_events
            tape.closed = said.state != "running"

    def expect(self, expected: Mapping[str, EngineExpectation], awake_ns: int) -> None:
        """Take over changed settings; engines that are no longer configured stay until retired."""
        self._expected = dict(expected)
        for name, wanted in expected.items():
            life = self._engine(name, awake_ns).life
            life.grace_ns = wanted.grace_ns
            cadence = (
                self.engines[name].cadence_ns if wanted.cadence_ns is None else (wanted.cadence_ns)
            )
            life.stall_after_ns = EngineLife.stall_threshold_ns(cadence, self._heartbeat)

    def retire(self, name: str) -> Engine | None:
        """Forget an engine that is gone for good; None while a process of it lives or is read.

        Raises:
            KeyError: No engine has this name.
        """
        engine = self.engines[name]
        if engine.sources or engine.life.state.is_live:
            return None
        self._saved.pop(name, None)
        self._retired[name] = engine.started_ns
        return self.engines.pop(name)

    def remove_old(self, now_ns: int, keep: int, keep_ns: int) -> None:
        """Remove dead tapes that were read and are durable, beyond a count and an age."""
        waiting = {path for path, _ in self._ended.values()}
        done = []
        for name in self._done:
            path = self._directory / name
            with contextlib.suppress(OSError):
                if path not in waiting:
                    done.append((path.stat().st_mtime_ns, path))
        done.sort(reverse=True)
        wall = now_ns + self._clock.deviation_ns()
        for place, (mtime, path) in enumerate(done):
            if place >= keep or mtime < wall - keep_ns:
                self._done.discard(path.name)
                for each in (path, Path(control_path(path))):
                    with contextlib.suppress(OSError):
                        each.unlink()
                log.info("tape_removed", tape=path.name)

    def close(self) -> None:
        """Stop reading; nothing is written."""
        self._searcher.shutdown(cancel_futures=True)
        for tape in self._tapes.values():
            tape.source.reader.close()
            if tape.control is not None:
                tape.control.close()
        self._tapes.clear()
        self.watch.close()

    def _engine(self, name: str, awake_ns: int) -> Engine:
        engine = self.engines.get(name)
        if engine is None:
            expected = self._expected.get(name, EngineExpectation())
            threshold = EngineLife.stall_threshold_ns(expected.cadence_ns or 0, self._heartbeat)
            life = EngineLife(threshold, expected.grace_ns, awake_ns)
            engine = self.engines[name] = Engine(name, life)
            if name in self._saved:
                engine.restore(self._saved[name], awake_ns)
            elif name not in self._expected:
                life.state = EngineState.STARTING
        return engine

    def _open(self, path: Path, now_ns: int, awake_ns: int) -> None:
        try:
            source = self._source(path, now_ns)
            if source is None:
                self._done.add(path.name)
                return
        except (TapeError, OSError, ValueError) as error:
            if path.name not in self.unreadable:
                log.warning("tape_unusable", tape=path.name, reason=str(error))
            self.unreadable[path.name] = str(error)
            return
        except Exception as error:  # nobody foresaw it; the other tapes go on
            if path.name not in self.unreadable:
                log.error("tape_failed", tape=path.name, exc_info=error)
            self.unreadable[path.name] = f"opening failed: {type(error).__name__}: {error}"
            return
        self.unreadable.pop(path.name, None)
        header = source.reader.header
        engine = self._engine(header.engine, awake_ns)
        alive = header.boot_id in ("", self._clock.boot_id) and self.watch.watch(
            path, header.pid, header.pid_start_ticks
        )
        control = None
        if alive:
            with contextlib.suppress(OSError):
                control = ControlWriter(path)
        saved = self._saved.get(header.engine, {}).get("tapes", {}).get(source.id)
        if saved:
            source.counts = TapeCounts.from_saved(saved)
        engine.sources.append(source)
        self._tapes[path] = _Tape(source, engine, control, alive)
        if alive:
            self._came_alive(engine, source, awake_ns)
        engine.started_ns = max(engine.started_ns, header.start_wall_ns)
        log.info("tape_opened", tape=path.name, engine=engine.name, pid=header.pid, alive=alive)

    def _source(self, path: Path, now_ns: int) -> TapeSource | None:
        """Open a tape where reading stood; None if it was read to its end before."""
        # 1. The samples' watermark lies at or behind the effects' offset: from there the head is
        #    filled again, without effects.
        # 2. From the offset on, records take effect for the first time.
        first = TapeSource(
            path,
            head=self._head,
            catalogue=self._catalogue,
            labels=Labels(),
            map_time=lambda mono_ns: mono_ns,
        )
        header = first.reader.header
        key = first.id
        first.reader.close()
        if self._offsets.get(key, {}).get("done"):
            return None
        map_time = self._time_map(header.boot_id, header.start_wall_ns - header.start_mono_ns)
        labels = Labels({"engine": header.engine})
        if header.instance or self._has_live_twin(header.engine):
            labels = labels.with_(instance=header.instance or str(header.pid))

        def at(saved: Mapping[str, Any] | None) -> TapeSource:
            return TapeSource(
                path,
                head=self._head,
                catalogue=self._catalogue,
                labels=labels,
                map_time=map_time,
                position=TapePosition.from_json(saved) if saved else None,
            )

        offset = self._offsets.get(key)
        retired = header.start_wall_ns <= self._retired.get(header.engine, -1)
        if offset is not None or retired:
            refill = at(self._watermarks.get(key))
            refill.refill(now_ns)
            refill.reader.close()
        return None if retired else at(offset)

    def _time_map(self, boot_id: str, own_offset: int) -> Callable[[int], int]:
        # A tape of another boot has its own anchor; one of this boot shares our monotonic clock.
        offset = self._clock.offset_ns if boot_id == self._clock.boot_id else own_offset
        return lambda mono_ns: mono_ns + offset

    def _has_live_twin(self, name: str) -> bool:
        return any(t.alive and t.engine.name == name for t in self._tapes.values())

    def _came_alive(self, engine: Engine, source: TapeSource, awake_ns: int) -> None:
        header = source.reader.header
        expected = self._expected.get(engine.name, EngineExpectation())
        cadence = header.cadence_ns if expected.cadence_ns is None else expected.cadence_ns
        engine.cadence_ns = cadence
        engine.life.stall_after_ns = EngineLife.stall_threshold_ns(cadence, self._heartbeat)
        engine.pid = header.pid
        engine.stop_reason = ""
        saved = self._saved.get(engine.name, {})
        state = EngineState(saved.get("state", EngineState.EXPECTED))
        if state.is_live and source.id in saved.get("tapes", {}):
            # The same process that an earlier daemon judged: a stall goes on being one.
            engine.life.state, engine.life.progress_ns = state, awake_ns
        elif header.start_wall_ns >= engine.started_ns:
            engine.life.started(awake_ns)

    def _died(
        self, path: Path, tape: _Tape, batch: IngestBatch, now_ns: int, awake_ns: int
    ) -> None:
        """Judge the end of a writer whose last whole record has been read.

        The search of the rest takes long on a large tape and finds something only after damage,
        so people hear of the death first.
        """
        reader, engine = tape.source.reader, tape.engine
        self._judge_end(tape, awake_ns)
        self._end_series(tape, batch, now_ns)
        said = reader.counters()
        engine.dropped[tape.source.id] = said.dropped_frames + said.dropped_events
        self.watch.forget(path)
        tape.position = reader.position().to_json()
        tape.search = self._searcher.submit(reader.poll, final=True)

    def _judge_end(self, tape: _Tape, awake_ns: int) -> None:
        """Tell a goodbye from a crash, once."""
        tape.alive = False
        if tape.end_judged:
            return
        tape.end_judged = True
        reader, engine = tape.source.reader, tape.engine
        said = reader.counters()
        newest = reader.header.start_wall_ns >= engine.started_ns
        if newest and not any(t.alive and t.engine is engine for t in self._tapes.values()):
            goodbye = said.state == "stopped"
            engine.stop_reason = said.stop_reason
            engine.life.died(awake_ns, goodbye=goodbye)
            if goodbye:
                self.stopped.append(engine)
            log.info(
                "engine_stopped" if goodbye else "engine_crashed",
                engine=engine.name,
                pid=reader.header.pid,
                reason=said.stop_reason,
            )

    def _finish(self, path: Path, tape: _Tape, batch: IngestBatch, now_ns: int) -> None:
        """Let go of a tape of which everything was read."""
        self._end_series(tape, batch, now_ns)
        if tape.control is not None:
            tape.control.close()
        self._ended[tape.source.id] = (path, tape.source.reader.position().to_json())
        self._done.add(path.name)
        tape.engine.close_source(tape.source)
        del self._tapes[path]

    def _end_series(self, tape: _Tape, batch: IngestBatch, now_ns: int) -> None:
        series = tape.source.series()
        self._head.mark_stale(series, now_ns)
        for labels in series:
            batch.touch_at(labels.name, now_ns)
