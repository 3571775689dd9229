"""How much is measured: a full run, and one that takes about two minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes, as numbers of keys or operations, and the rounds of each work.

    Attributes:
        rounds: of the works of seconds; `long_rounds`: of those of minutes.
        writes: under sync="always", in one thread.
    """

    name: str
    seed: int
    rounds: int
    long_rounds: int
    keys: int
    large_keys: int
    writes: int
    sustained: int
    cold_gets: int
    ycsb_keys: int
    ycsb_operations: int
    open_keys: int
    scan_keys: int
    resident_keys: int
    growth: tuple[int, ...]
    growth_operations: int


FULL = Plan(
    name="full",
    seed=1,
    rounds=5,
    long_rounds=3,
    keys=100_000,
    large_keys=20_000,
    writes=1_000,
    sustained=2_000_000,
    cold_gets=200_000,
    ycsb_keys=1_000_000,
    ycsb_operations=200_000,
    open_keys=1_000_000,
    scan_keys=100_000,
    resident_keys=1_000_000,
    growth=(10_000, 100_000, 1_000_000, 10_000_000),
    growth_operations=50_000,
)

QUICK = Plan(
    name="quick",
    seed=1,
    rounds=3,
    long_rounds=1,
    keys=20_000,
    large_keys=4_000,
    writes=200,
    sustained=150_000,
    cold_gets=20_000,
    ycsb_keys=50_000,
    ycsb_operations=20_000,
    open_keys=100_000,
    scan_keys=10_000,
    resident_keys=100_000,
    growth=(10_000, 100_000),
    growth_operations=10_000,
)
