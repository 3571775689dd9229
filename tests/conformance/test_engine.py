"""The conformance suite that ships with the package, over every engine of the table.

What the promises are is in hypercache/testing/engine_conformance/.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercache.engines import StorageEngine
from hypercache.storage import Clock
from hypercache.testing.engine_conformance import (
    DurableEngineConformance,
    EngineConformance,
)
from tests.support.engines import EngineCase, durable_engines, volatile_engines


class CaseOfTheTable:
    @pytest.fixture(autouse=True)
    def _take_case(self, engine_case: EngineCase) -> None:
        self.case = engine_case
        self.plain_after = engine_case.plain_after
        self.has_backup = engine_case.has_backup

    def open(self, path: Path, clock: Clock) -> StorageEngine:
        return self.case.open_engine(path, clock)


@volatile_engines
class TestVolatile(CaseOfTheTable, EngineConformance):
    """Engines that keep nothing."""


@durable_engines
class TestDurable(CaseOfTheTable, DurableEngineConformance):
    """Engines that keep everything."""
