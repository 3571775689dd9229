"""What a durable engine promises of damaged files, and of what it leaves behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercache.engines import StorageEngine
from hypercache.errors import CorruptionError
from hypercache.testing.engine_conformance.opening import OpenEngine, Opening
from hypercache.testing.engine_conformance.restarts import write_a_bit_of_everything
from hypercache.testing.files import find_bytes, flipped

NEEDLE = b"needle-in-a-file"
DESCRIPTORS = "/dev/fd"


class Damage(Opening):
    """Hold an engine to reporting damage, and to leaving nothing behind."""

    def bring(self, engine: StorageEngine, where: str) -> None:
        """Bring what was written to where a test damages it."""
        if where not in self.plain_after:
            pytest.skip(f"after {where} this engine stores no value as it is")
        steps: dict[str, Callable[[], object]] = {
            "sync": engine.sync,
            "checkpoint": engine.checkpoint,
            "close": engine.close,
        }
        steps[where]()

    @pytest.mark.parametrize("where", ["sync", "checkpoint"])
    def test_check_names_the_file_in_which_a_byte_was_flipped(
        self, open_engine: OpenEngine, store_path: Path, where: str
    ) -> None:
        engine = open_engine()
        engine.put(b"key", NEEDLE * 3)
        engine.put(b"other", b"1")
        self.bring(engine, where)
        places = find_bytes(store_path, NEEDLE)
        assert places
        with flipped(places):
            report = engine.check()
        assert not report.ok
        assert {problem.path for problem in report.problems} == {str(places[0][0])}
        assert engine.check().ok

    @pytest.mark.parametrize("where", ["sync", "checkpoint"])
    def test_a_read_never_returns_a_damaged_value(
        self, open_engine: OpenEngine, store_path: Path, where: str
    ) -> None:
        engine = open_engine()
        engine.put(b"a", b"1")
        engine.put(b"key", NEEDLE * 3)
        self.bring(engine, where)
        places = find_bytes(store_path, NEEDLE)
        assert places
        reads: tuple[Callable[[], object], ...] = (
            lambda: engine.get(b"key"),
            lambda: (engine.get_entry(b"key") or [None])[0],
            lambda: engine.get_many([b"a", b"key"])[b"key"],
            lambda: {key: entry.value for key, entry in engine.scan()}[b"key"],
        )
        reported: list[str] = []
        with flipped(places):
            for read in reads:
                try:
                    assert read() == NEEDLE * 3  # from RAM
                except CorruptionError as error:
                    reported.append(error.path)
        assert set(reported) <= {str(path) for path, _ in places}
        with flipped(places):
            assert engine.get(b"a") == b"1"
        assert engine.get(b"key") == NEEDLE * 3

    def test_a_store_opened_on_damage_never_returns_it(
        self, open_engine: OpenEngine, store_path: Path
    ) -> None:
        engine = open_engine()
        engine.put(b"key", NEEDLE * 3)
        self.bring(engine, "close")
        places = find_bytes(store_path, NEEDLE)
        assert places
        with flipped(places), pytest.raises(CorruptionError) as caught:
            open_engine().get(b"key")
        assert caught.value.path in (str(place) for place, _ in places)

    @pytest.mark.skipif(not os.path.isdir(DESCRIPTORS), reason=f"no {DESCRIPTORS}")
    def test_close_leaves_no_descriptor_thread_or_temporary_file(
        self, open_engine: OpenEngine, store_path: Path
    ) -> None:
        open_engine().close()
        descriptors, threads = os.listdir(DESCRIPTORS), threading.active_count()
        for _ in range(3):
            engine = open_engine()
            write_a_bit_of_everything(engine)
            assert engine.check().ok
            engine.close()
        assert len(os.listdir(DESCRIPTORS)) == len(descriptors)
        assert threading.active_count() == threads
        names = [path.name for path in store_path.rglob("*")]
        assert not [name for name in names if name.endswith(".tmp")]
