"""The clock of the shipped conformance suite."""

from hypercache.testing.clock import START_MS, FakeClock

__all__ = ["START_MS", "FakeClock"]
