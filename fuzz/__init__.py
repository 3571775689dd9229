"""Fuzz targets: `python -m fuzz` runs them all, `python -m fuzz.run NAME` one.

A target is a module with `check(data)`, which raises nothing but what its invariant
rules out, and `seeds()`. None imports atheris, so the tests can run them without it.
"""

TARGETS = (
    "fuzz_frame",
    "fuzz_ops",
    "fuzz_metafile",
    "fuzz_base",
    "fuzz_envelope",
    "fuzz_codec",
    "fuzz_filter",
    "fuzz_wal",
    "fuzz_aof",
    "fuzz_recovery",
)
