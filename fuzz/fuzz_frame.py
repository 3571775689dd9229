"""Invariant: any bytes are frames, an end, or a hole; nothing is raised.

Run with atheris installed: python fuzz/fuzz_frame.py -max_total_time=60
"""

import sys

import atheris

with atheris.instrument_imports():
    from hypercache.frame import FrameScanner


def test_one_input(data: bytes) -> None:
    """Scan the bytes and look for frames behind the hole."""
    scanner = FrameScanner(memoryview(data), 0, 0, 1)
    for found in scanner:
        assert found.end <= len(data)
    if scanner.hole is not None:
        assert scanner.hole.offset == scanner.offset
        list(scanner.frames_behind_hole())


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
