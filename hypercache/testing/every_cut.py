"""Cut the power of a simulated machine wherever that can be done, and check each time.

The method is that of ALICE (Pillai et al., OSDI 2014): run the program once, enumerate
at each operation the disks that a power cut could leave, and recover every one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from hypercache.testing.machine import Machine
from hypercache.testing.power_cut import PowerCuts
from hypercache.testing.simulated_disk import Image, SimDisk

Note = Callable[[Any], None]
Work = Callable[[Note], object]
Check = Callable[[list[Any]], object]

IMAGES_PER_STEP = 24
AGAIN_COUNT = 20  # power cuts after which the power fails in the recovery, too


class Found(NamedTuple):
    """A disk that a power cut left, and how many notes had been taken by then."""

    name: str
    image: Image
    note_count: int


class PowerCutRun:
    """Run `work` once on a machine, and know every disk that could be left.

    `work` is called with a function that notes what the program has told others.
    """

    def __init__(
        self, machine: Machine, work: Work, seed: int = 0, limit: int = IMAGES_PER_STEP
    ) -> None:
        self._machine, self._seed, self._limit = machine, seed, limit
        self._notes: list[Any] = []
        cuts = self._watch(self._note_count)

        def note(fact: Any) -> None:
            self._notes.append(fact)
            cuts.collect(len(self._notes))

        work(note)
        self.found = _named("", cuts)

    def check_all(self, check: Check) -> int:
        """Call `check` after each power cut; return how often.

        It gets the notes taken before the cut, and opens what it needs. After some
        cuts the power fails again while it runs, and it is run once more on what
        that leaves.
        """
        again = _sample(self.found, self._seed)
        return sum(self._check(found, check, found in again) for found in self.found)

    def check_one(self, name: str, check: Check) -> None:
        """Call `check` after the power cut of that name only.

        Raises:
            LookupError: there is none.
        """
        first, _, second = name.partition("+")
        for found in self.found:
            if found.name == first:
                if not second:
                    self._call(found, check)
                    return
                for left in self._cut_again(found, check):
                    if left.name == name:
                        self._call(left, check)
                        return
        raise LookupError(f"there is no power cut {name!r}; was the work changed?")

    def _check(self, found: Found, check: Check, again: bool) -> int:
        if not again:
            self._call(found, check)
            return 1
        left = self._cut_again(found, check)
        for each in left:
            self._call(each, check)
        return 1 + len(left)

    def _cut_again(self, found: Found, check: Check) -> list[Found]:
        self._machine.restart_with(SimDisk(found.image))
        cuts = self._watch(lambda: found.note_count)
        self._told(found, check)
        return _named(f"{found.name}+", cuts)

    def _call(self, found: Found, check: Check) -> None:
        self._machine.restart_with(SimDisk(found.image))
        self._told(found, check)

    def _told(self, found: Found, check: Check) -> None:
        try:
            check(self._notes[: found.note_count])
        except BaseException as error:
            error.add_note(
                f"after power cut {found.name} of {len(self.found)}; to run this one "
                f"alone: pytest --hypercache-power-cut={found.name} and the name of "
                "the test"
            )
            raise

    def _watch(self, note_count: Callable[[], int]) -> PowerCuts:
        disk = self._machine.disk
        cuts = PowerCuts(disk, self._seed, self._limit)
        disk.on_step = lambda: cuts.collect(note_count())
        return cuts

    def _note_count(self) -> int:
        return len(self._notes)


def _named(prefix: str, cuts: PowerCuts) -> list[Found]:
    return [
        Found(f"{prefix}{number}", image, note_count)
        for number, (image, note_count) in enumerate(cuts.images.values(), start=1)
    ]


def _sample(found: list[Found], seed: int) -> list[Found]:
    rng = random.Random(seed)  # noqa: S311 (a sample that can be had again)
    return rng.sample(found, min(AGAIN_COUNT, len(found)))
