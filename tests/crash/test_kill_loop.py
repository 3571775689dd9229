"""kill -9 loses nothing that was acknowledged, under any sync policy.

A child writes from four threads and tells of every operation before and after the
call. It is killed at a random moment; the same store is opened here and compared, the
whole map, with what the child told. An operation that had begun and was not
acknowledged may have happened, whole, or not at all. Then the next child goes on. Some
stores are killed a second time while they are being opened after the first.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import TINY
from tests.support.kill_writer import Contents
from tests.support.killed import Totals, reopen_and_compare, run_and_kill
from tests.support.seeds import tell

SEED = 20_261_122
THREAD_COUNT = 4
# Each policy with another way of getting frames
# to the disk.
HELPER = {"maintenance": "process", "checkpoint_bytes": 128 * 1024}
POLICIES = [
    ("always", 4, {"log_io": "write", **HELPER}),
    ("everysec", 4, {"log_io": "mmap", **HELPER}),
    ("no", 4, {"log_io": "mmap", "maintenance": "inline"}),
]
# The memory engine compacts all the time, in both ways.
COMPACTING = {"engine": "memory", "compact_min_bytes": 64 * 1024}
INLINE = {"maintenance": "inline", **COMPACTING, "compact_min_bytes": 8 * 1024}
POLICIES += [
    ("always", 3, {"log_io": "write", **INLINE}),
    ("everysec", 4, {"log_io": "mmap", "maintenance": "process", **COMPACTING}),
    ("no", 3, {"log_io": "mmap", **INLINE}),
]
NAMES = [f"{options.get('engine', 'hybrid')}-{sync}" for sync, _, options in POLICIES]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("sync", "kills", "options"), POLICIES, ids=NAMES)
def test_no_kill_loses_or_invents_anything(
    tmp_path: Path, sync: str, kills: int, options: dict[str, Any]
) -> None:
    path = str(tmp_path / "store")
    rng = random.Random(f"{SEED}-{sync}")
    settings = {**TINY, "sync": sync, **options}
    contents: Contents = {}
    totals = Totals()
    while totals.kills < kills:
        line_count, delay_s = rng.randint(10, 500), rng.uniform(0, 0.02)
        tell(f"seed {SEED} {sync} {totals.kills}: {line_count} + {delay_s:.4f} s")
        arguments = [path, str(totals.kills), str(SEED)]
        writer = [*arguments, str(THREAD_COUNT), json.dumps(settings)]
        told = run_and_kill(writer, line_count, delay_s, contents)
        totals.kills += 1
        if totals.kills % 4 == 0:
            opener = [*arguments, "0", json.dumps(settings)]
            run_and_kill(opener, 1, rng.uniform(0, 0.3), contents)
            totals.kills_of_openers += 1
        assert len(told.in_flight) <= THREAD_COUNT
        assert len(set(told.counts)) == len(told.counts), "two increments, one result"
        found = reopen_and_compare(path, settings, contents, told, totals)
        if found is None:
            break
        contents = found
    tell(totals)
    assert not totals.failed_opens, totals.failed_opens
    assert not totals.lost, totals.lost
    assert not totals.invented, totals.invented
    assert totals.kills == kills
    assert totals.acknowledged > 0
