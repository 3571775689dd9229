"""Opens one damaged store, reads all of it, and says what came of that."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import damage_sweep_damages as damages
from damage_sweep_stores import SETTINGS, Answers, Files, Store, files_below

from hypercache.engines import StorageEngine, lmdb_trust, open_engine
from hypercache.engines.base import Entry, Put
from hypercache.errors import HyperCacheError
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import Storage
from hypercache.wal import checkpoint

SAME, REPORTED, SILENT, KILLED = "same", "reported", "silent", "killed"
EXCEPTION = "exception"
# Violations as well: no answer for ever, an error that is not one of ours, and a file
# that was changed by an open that then refused.
HUNG, FOREIGN, CHANGED = "hung", "foreign-error", "changed-a-file"
BAD = (SILENT, HUNG, FOREIGN, CHANGED)

# How a store is opened: with verify="full"; as by default, with the times of the files
# as they were, as after bit rot; with the times of a copy; and as if its LMDB file were
# too long for a checksum at the close, where the default trusts size and time. WRITTEN
# is FULL, and then goes on to write: a commit follows what no read looks at.
FULL, KEPT, COPIED, LARGE = "full", "default", "default-copied", "default-large"
WRITTEN = "full-written"
MODES = (FULL, WRITTEN, KEPT, COPIED, LARGE)
# Who is verified in full goes one way through the code. Where another mode goes the
# same way but for a few lines, every so manieth trial is made of it: with 3 each byte
# still gets one of its three values.
STEPS = {
    ("closed", KEPT): 3,
    ("closed", COPIED): 17,
    ("closed", LARGE): 17,
    ("killed", FULL): 9,
    ("killed", KEPT): 3,
    ("killed", WRITTEN): 7,
}
_crc = lmdb_trust._crc
ROTTEN = "not what the last close left"
ABSENT = (b"a", b"key-", b"key-03", b"key-04x", b"key-150", b"timed-", b"zzz")


def _noted_crc(storage: Storage, paths: StorePaths) -> int:
    """Stand in for the checksum of a file that nobody has read."""
    return checkpoint.load(storage, paths).lmdb_crc


def step_of(store: Store, mode: str) -> int:
    """Return which share of the damages is tried on a store in this mode."""
    if store.engine == "memory":  # which is read whole in any mode
        return 1 if mode == FULL else 9
    return STEPS.get((store.state, mode), 1)


def makes_sense(store: Store, mode: str) -> bool:
    """Tell whether the mode says anything new of such a store."""
    if store.engine == "memory":
        return mode in (FULL, KEPT)
    return mode in (FULL, KEPT) or (mode == WRITTEN) == (store.state == "killed")


@dataclass(frozen=True)
class Trial:
    """One damage of one file, and how the store is opened then."""

    store: Store
    mode: str
    path: str
    damage: str

    @property
    def replay(self) -> str:
        """Return the arguments that run just this one."""
        return f"{self.store.name} {self.mode} {self.path} {self.damage}"


def run(trial: Trial, place: Path) -> tuple[str, str]:
    """Return the verdict and, unless all is well, what was said."""
    _write(trial, place)
    before = _unlocked(damages.damaged_files(trial.store, trial.path, trial.damage))
    lmdb_trust._crc = _noted_crc if trial.mode == LARGE else _crc
    verify = "full" if trial.mode in (FULL, WRITTEN) else "auto"
    options = Options.resolve(engine=trial.store.engine, verify=verify, **SETTINGS)  # type: ignore[arg-type]
    try:
        engine = open_engine(str(place), engine=trial.store.engine, options=options)
    except HyperCacheError as error:
        if _unlocked(files_below(place)) != before:
            return CHANGED, str(error)
        return REPORTED, str(error)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return FOREIGN, repr(error)
    reading = _Reading(engine, trial.store.answers)
    try:
        verdict = reading.verdict()
        if verdict[0] == SILENT and (
            legal := damages.legal_answers(trial.store, trial.path, trial.damage)
        ):
            allowed = _Reading(engine, legal).verdict()
            verdict = (EXCEPTION, "") if allowed[0] == SAME else verdict
        if verdict[0] == SAME and trial.mode == WRITTEN:
            verdict = _written(engine, trial.store.answers)
    finally:
        with contextlib.suppress(HyperCacheError):
            engine.close()
    return verdict


def _written(engine: StorageEngine, answers: Answers) -> tuple[str, str]:
    """Write, also onto pages that were free, and read everything again."""
    answers = dict(answers)
    try:
        for turn in range(12):
            batch = [
                Put(b"key-%02d" % (3 * turn + n), b"%d" % n * 40) for n in range(3)
            ]
            engine.apply(batch)
            answers |= {op.key: Entry(op.value, 0) for op in batch}
            if turn % 4 == 3:
                engine.checkpoint()
    except HyperCacheError as error:
        return REPORTED, str(error)
    return _Reading(engine, answers).verdict()


class _Reading:
    """Every read of an engine, compared with the answers it should give."""

    def __init__(self, engine: StorageEngine, answers: Answers) -> None:
        self._engine, self._answers = engine, answers
        self._errors: list[str] = []
        self._foreign: list[str] = []
        self._wrong: list[str] = []

    def verdict(self) -> tuple[str, str]:
        """Return what came of all reads and a check."""
        engine, answers = self._engine, self._answers
        for key, entry in answers.items():
            self._expect(entry, engine.get_entry, key)
        for key in ABSENT:
            self._expect(answers.get(key), engine.get_entry, key)
        self._expect(sorted(answers.items()), lambda: list(engine.scan()))
        self._expect(len(answers), engine.count)
        self._expect((), lambda: self._note(engine.check().problems))
        return self._summary()

    def _note(self, problems: tuple[object, ...]) -> tuple[object, ...]:
        self._errors += map(str, problems)
        return ()

    def _expect(
        self, expected: object, read: Callable[..., object], *arguments: object
    ) -> None:
        try:
            found = read(*arguments)
        except HyperCacheError as error:
            self._errors.append(str(error))
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self._foreign.append(repr(error))
        else:
            if found != expected:
                name = getattr(read, "__name__", "read")
                self._wrong.append(f"{name}{arguments}: {found!r:.60}")

    def _summary(self) -> tuple[str, str]:
        for verdict, said in (
            (SILENT, self._wrong),
            (FOREIGN, self._foreign),
            (REPORTED, self._errors),
        ):
            if said:
                return verdict, said[0]
        return SAME, ""


def _write(trial: Trial, place: Path) -> None:
    store, root = trial.store, str(place)
    shutil.rmtree(root, ignore_errors=True)
    for folder in store.folders:
        os.makedirs(f"{root}/{folder}")
    for name, data in damages.damaged_files(store, trial.path, trial.damage).items():
        file = f"{root}/{name}"
        with open(file, "wb", buffering=0) as opened:
            opened.write(data)
        if trial.mode != COPIED and name in store.mtimes:
            os.utime(file, ns=(store.mtimes[name],) * 2)


def _unlocked(files: Files) -> Files:
    """Leave out what belongs to nobody's data: pids, and LMDB's table of readers."""
    return {
        name: data
        for name, data in files.items()
        if name not in (*damages.LOCKS, damages.LOCK_TABLE)
    }
