"""Scans come in key order, whatever the keys and wherever the entries lie."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hypercache.engines import StorageEngine
from hypercache.engines.base import Delete, Entry, KeyOp, Put
from hypercache.testing.clock import START_MS
from hypercache.testing.engine_conformance.opening import Opening
from hypercache.testing.seeds import seeded

SEED = 20_240_229


PREFIX = b"p" * 495


TAILS = [b"", b"\0", b"\0\0", b"\xff", b"\xff" * 16, b"\xff" * 17, b"a", b"ab", b"b"]


def boundary_keys() -> list[bytes]:
    """Return keys around every length and byte at which an engine may err."""
    keys = [PREFIX + tail for tail in TAILS]
    keys += [b"q" * length for length in (494, 495, 496, 510, 511, 512, 65_535)]
    keys += [PREFIX[:-1] + tail for tail in (b"", b"\0", b"o\xff", b"q")]
    keys += [b"\0", b"\xff", b"\xff" * 495, b"\xff" * 496, b"\xff" * 600, b"a", b"z"]
    return sorted(set(keys))


def expected(
    model: dict[bytes, bytes], start: bytes | None, stop: bytes | None, *, reverse: bool
) -> list[tuple[bytes, bytes]]:
    """Return what a scan of these entries must yield."""
    return [
        (key, model[key])
        for key in sorted(model, reverse=reverse)
        if (start is None or start <= key) and (stop is None or key < stop)
    ]


def assert_scans_as(
    engine: StorageEngine, model: dict[bytes, bytes], bounds: list[bytes | None]
) -> None:
    """Scan between any two of the bounds, both ways."""
    for start in bounds:
        for stop in bounds:
            for reverse in (False, True):
                found = [
                    (key, entry.value)
                    for key, entry in engine.scan(start, stop, reverse=reverse)
                ]
                assert found == expected(model, start, stop, reverse=reverse), (
                    f"start={start!r:.40} stop={stop!r:.40} reverse={reverse}"
                )


class Scans(Opening):
    """Hold an engine to the order of its keys."""

    def test_a_scan_of_nothing_yields_nothing(self, engine: StorageEngine) -> None:
        assert list(engine.scan()) == []
        assert list(engine.scan(reverse=True)) == []
        engine.put(b"m", b"1")
        engine.checkpoint()
        assert list(engine.scan(b"n")) == []
        assert list(engine.scan(None, b"m")) == []
        assert list(engine.scan(b"z", b"a")) == []
        assert list(engine.scan(b"m", b"m")) == []

    def test_start_is_included_and_stop_is_not(self, engine: StorageEngine) -> None:
        for key in (b"a", b"b", b"c"):
            engine.put(key, key)
        assert [key for key, _ in engine.scan(b"a", b"c")] == [b"a", b"b"]
        assert [key for key, _ in engine.scan(b"a", b"c", reverse=True)] == [b"b", b"a"]
        assert [key for key, _ in engine.scan(b"", b"b")] == [b"a"]

    def test_an_entry_comes_with_its_expiry(self, engine: StorageEngine) -> None:
        engine.put(b"a", b"1", START_MS + 5_000)
        engine.put(b"b", b"2")
        engine.checkpoint()
        engine.put(b"c", b"3", START_MS + 6_000)
        assert list(engine.scan()) == [
            (b"a", Entry(b"1", START_MS + 5_000)),
            (b"b", Entry(b"2", 0)),
            (b"c", Entry(b"3", START_MS + 6_000)),
        ]

    @pytest.mark.parametrize("where", ["log", "checkpoint", "both"])
    def test_long_keys_with_one_prefix_stay_in_key_order(
        self, engine: StorageEngine, where: str
    ) -> None:
        keys = boundary_keys()
        shuffled = seeded(SEED).sample(keys, len(keys))
        for number, key in enumerate(shuffled):
            engine.put(key, b"%d" % number)
            if where == "both" and number == len(keys) // 2:
                engine.checkpoint()
        if where == "checkpoint":
            engine.checkpoint()
        model = {key: b"%d" % number for number, key in enumerate(shuffled)}
        assert_scans_as(engine, model, [None, b"", *keys[::3]])

    def test_log_and_checkpoint_are_one_map(self, engine: StorageEngine) -> None:
        rng = seeded(SEED)
        pool = [
            bytes(rng.choices(b"\0ab\xff", k=rng.randint(1, 5))) for _ in range(150)
        ]
        pool += [PREFIX + key for key in pool[:60]]
        model: dict[bytes, bytes] = {}
        for step in range(12):
            batch: list[KeyOp] = []
            for key in rng.choices(pool, k=25):
                if rng.random() < 0.35:
                    batch.append(Delete(key))
                    model.pop(key, None)
                else:
                    value = b"%d" % rng.getrandbits(40)
                    batch.append(Put(key, value))
                    model[key] = value
            engine.apply(batch)
            if step % 3 == 1:
                engine.checkpoint()
            assert_scans_as(engine, model, [None, *rng.choices(pool, k=3)])
            assert engine.count() == len(model)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_over_many_steps_misses_and_repeats_nothing(
        self, engine: StorageEngine, reverse: bool
    ) -> None:
        # More entries, and more bytes, than one read transaction collects.
        model = {b"%05d" % n: b"%d" % n for n in range(2_600)}
        model |= {PREFIX + b"%05d" % n: b"%d" % n for n in range(700)}
        model |= {b"zz%d" % n: b"v" * (3 << 20) for n in range(3)}
        engine.apply([Put(key, value) for key, value in model.items()])
        engine.checkpoint()
        newer = {b"%05d" % n: b"new" for n in range(0, 3_000, 77)}
        gone = [b"%05d" % n for n in range(5, 2_600, 91)]
        engine.apply([Put(key, value) for key, value in newer.items()])
        engine.apply([Delete(key) for key in gone])
        model |= newer
        for key in gone:
            model.pop(key, None)
        found = [(key, entry.value) for key, entry in engine.scan(reverse=reverse)]
        assert found == expected(model, None, None, reverse=reverse)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_each_entry_is_current_when_it_is_yielded(
        self, engine: StorageEngine, reverse: bool
    ) -> None:
        keys = [b"%04d" % n for n in range(1_300)]
        engine.apply([Put(key, b"old") for key in keys])
        engine.checkpoint()
        ordered = sorted(keys, reverse=reverse)
        scan = engine.scan(reverse=reverse)
        assert next(scan) == (ordered[0], Entry(b"old", 0))
        engine.put(ordered[1], b"new")
        engine.apply([Delete(ordered[2])])
        engine.put(ordered[700], b"new")
        engine.apply([Delete(ordered[701])])
        engine.checkpoint()
        engine.put(ordered[1200], b"new")
        rest = {key: entry.value for key, entry in scan}
        changed = {ordered[1], ordered[700], ordered[1200]}
        gone = {ordered[0], ordered[2], ordered[701]}
        assert rest == {
            key: b"new" if key in changed else b"old" for key in keys if key not in gone
        }

    def test_a_key_written_behind_an_open_scan_may_come_once_and_in_order(
        self, engine: StorageEngine
    ) -> None:
        for n in range(0, 40, 2):
            engine.put(b"%04d" % n, b"1")
        scan = engine.scan()
        found = [next(scan)[0]]
        for n in range(1, 40, 2):
            engine.put(b"%04d" % n, b"2")
        engine.checkpoint()
        found += [key for key, _ in scan]
        assert all(left < right for left, right in pairwise(found))
        assert {b"%04d" % n for n in range(0, 40, 2)} <= set(found)

    def test_nothing_that_a_clear_removed_comes_out_of_an_open_scan(
        self, engine: StorageEngine
    ) -> None:
        engine.apply([Put(b"%04d" % n, b"old") for n in range(1_300)])
        engine.checkpoint()
        engine.put(b"0007", b"old")
        scan = engine.scan()
        next(scan)
        engine.clear()
        engine.put(b"1299", b"new")
        rest = dict(scan)
        assert rest in ({}, {b"1299": Entry(b"new", 0)})

    def test_an_abandoned_scan_holds_nothing(self, engine: StorageEngine) -> None:
        engine.apply([Put(b"%04d" % n, b"old") for n in range(40)])
        engine.checkpoint()
        scans = [engine.scan() for _ in range(600)]  # more than LMDB has reader slots
        for scan in scans:
            next(scan)
        engine.put(b"0001", b"new")
        engine.clear()
        engine.checkpoint()
        assert engine.count() == 0
