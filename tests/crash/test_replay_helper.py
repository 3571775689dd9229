"""A log that a helper reads ahead is loaded as it is without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hypercache.engines import DurableMemoryEngine, helper, replay_helper
from hypercache.engines.base import Delete, Put, Touch
from hypercache.errors import CorruptionError
from hypercache.options import Options
from tests.support.contents import entries
from tests.support.files import flip

FAR_MS = 4_000_000_000_000


def opened(path: Path, **changes: Any) -> DurableMemoryEngine:
    options = Options.resolve(**{"segment_bytes": 4096, "log_io": "write", **changes})
    return DurableMemoryEngine(str(path), options)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a log of many segments with ops of every kind."""
    engine = opened(tmp_path / "store", maintenance="inline")
    for number in range(120):
        engine.put(b"key%d" % (number % 50), b"%d" % number * 50)
        engine.apply(
            [
                Put(b"expires%d" % number, b"x" * 30, FAR_MS),
                Touch(b"key%d" % (number % 7), FAR_MS + number),
                Delete(b"expires%d" % (number - 3)),
            ]
        )
        if number == 40:
            engine.clear()
    engine.close()
    return tmp_path / "store"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a helper read even a short log; return the modules that were started."""
    modules: list[str] = []
    start = helper.maybe_start

    def noting(module: str, *arguments: str, **options: Any) -> Any:
        modules.append(module)
        return start(module, *arguments, **options)

    monkeypatch.setattr(replay_helper, "MIN_BYTES", 1)
    monkeypatch.setattr(replay_helper, "_cpu_count", lambda: 2)
    monkeypatch.setattr(helper, "maybe_start", noting)
    return modules


def test_both_loads_come_to_the_same_entries_and_the_same_log(store, started):
    plain = opened(store, maintenance="inline")
    expected, lsn = entries(plain), plain.stats().appended_lsn
    plain.close()
    assert started == []
    ahead = opened(store)
    assert started == [replay_helper.__name__]
    assert entries(ahead) == expected
    assert ahead.stats().appended_lsn == lsn
    assert ahead.put(b"next", b"1") == lsn + 1
    assert ahead.check().ok
    ahead.close()
    again = opened(store, maintenance="inline")
    assert entries(again).keys() == expected.keys() | {b"next"}
    again.close()


def test_a_helper_that_fails_costs_nothing_but_time(store, started, monkeypatch):
    plain = opened(store, maintenance="inline")
    expected = entries(plain)
    plain.close()
    for module in ("hypercache.no_such_module", "this", "platform"):
        start = helper.maybe_start
        with monkeypatch.context() as patch:
            patch.setattr(
                helper, "maybe_start", lambda _, *a, m=module, s=start: s(m, *a)
            )
            engine = opened(store)
        assert entries(engine) == expected
        assert engine.check().ok
        engine.close()
    assert started == ["hypercache.no_such_module", "this", "platform"]


def test_damage_is_reported_as_it_is_without_a_helper(store, started):
    path = sorted((store / "aof").glob("*.aof"))[2]
    flip(path, 500)
    with pytest.raises(CorruptionError) as plain:
        opened(store, maintenance="inline")
    with pytest.raises(CorruptionError) as ahead:
        opened(store)
    assert started == [replay_helper.__name__]
    assert str(ahead.value) == str(plain.value)
