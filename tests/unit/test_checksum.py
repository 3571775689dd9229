"""The checksum is CRC32C, and does not bring half of the standard library along."""

import importlib.machinery
import subprocess
import sys

import crc32c
import pytest

from hypercache import checksum
from tests.support.processes import environment


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256)) * 40])
def test_it_is_what_the_package_computes(data):
    assert checksum.crc32c(data) == crc32c.crc32c(data)
    assert checksum.crc32c(data, 7) == crc32c.crc32c(data, 7)
    assert checksum.crc32c(memoryview(data)) == crc32c.crc32c(data)


def test_the_check_value_of_crc_32c_comes_out():
    assert checksum.crc32c(b"123456789") == 0xE3069283


def test_opening_a_store_looks_nothing_up_in_the_metadata_of_packages(tmp_path):
    code = (
        "import sys; from hypercache import Cache; Cache(sys.argv[1]).close();"
        "print({'importlib.metadata', 'email', 'crc32c'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "store"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("found", [None, importlib.machinery.ModuleSpec("x", None)])
def test_where_the_extension_is_not_where_it_was_the_package_is_asked(
    monkeypatch, found
):
    monkeypatch.setattr(
        checksum.PathFinder, "find_spec", lambda *_: found, raising=True
    )
    assert checksum._of_the_extension() is None
    monkeypatch.undo()
    assert checksum._of_the_package() is crc32c.crc32c
