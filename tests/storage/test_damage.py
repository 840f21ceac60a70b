"""A damaged file is noticed, set aside and never deleted; a foreign one is refused."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tapewatch.model.errors import StorageError
from tapewatch.model.labels import Labels
from tapewatch.series.head import Head
from tapewatch.storage.effects import Effects, EventRow
from tapewatch.storage.samples import SampleStore
from tapewatch.storage.state import StateStore

NOW = 1_800_000_000_000_000_000
FOREVER = (-(1 << 62), 1 << 62)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A closed state store of some pages."""
    path = tmp_path / "sound" / "state.db"
    path.parent.mkdir()
    store = StateStore.open(path, now_ns=NOW)
    for n in range(40):
        store.commit(
            Effects(
                offsets={"tape": {"n": n}},
                values={"n": n},
                events=[EventRow("tape", "fill", n, n, {"pad": "x" * 400})],
            )
        )
    store.close()
    return path


def start(path: Path) -> StateStore:
    """Open as a start does, and see that what it found is whole or that it says why not."""
    store = StateStore.open(path, now_ns=NOW)
    saved = store.load()
    if store.recovered is None:
        assert saved.values == {"n": 39}
        assert saved.offsets == {"tape": {"n": 39}}
    else:
        assert saved.values == {}
        assert list(path.parent.glob("state.db.corrupt-*"))
        assert "was moved to" in store.recovered
    store.commit(Effects(values={"n": 39}, offsets={"tape": {"n": 39}}))
    store.close()
    return store


@pytest.mark.requirement("F40", "F44")
def test_a_file_cut_at_any_length_starts(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    luck = random.Random(3)
    lengths = [0, 1, 15, 16, 99, 100, 101, 511, 512, 4095, 4096, 4097, len(whole) - 1]
    lengths += [luck.randrange(len(whole)) for _ in range(60)]
    for number, length in enumerate(lengths):
        path = tmp_path / str(number) / "state.db"
        path.parent.mkdir()
        path.write_bytes(whole[:length])
        start(path)


@pytest.mark.requirement("F40", "F44")
def test_a_file_with_any_page_overwritten_starts_and_its_ruin_is_kept(
    sound: Path, tmp_path: Path
) -> None:
    whole = bytearray(sound.read_bytes())
    luck = random.Random(4)
    for page in range(len(whole) // 4096):
        path = tmp_path / str(page) / "state.db"
        path.parent.mkdir()
        broken = whole.copy()
        broken[page * 4096 : (page + 1) * 4096] = luck.randbytes(4096)
        path.write_bytes(broken)
        store = StateStore.open(path, now_ns=NOW)
        if store.recovered is not None:
            (ruin,) = path.parent.glob("state.db.corrupt-*")
            assert ruin.read_bytes() == broken
        store.close()


@pytest.mark.requirement("F40")
def test_flipped_bytes_in_the_header_never_keep_it_from_starting(
    sound: Path, tmp_path: Path
) -> None:
    whole = bytearray(sound.read_bytes())
    for place in range(100):
        path = tmp_path / str(place) / "state.db"
        path.parent.mkdir()
        broken = whole.copy()
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            StateStore.open(path, now_ns=NOW).close()
        except StorageError as error:
            # The version and the owner's mark: those say that it is not ours to move.
            assert "knows versions up to" in str(error) or "not a state store" in str(error)
            assert path.read_bytes() == broken


@pytest.mark.requirement("F44")
def test_a_torn_log_gives_back_the_commits_before_the_damage(tmp_path: Path) -> None:
    live = tmp_path / "live" / "state.db"
    live.parent.mkdir()
    store = StateStore.open(live, now_ns=NOW)
    for n in range(20):
        store.commit(Effects(offsets={"tape": {"n": n}}, values={"n": n}))
    log = live.with_name("state.db-wal").read_bytes()
    assert log
    luck = random.Random(5)
    for number in range(40):
        path = tmp_path / str(number) / "state.db"
        path.parent.mkdir()
        shutil.copy(live, path)
        torn = bytearray(log[: luck.randrange(len(log))])
        if torn and number % 2:
            torn[luck.randrange(len(torn))] ^= 0xFF
        path.with_name("state.db-wal").write_bytes(torn)
        # A shared-memory file is never there after a crash of the machine.
        again = StateStore.open(path, now_ns=NOW)
        saved = again.load()
        assert saved.values.get("n", -1) == saved.offsets.get("tape", {"n": -1})["n"]
        again.close()
    store.close()


@pytest.mark.requirement("F44")
def test_a_log_without_its_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    log = tmp_path / "state.db-wal"
    log.write_bytes(b"the log of a lost file")
    store = StateStore.open(path, now_ns=NOW)
    assert store.recovered is not None
    (kept,) = tmp_path.glob("*.corrupt-*-wal")
    assert kept.read_bytes() == b"the log of a lost file"
    store.close()


@pytest.mark.requirement("F44")
class TestForeignFiles:
    def test_a_newer_version_is_set_aside_whole(self, sound: Path) -> None:
        with sqlite3.connect(sound) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
        before = sound.read_bytes()
        store = StateStore.open(sound, now_ns=NOW)
        assert "has version 99; this program knows versions up to" in (store.recovered or "")
        store.close()
        (aside,) = sound.parent.glob("*.corrupt-*")
        assert aside.read_bytes() == before

    def test_a_changed_owner_alone_does_not_make_it_another_programs(self, sound: Path) -> None:
        with sqlite3.connect(sound) as connection:
            connection.execute("PRAGMA application_id=7")
        connection.close()
        store = StateStore.open(sound, now_ns=NOW)
        assert "belongs to the program 7" in (store.recovered or "")
        store.close()

    def test_another_programs_database_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE recipes (soup TEXT)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(StorageError, match="not a state store of Tapewatch"):
            StateStore.open(path, now_ns=NOW)
        assert path.read_bytes() == before

    def test_a_file_of_the_right_version_and_the_wrong_form_is_set_aside(self, sound: Path) -> None:
        with sqlite3.connect(sound) as connection:
            connection.execute("DROP TABLE outbox")
        connection.close()
        store = StateStore.open(sound, now_ns=NOW)
        assert "no such table: outbox" in (store.recovered or "")
        store.close()

    def test_the_other_stores_file_is_set_aside(self, sound: Path) -> None:
        store = SampleStore.open(sound, now_ns=NOW)
        assert store.recovered is not None
        store.close()

    def test_a_text_file_is_set_aside(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        path.write_text("not a database " * 100)
        store = StateStore.open(path, now_ns=NOW)
        assert "is not a database" in (store.recovered or "")
        store.close()

    def test_two_ruins_of_one_second_are_both_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        for text in ("first", "second"):
            path.write_text(text * 100)
            StateStore.open(path, now_ns=NOW).close()
            path.unlink()
        kept = {p.read_text()[:5] for p in tmp_path.glob("state.db.corrupt-*") if p.stat().st_size}
        assert kept == {"first", "secon"}


def test_a_log_whose_file_was_deleted_does_not_harm_a_fresh_one(sound: Path) -> None:
    store = StateStore.open(sound, now_ns=NOW)
    store.commit(Effects(values={"old": 1}))
    log = sound.with_name("state.db-wal").read_bytes()
    store.close()
    sound.unlink()
    sound.with_name("state.db-wal").write_bytes(log)
    fresh = StateStore.open(sound, now_ns=NOW)
    assert fresh.load().values == {}
    assert fresh.integrity() == "ok"
    fresh.close()


@pytest.mark.requirement("F44")
def test_a_damaged_column_or_chunk_hides_no_other(tmp_path: Path) -> None:
    store = SampleStore.open(tmp_path / "samples.db", now_ns=NOW)
    for first in (0, 10, 20):
        head = Head()
        at = np.arange(first, first + 10, dtype=np.int64)
        values = np.stack([at * 1.0, at * 2.0], axis=1)
        head.table([Labels.of("a"), Labels.of("b")]).append(at, values)
        store.write(head.drain_for_chunks(1 << 62))
    with sqlite3.connect(tmp_path / "samples.db") as connection:
        connection.execute(
            "UPDATE columns SET data = x'00' WHERE id = (SELECT id FROM columns LIMIT 1 OFFSET 2)"
        )
        connection.execute("UPDATE chunks SET times = x'ffff' WHERE min_ns = 20")
    connection.close()
    found = {s.labels.name: s.times.tolist() for s in store.select([], *FOREVER)}
    assert found == {"a": list(range(10)), "b": list(range(20))}
    assert store.damaged_columns == 2
    store.close()
