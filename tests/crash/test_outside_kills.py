"""kill -9 of a process with a store: a few here, thousands in `make soak-crash`.

tests/crash/test_kill_loop.py kills more, under more policies, of the engines with a
log; here the persistent engine is killed, too, and HYPERCACHE_KILLS says how often.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.support.engines import TINY
from tests.support.kill_writer import Contents
from tests.support.killed import Totals, reopen_and_compare, run_and_kill
from tests.support.seeds import tell

SEED = int(os.environ.get("HYPERCACHE_SEED", "20261123"))
KILLS = os.environ.get("HYPERCACHE_KILLS")
FEW = {"memory": 1, "hybrid": 1, "persistent": 3}
SYNCS = {
    "memory": ("always", "everysec", "no"),
    "hybrid": ("always", "everysec", "no"),
    "persistent": ("always",),
}


@pytest.mark.timeout(14_400 if KILLS else 300)
@pytest.mark.parametrize("engine", FEW)
def test_no_kill_loses_or_invents_anything(tmp_path: Path, engine: str) -> None:
    kills = int(KILLS or FEW[engine])
    rng = random.Random(f"{SEED}-{engine}")
    contents: Contents = {}
    totals = Totals()
    while totals.kills < kills:
        settings = {**TINY, "engine": engine, "sync": rng.choice(SYNCS[engine])}
        line_count, delay_s = rng.randint(10, 500), rng.uniform(0, 0.02)
        tell(f"seed {SEED} {engine} {totals.kills}: {line_count} + {delay_s:.4f} s")
        path = str(tmp_path / "store")
        writer = [path, str(totals.kills), str(SEED), "4", json.dumps(settings)]
        told = run_and_kill(writer, line_count, delay_s, contents)
        totals.kills += 1
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
