"""The promises of `StorageEngine` as tests, for any engine.

A test module of another package holds its engine to them with

    from hypercache.testing.engine_conformance import DurableEngineConformance

    class TestMyEngine(DurableEngineConformance):
        def open(self, path, clock):
            return MyEngine(path, clock)

and pytest runs the inherited tests. An engine that keeps nothing on disk takes
`EngineConformance` instead. docs/extending.md has the whole story.
"""

from __future__ import annotations

import pytest

_PARTS = "batches calls care damage expiry limits opening races restarts scans".split()
# Before they are imported: an assert of theirs that fails shall show its values.
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from hypercache.testing.clock import FakeClock  # noqa: E402
from hypercache.testing.engine_conformance.batches import Batches  # noqa: E402
from hypercache.testing.engine_conformance.calls import SingleCalls  # noqa: E402
from hypercache.testing.engine_conformance.care import Care  # noqa: E402
from hypercache.testing.engine_conformance.damage import Damage  # noqa: E402
from hypercache.testing.engine_conformance.expiry import Expiry  # noqa: E402
from hypercache.testing.engine_conformance.limits import Limits  # noqa: E402
from hypercache.testing.engine_conformance.races import Races  # noqa: E402
from hypercache.testing.engine_conformance.restarts import Restarts  # noqa: E402
from hypercache.testing.engine_conformance.scans import Scans  # noqa: E402

__all__ = ["DurableEngineConformance", "EngineConformance", "FakeClock"]


class EngineConformance(SingleCalls, Batches, Expiry, Limits, Care, Scans, Races):
    """Hold an engine to every promise that needs no disk; override `open`."""


class DurableEngineConformance(EngineConformance, Restarts, Damage):
    """Hold an engine to every promise, those of restarts included; override `open`.

    Set `plain_after` and `has_backup` where the engine differs from the default.
    """

    durable = True
