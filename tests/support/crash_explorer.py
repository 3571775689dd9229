"""Cut the power at every step of a workload, in every way, and recover each time.

The disks that can be left are enumerated, and each distinct one is opened by the real
code: what is there is compared, as a whole, with the history. The recovery is cut at
every step, too, and what that leaves is recovered, and so on once more.

Everything is decided by workload, engine and seed, so that one state can be found
again by its name: the digest of the image, and those of the images behind it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from hypercache.engines.base import Entry
from hypercache.testing.power_cut import (
    LOST_NAMES,
    LOST_WRITES,
    TORN_WRITE,
    image_id,
    power_cuts,
)
from hypercache.testing.simulated_disk import Image, SimDisk
from tests.crash.workloads_cache import WORKLOADS
from tests.support.crash_oracle import check_copies, check_open, check_use
from tests.support.crash_runs import Run
from tests.support.crashstore import Content, open_engine

IN_RECOVERY, IN_RECOVERY_TWICE = "in recovery", "in recovery, twice"
KINDS = (LOST_WRITES, TORN_WRITE, LOST_NAMES, IN_RECOVERY, IN_RECOVERY_TWICE)


class Case(NamedTuple):
    """One run of a workload."""

    workload: str
    engine: str
    seed: int

    @property
    def changes(self) -> dict[str, object]:
        """Return the options of the store, as it is opened after a crash.

        Without limits: what is found is not to be evicted before it was looked at.
        """
        limits = dict.fromkeys(("max_items", "max_bytes"))
        return {**WORKLOADS[self.workload].changes, **limits, "sync": "always"}


class Limits(NamedTuple):
    """How far to go; every n-th image means: of those whose digest says so.

    Attributes:
        images: at most so many of each step are made.
        subsets: so many seeded subsets of the unsynced writes of a file are tried.
        torn: every n-th image with a torn write is recovered.
        names: so is every n-th with lost names.
        others: so is every n-th of the others.
        used: every n-th store is written to after its recovery, and crashes again.
        crashed: the recovery of every n-th image is cut.
        again: so is every n-th recovery from a cut recovery.
        in_recovery: at most so many images of each step of a recovery are made.
        killed: at every n-th write or sync the process dies, and the power goes after
            that; of the others eight times as many.
    """

    images: int = 400
    subsets: int = 12
    torn: int = 32
    names: int = 2
    others: int = 1
    used: int = 6
    crashed: int = 300
    again: int = 60
    in_recovery: int = 60
    killed: int = 43


class State(NamedTuple):
    """A disk that a power cut left, and what must be found on it."""

    image: Image
    kind: str
    promised: int
    states: dict[int, Content]
    copies: dict[str, int | None]
    history: dict[int, Content]


class Killed(NamedTuple):
    """A disk on which the process died at a step; what was pending still is."""

    disk: SimDisk
    state: State


class Violation(NamedTuple):
    """A state that is not as promised."""

    case: Case
    name: str
    problem: str


class Explored(NamedTuple):
    """What came of one case: the digests of the states, by kind, and what is wrong."""

    case: Case
    seen: dict[str, set[bytes]]
    violations: list[Violation]


def explore(case: Case, limits: Limits) -> Explored:
    """Check every state of one case."""
    states, kills = states_of(case, limits)
    explored = Explored(case, {kind: set() for kind in KINDS}, [])
    known = set(states)
    for key, state in states.items():
        shares = {TORN_WRITE: limits.torn, LOST_NAMES: limits.names}
        if not _is_chosen(key, shares.get(state.kind, limits.others)):
            continue
        explored.seen[state.kind].add(key)
        crashed = _is_chosen(key[2:], limits.crashed)
        inner = _checked(explored, key.hex(), state, limits, crashed)
        _explore_inner(explored, key.hex(), inner, known, limits)
    for name, killed in kills.items():
        inner = _killed(explored, name, killed, limits)
        _explore_inner(explored, name, inner, known, limits)
    return explored


def _explore_inner(
    explored: Explored,
    name: str,
    inner: dict[bytes, State],
    known: set[bytes],
    limits: Limits,
) -> None:
    kind = IN_RECOVERY_TWICE if "+" in name else IN_RECOVERY
    for key, state in inner.items():
        if key in known:
            continue
        known.add(key)
        explored.seen[kind].add(key)
        again = kind == IN_RECOVERY and _is_chosen(key[2:], limits.again)
        full_name = f"{name}+{key.hex()}"
        deeper = _checked(explored, full_name, state, limits, again)
        _explore_inner(explored, full_name, deeper, known, limits)


def replay(case: Case, name: str, limits: Limits) -> str | None:
    """Check the one state of this name again; return what is wrong with it.

    Raises:
        LookupError: the case has no such state.
    """
    states, kills = states_of(case, limits)
    explored = Explored(case, {}, [])
    *before, last = name.split("+")
    for key in before:
        if key in kills:
            states = _killed(explored, key, kills[key], limits)
        else:
            states = _checked(explored, key, _find(states, key), limits, True)
    if not explored.violations:
        if last in kills:
            _killed(explored, last, kills[last], limits)
        else:
            # Each state is checked as far as in the run that has named it.
            _checked(explored, last, _find(states, last), limits)
    return explored.violations[0].problem if explored.violations else None


def states_of(
    case: Case, limits: Limits
) -> tuple[dict[bytes, State], dict[str, Killed]]:
    """Run a workload; return every disk that a power cut could leave of it.

    And those that the death of the process leaves, by the number of the step.
    """
    workload = WORKLOADS[case.workload]
    states: dict[bytes, State] = {}
    kills: dict[str, Killed] = {}
    rng = random.Random(f"cuts {case}")

    def collect(run: Run) -> None:
        for left in power_cuts(run.disk, rng, limits.images, limits.subsets):
            key = image_id(left.image)
            known = states.get(key)
            if known is None or run.promised > known.promised:
                kind = left.kind if known is None else known.kind
                states[key] = _state(run, left.image, kind)
        count = len(run.disk.trace)
        often = run.disk.trace[-1][0] not in ("write", "sync")
        every = limits.killed // 8 if often else limits.killed
        if count % every == case.seed % every:
            state = _state(run, {}, IN_RECOVERY)
            kills[f"kill{count}"] = Killed(run.disk.detached(), state)

    run = Run(
        SimDisk(), case.engine, on_step=collect, seed=tuple(case), **workload.changes
    )
    workload.do(run)
    run.close()
    return states, kills


def _state(run: Run, image: Image, kind: str) -> State:
    return State(image, kind, run.promised, run.states, {**run.copies}, run.states)


def _find(states: dict[bytes, State], name: str) -> State:
    for key, state in states.items():
        if key.hex().startswith(name):
            return state
    raise LookupError(f"there is no state {name} (any more)")


def _is_chosen(key: bytes, every: int) -> bool:
    return int.from_bytes(key[:4]) % every == 0


def _checked(
    explored: Explored, name: str, state: State, limits: Limits, crashed: bool = False
) -> dict[bytes, State]:
    """Check a state; if asked return what power cuts in its recovery would leave."""
    case, disk = explored.case, SimDisk(state.image)
    cut: dict[bytes, Image] = {}
    try:
        if crashed:
            disk.on_step = _collector(disk, cut, state, limits)
        engine = open_engine(disk, case.engine, **case.changes)
        disk.on_step = None
        lsn, content = check_open(case.engine, disk, engine, state)
        check_copies(case.engine, disk, state)
        if _is_chosen(image_id(state.image)[4:], limits.used):
            check_use(case.engine, disk, engine, content, case.changes)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a violation)
        problem = f"{type(error).__name__}: {error}".strip()
        explored.violations.append(Violation(case, name, problem))
        return {}
    # Wherever the recovery is cut, the next one must end the same.
    same = state._replace(promised=lsn, states={lsn: state.states[lsn]})
    return {key: same._replace(image=image) for key, image in cut.items()}


def _collector(
    disk: SimDisk, cut: dict[bytes, Image], state: State, limits: Limits
) -> Callable[[], None]:
    rng = random.Random(image_id(state.image))

    def collect() -> None:
        for left in power_cuts(disk, rng, limits.in_recovery):
            cut[image_id(left.image)] = left.image

    return collect


def _killed(
    explored: Explored, name: str, killed: Killed, limits: Limits
) -> dict[bytes, State]:
    """Recover on a machine that goes on, write, and cut the power at every step.

    What the next process reads may be in the cache of the system only.
    """
    case, disk, state = explored.case, killed.disk.detached(), killed.state
    found: dict[bytes, State] = {}
    rng = random.Random(name)

    def collect() -> None:
        for left in power_cuts(disk, rng, limits.in_recovery // 6):
            found.setdefault(image_id(left.image), state._replace(image=left.image))

    try:
        disk.on_step = collect
        engine = open_engine(disk, case.engine, **case.changes)
        lsn, content = check_open(case.engine, disk, engine, state)
        after = {**content, b"after the death": Entry(b"x")}
        state = state._replace(promised=lsn, states={lsn: content, lsn + 1: after})
        engine.put(b"after the death", b"x")
        state = state._replace(promised=lsn + 1)
        collect()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a violation)
        problem = f"{type(error).__name__}: {error}".strip()
        explored.violations.append(Violation(case, name, problem))
        return {}
    return found
