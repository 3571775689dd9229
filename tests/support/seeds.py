"""The seeded randomness of the shipped conformance suite."""

from hypercache.testing.seeds import seeded, tell

__all__ = ["seeded", "tell"]
