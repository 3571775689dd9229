"""Randomness that a failing test can be run with again."""

from __future__ import annotations

import random
import sys


def tell(text: object) -> None:
    """Say something that pytest shows when the test fails."""
    sys.stdout.write(f"{text}\n")


def seeded(seed: object) -> random.Random:
    """Return random numbers that a failing test tells how to get again."""
    tell(f"seed {seed}")
    return random.Random(str(seed))  # noqa: S311  (not for secrets)
