"""Damages every byte of small stores in turn, and looks at what opening them says.

Every byte of every file gets three other values, every file is cut at every offset,
and whatever else may become of a file happens to it: each time the store is opened,
every key read and everything checked. A wrong answer that nothing reports is a
violation, and so is a killed interpreter with verify="full".
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import damage_sweep_damages as damages
import damage_sweep_trials as trials
import damage_sweep_workers as workers
from damage_sweep_stores import ENGINES, STATES, Store, build
from damage_sweep_trials import Trial

IDLE_STEP = 64  # of the bytes of a page that nothing reads
PIECE = 400
MEMORY = "/dev/shm"  # noqa: S108 - trials sync all the time, and no disk is asked
COLUMNS = ("same", "reported", "silent", "killed", "exception", "other")
SHOWN = 20


@dataclass
class Table:
    """What came of all trials."""

    rows: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    violations: list[tuple[str, str, str]] = field(default_factory=list)
    killed: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, trial: Trial, verdict: str, said: str) -> None:
        """Count one trial."""
        row = self.rows.setdefault(
            (trial.store.name, trial.mode, trial.path), Counter()
        )
        row[verdict] += 1
        if trial.mode == trials.LARGE and verdict in (trials.SILENT, trials.KILLED):
            return  # counted, and not promised: see the mode
        full = trial.mode in (trials.FULL, trials.WRITTEN)
        if verdict in trials.BAD or (verdict == trials.KILLED and full):
            self.violations.append((verdict, trial.replay, said))
        elif verdict == trials.KILLED:
            self.killed.append((verdict, trial.replay, said))

    def total(self) -> Counter[str]:
        """Return the sums of all rows."""
        return sum(self.rows.values(), Counter())

    def __str__(self) -> str:
        head = ("store", "opened", "file", "trials", *COLUMNS)
        lines = [f"{head[0]:18} {head[1]:15} {head[2]:28}" + _cells(head[3:])]
        rows = sorted(self.rows.items())
        for mode in sorted({mode for _, mode, _ in self.rows}):
            chosen = (row for (_, found, _), row in rows if found == mode)
            rows.append((("all", mode, ""), sum(chosen, Counter())))
        for (store, mode, path), row in rows:
            known = [row[name] for name in COLUMNS[:-1]]
            cells = (row.total(), *known, row.total() - sum(known))
            lines.append(f"{store:18} {mode:15} {path:28}" + _cells(cells))
        return "\n".join(lines)


def _cells(cells: Sequence[object]) -> str:
    return "".join(f"{cell!s:>10}" for cell in cells)


def work_on(store: Store, mode: str, idle: set[int], step: int) -> Iterator[Trial]:
    """Yield every so manieth trial of one store opened in one way.

    The bytes of an LMDB page that nobody reads, however it is filled, are tried in
    steps; the page as a whole has been tried. So are the lengths to which LMDB's file
    is cut, but for one mode.
    """
    words = (
        (path, damage)
        for path in store.files
        if mode != trials.WRITTEN or path == damages.LMDB_FILE
        for damage in damages.everything(store, path)
        if path != damages.LMDB_FILE or not _is_dull(damage, mode, idle)
    )
    for path, damage in islice(words, 0, None, step):
        yield Trial(store, mode, path, damage)


def _is_dull(damage: str, mode: str, idle: set[int]) -> bool:
    """Tell whether one of its neighbours will say the same."""
    kind, _, where = damage.partition("@")
    if kind == "cut" and mode != trials.FULL:
        return int(where) % IDLE_STEP > 1
    if kind not in damages.BYTES:
        return False
    return int(where) // damages.PAGE_BYTES in idle and int(where) % IDLE_STEP > 0


def idle_pages(store: Store, mode: str, place: Path) -> set[int]:
    """Return the pages of LMDB of which no content makes a difference."""
    path = damages.LMDB_FILE
    if path not in store.files:
        return set()
    count = len(store.files[path]) // damages.PAGE_BYTES
    work = [
        Trial(store, mode, path, f"{kind}@{page}")
        for page in range(count)
        for kind in damages.PAGES
    ]
    same: Counter[int] = Counter()
    for number, verdict, said in workers.results(work, place):
        # A checksum of the whole file notices what nothing else would.
        unread = verdict == trials.SAME or trials.ROTTEN in said
        same[number // len(damages.PAGES)] += unread
    return {page for page in range(count) if same[page] == len(damages.PAGES)}


def sweep(
    work: Sequence[Trial], place: Path, count: int, seconds: float | None
) -> Table:
    """Run trials in so many workers at once; say from time to time how far it is.

    What has not begun after so many seconds is left out.
    """
    table, done, began = Table(), 0, time.monotonic()
    mixed = list(work)
    random.Random(1).shuffle(mixed)
    pieces = [mixed[n : n + PIECE] for n in range(0, len(mixed), PIECE)]
    running: dict[Connection, Sequence[Trial]] = {}
    said = began
    while pieces or running:
        if seconds is not None and time.monotonic() - began > seconds:
            pieces.clear()
        while pieces and len(running) < count:
            piece = pieces.pop()
            running[_begun(piece, place / f"piece-{len(pieces)}")] = piece
        for told in wait(list(running)):
            assert isinstance(told, Connection)
            piece = running.pop(told)
            for number, verdict, words in told.recv():
                table.add(piece[number], verdict, words)
            told.close()
            os.wait()
            done += len(piece)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            left = (said - began) / done * (len(work) - done)
            print(f"{done} of {len(work)}, {left:.0f} s left", flush=True)
    return table


def _begun(piece: Sequence[Trial], place: Path) -> Connection:
    receiver, sender = Pipe(duplex=False)

    def run() -> None:
        receiver.close()
        sender.send(list(workers.results(piece, place)))

    workers.forked(run)
    sender.close()
    return receiver


def stores(place: Path, engines: Sequence[str]) -> Iterator[Store]:
    """Build the stores of these engines."""
    for engine in engines:
        for state in STATES:
            yield build(engine, state, place / f"{engine}-{state}")


def replay(words: Sequence[str], place: Path) -> int:
    """Run one trial again, in this process's only child, and say all about it."""
    name, mode, path, damage = words
    engine, _, state = name.partition("-")
    trial = Trial(build(engine, state, place / "store"), mode, path, damage)
    [(_, verdict, said)] = workers.results([trial], place / "trial")
    print(f"{trial.replay}: {verdict} {said}")
    return verdict not in (trials.SAME, trials.REPORTED, trials.EXCEPTION)


def main() -> int:
    """Sweep, print the table and every violation with a command to replay it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--mode", choices=trials.MODES, action="append")
    parser.add_argument("--every", type=int, default=1, help="try every n-th damage")
    parser.add_argument(
        "--thorough", action="store_true", help="in all modes; some hours"
    )
    parser.add_argument("--seconds", type=float, help="stop then, with a sample")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", nargs=4, metavar=("STORE", "MODE", "FILE", "HOW"))
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    memory = MEMORY if os.path.isdir(MEMORY) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        place = Path(directory)
        if chosen.replay:
            return replay(chosen.replay, place)
        work: list[Trial] = []
        for store in stores(place, chosen.engine or ENGINES):
            for mode in chosen.mode or trials.MODES:
                if not trials.makes_sense(store, mode):
                    continue
                whole = chosen.every == 1
                idle = idle_pages(store, mode, place / "idle") if whole else set()
                step = 1 if chosen.thorough else trials.step_of(store, mode)
                step *= chosen.every
                work += work_on(store, mode, idle, step)
        began = time.monotonic()
        print(f"{len(work)} trials", flush=True)
        table = sweep(work, place, chosen.workers, chosen.seconds)
    print(table)
    print(f"{table.total().total()} trials in {time.monotonic() - began:.0f} s")
    for name, found in (("violations", table.violations), ("killed", table.killed)):
        print(f"{name}: {len(found)}")
        for verdict, words, said in found[:SHOWN]:
            print(f"  {verdict}: {said:.150}")
            print(f"    {Path(sys.argv[0])} --replay {words}")
    return bool(table.violations)


if __name__ == "__main__":
    sys.exit(main())
