"""A plan so small that all of the benchmark runs in seconds, and says nothing."""

from hypercache.bench.plan import Plan

TINY = Plan(
    name="tiny",
    seed=7,
    rounds=1,
    long_rounds=1,
    keys=200,
    large_keys=20,
    writes=32,
    sustained=3000,
    cold_gets=50,
    ycsb_keys=100,
    ycsb_operations=60,
    open_keys=300,
    scan_keys=500,
    resident_keys=2000,
    growth=(100, 300),
    growth_operations=50,
)
