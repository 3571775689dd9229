"""What is in an engine, as the shipped conformance suite reads it."""

from hypercache.testing.contents import contents, entries, fill

__all__ = ["contents", "entries", "fill"]
