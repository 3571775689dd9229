"""The pytest plugin: the fixture `hypercache_machine`, and what replays a failure.

Loaded by pytest in every project that has HyperCache installed, so it imports the rest
when a test asks for it. docs/testing.md has the whole story.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from hypercache.testing.every_cut import Check, Work
    from hypercache.testing.machine import Machine


class PowerCutsFixture(Protocol):
    """What the fixture `hypercache_power_cuts` gives."""

    def __call__(
        self, work: Work, check: Check, *, seed: int = 0, limit: int = 24
    ) -> int:
        """Run `work` once, then `check` after every power cut; return how often.

        `limit` is how many disks are looked at for one moment, at most; where there
        are more, the seed chooses.
        """


_ONE_CUT = "--hypercache-power-cut"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that replays one power cut."""
    group = parser.getgroup("hypercache")
    group.addoption(
        _ONE_CUT,
        metavar="NAME",
        help="check only the power cut of this name, as a failure has named it",
    )


@pytest.fixture
def hypercache_machine() -> Iterator[Machine]:
    """Put every Cache with a path on a simulated machine that can be crashed."""
    from hypercache.testing.machine import Machine

    machine = Machine()
    with machine.installed():
        yield machine


@pytest.fixture
def hypercache_power_cuts(
    hypercache_machine: Machine, request: pytest.FixtureRequest
) -> PowerCutsFixture:
    """Check what is left after every power cut that could have happened."""
    from hypercache.testing.every_cut import PowerCutRun

    only = request.config.getoption(_ONE_CUT)

    def every_cut(work: Work, check: Check, *, seed: int = 0, limit: int = 24) -> int:
        run = PowerCutRun(hypercache_machine, work, seed, limit)
        if only is not None:
            run.check_one(only, check)
            return 1
        return run.check_all(check)

    return every_cut
