"""What an engine promises of checkpoint, compact, backup and refresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercache.engines.base import Delete, Put
from hypercache.errors import ConfigError
from hypercache.testing.contents import contents, entries, fill
from hypercache.testing.engine_conformance.opening import OpenEngine, Opening
from hypercache.testing.engine_conformance.restarts import write_a_bit_of_everything
from hypercache.testing.files import difference, snapshot, unchanged


class Care(Opening):
    """Hold an engine to its care of what it keeps."""

    def test_a_write_returns_an_lsn_that_can_be_waited_for(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        lsns = [
            engine.put(b"a", b"1"),
            engine.apply([Put(b"b", b"2"), Delete(b"a")]),
            engine.update(b"b", lambda entry: Put(b"b", b"3")),
            engine.clear(),
        ]
        for lsn in lsns:
            assert lsn is not None
            assert bool(lsn) == self.durable
            engine.wait_durable(lsn)
            engine.wait_durable(lsn, timeout=5)
        assert engine.stats().appended_lsn == lsns[-1]

    def test_checkpoint_and_compact_change_nothing_that_can_be_read(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        for step in (engine.checkpoint, engine.compact, engine.checkpoint):
            write_a_bit_of_everything(engine)
            fill(engine, 50)
            last = engine.apply([Delete(b"key-%04d" % n) for n in range(0, 50, 3)])
            before = entries(engine)
            assert step() == last
            assert entries(engine) == before
            assert engine.stats().synced_lsn == last

    def test_compact_works_on_an_empty_engine(self, open_engine: OpenEngine) -> None:
        engine = open_engine()
        assert engine.compact() == 0
        engine.put(b"a", b"1")
        last = engine.clear()
        assert engine.compact() == last
        assert contents(engine) == {}

    def test_refresh_of_a_writing_engine_is_the_last_lsn(
        self, open_engine: OpenEngine
    ) -> None:
        engine = open_engine()
        assert engine.refresh() == 0
        last = engine.put(b"a", b"1")
        assert engine.refresh() == last
        assert contents(engine) == {b"a": b"1"}

    def test_a_backup_is_a_whole_store_or_is_refused(
        self, open_engine: OpenEngine, tmp_path: Path
    ) -> None:
        engine = open_engine()
        write_a_bit_of_everything(engine)
        last, before = engine.apply([]), entries(engine)
        destination = tmp_path / "copy"
        if not self.has_backup:
            with pytest.raises(ConfigError, match="backup"):
                engine.backup(str(destination))
            assert not destination.exists()
            return
        assert engine.backup(str(destination)) == last
        engine.put(b"later", b"1")
        again = open_engine(destination)
        assert entries(again) == before
        assert again.apply([]) == last

    def test_a_backup_goes_onto_nothing_that_is_there(
        self, open_engine: OpenEngine, store_path: Path, tmp_path: Path
    ) -> None:
        engine = open_engine()
        engine.put(b"a", b"1")
        engine.sync()
        other = tmp_path / "other"
        other.mkdir()
        (other / "file").write_bytes(b"mine")
        before = snapshot(tmp_path)
        for destination in (other, other / "file", store_path, store_path / "copy"):
            with pytest.raises(ConfigError):
                engine.backup(str(destination))
            assert difference(before, snapshot(tmp_path)) == ""

    def test_check_changes_nothing(
        self, open_engine: OpenEngine, tmp_path: Path
    ) -> None:
        engine = open_engine()
        write_a_bit_of_everything(engine)
        engine.sync()
        with unchanged(tmp_path):
            assert engine.check().ok
