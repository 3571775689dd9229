"""A metafile is whole, absent, or reported."""

import json

import pytest
from crc32c import crc32c

from hypercache import metafile
from hypercache.errors import CorruptionError
from hypercache.storage import OsStorage

FIELDS = {"checkpoint_lsn": 7, "clean": True, "serializer": None, "uuid": "ab" * 16}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "STORE")


def read(path):
    return metafile.maybe_read(OsStorage(), path)


def put(path, line, checksum=None):
    crc = crc32c(line) if checksum is None else checksum
    with open(path, "wb") as file:
        file.write(b"%s\n%08x\n" % (line, crc))


def test_fields_read_back_as_they_were_written(path):
    metafile.write(OsStorage(), path, FIELDS)
    assert read(path) == FIELDS


def test_the_file_is_two_lines_of_ascii_as_the_format_has_it(path):
    metafile.write(OsStorage(), path, {**FIELDS, "serializer": "sch\u00f6n"})
    with open(path, "rb") as file:
        data = file.read()
    line, checksum, nothing = data.split(b"\n")
    assert data.isascii()
    assert json.loads(line)["serializer"] == "sch\u00f6n"
    assert (checksum, nothing) == (b"%08x" % crc32c(line), b"")


def test_no_file_is_none_not_an_error(path):
    assert read(path) is None


def test_writing_again_replaces_the_whole_content(path):
    metafile.write(OsStorage(), path, {"long": "x" * 500})
    metafile.write(OsStorage(), path, {"a": 1})
    assert read(path) == {"a": 1}


def test_a_temporary_file_is_never_read(path):
    metafile.write(OsStorage(), path + ".tmp", FIELDS)
    assert read(path) is None


def test_every_flipped_byte_is_corruption(path):
    metafile.write(OsStorage(), path, FIELDS)
    with open(path, "rb") as file:
        whole = file.read()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x20  # turns the case of letters: hex must be lower case
        with open(path, "wb") as file:
            file.write(damaged)
        with pytest.raises(CorruptionError, match="checksum does not match") as caught:
            read(path)
        assert (caught.value.path, caught.value.offset) == (path, 0)


def test_every_truncation_is_corruption(path):
    metafile.write(OsStorage(), path, FIELDS)
    with open(path, "rb") as file:
        whole = file.read()
    for length in range(len(whole)):
        with open(path, "wb") as file:
            file.write(whole[:length])
        with pytest.raises(CorruptionError):
            read(path)


def test_bytes_behind_the_checksum_are_corruption(path):
    put(path, b"{}")
    with open(path, "ab") as file:
        file.write(b"\n")
    with pytest.raises(CorruptionError):
        read(path)


@pytest.mark.parametrize("line", [b"[1]", b"null", b"7", b'"text"'])
def test_json_that_is_no_object_is_corruption(path, line):
    put(path, line)
    with pytest.raises(CorruptionError, match="holds no fields"):
        read(path)


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"{}{}", b"NaN,"])
def test_a_line_that_is_no_json_is_corruption_even_if_its_checksum_holds(path, line):
    put(path, line)
    with pytest.raises(CorruptionError):
        read(path)
