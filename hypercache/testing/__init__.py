"""What tests need: of an engine, and of a program that uses a cache.

docs/extending.md has the first, docs/testing.md the second. Not imported by anything
else of the package. Only `engine_conformance` and `plugin` need pytest.
"""
