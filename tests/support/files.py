"""How the shipped conformance suite looks at files and damages them."""

from hypercache.testing.files import (
    cut,
    difference,
    find_bytes,
    flip,
    flipped,
    snapshot,
    unchanged,
)

__all__ = [
    "cut",
    "difference",
    "find_bytes",
    "flip",
    "flipped",
    "snapshot",
    "unchanged",
]
