"""What tests of an engine need; docs/extending.md shows how it is used.

Not imported by anything else of the package. Only `engine_conformance` needs pytest.
"""
