"""A saved filter is loaded as it was, in any process, or refused."""

import re
from pathlib import Path

import pytest
from crc32c import crc32c

from hypercache.errors import CorruptionError, StorageError, UnsupportedFormatError
from hypercache.filter import CuckooFilter
from hypercache.testing.power_cut import PowerCuts, after_power_cut
from hypercache.testing.simulated_disk import SimDisk
from tests.support.processes import environment, run_python

FORMAT = Path(__file__).resolve().parents[2] / "docs" / "filter_format.md"
HEX_LINE = re.compile(r"^    [0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)$", re.MULTILINE)
ITEMS = [f"user:{number}" for number in range(60)]
REFUSED = (CorruptionError, UnsupportedFormatError)


def example(fp_rate=0.01):
    made = CuckooFilter(100, fp_rate, seed=7)
    for item in ITEMS:
        made.add(item)
    return made


def sealed(body):
    return body + crc32c(body).to_bytes(4, "little")


@pytest.mark.parametrize("fp_rate", [0.03, 0.01, 1e-8])
def test_what_was_saved_is_loaded_and_goes_on(tmp_path, fp_rate):
    made, path = example(fp_rate), str(tmp_path / "seen")
    made.save(path)
    found = CuckooFilter.load(path)
    assert found.to_bytes() == made.to_bytes()
    assert (found.capacity, found.fp_rate, len(found)) == (100, fp_rate, 60)
    assert all(item in found for item in ITEMS)
    for each in (made, found):
        each.add("one more")
        assert each.remove(ITEMS[0])
    assert found.to_bytes() == made.to_bytes()
    found.save(path)
    assert CuckooFilter.load(path).to_bytes() == made.to_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["seen"]


def test_a_power_cut_while_saving_leaves_the_old_filter_or_the_new_one():
    disk = SimDisk({"/d": None})
    old, new = CuckooFilter(10), example()
    old.save("/d/seen", storage=disk)
    cuts = PowerCuts(disk)
    disk.on_step = cuts.collect
    new.save("/d/seen", storage=disk)
    found = {
        CuckooFilter.load("/d/seen", storage=SimDisk(image)).to_bytes()
        for image, _ in cuts.images.values()
    }
    assert found == {old.to_bytes(), new.to_bytes()}
    left = SimDisk(after_power_cut(disk))
    assert CuckooFilter.load("/d/seen", storage=left).to_bytes() == new.to_bytes()


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        CuckooFilter.load(str(tmp_path / "nowhere"))


def test_the_worked_example_of_the_format_is_what_the_code_writes():
    lines = HEX_LINE.findall(FORMAT.read_text())
    made = CuckooFilter(3, 0.03, seed=1)
    for item in ("a", "a", "b"):
        made.add(item)
    assert made.to_bytes() == bytes.fromhex("".join(lines))


def test_the_same_calls_make_the_same_bytes_in_every_process():
    code = """
        from hypercache.filter import CuckooFilter
        made = CuckooFilter(100, seed=7)
        for number in range(60):
            made.add(f"user:{number}")
        print(made.to_bytes().hex())
    """
    for hash_seed in ("1", "2"):
        env = {**environment(), "PYTHONHASHSEED": hash_seed}
        assert run_python(code, env=env).strip() == example().to_bytes().hex()


def test_every_flipped_bit_is_refused():
    data = example(0.03).to_bytes()
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(REFUSED):
                CuckooFilter.from_bytes(damaged)


def test_a_filter_cut_at_any_length_is_refused_and_so_is_one_with_more():
    data = example().to_bytes()
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            CuckooFilter.from_bytes(data[:length])
    with pytest.raises(CorruptionError):
        CuckooFilter.from_bytes(data + b"\0")


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (8, (0).to_bytes(8, "little")),  # no capacity
        (8, (10**6).to_bytes(8, "little")),  # more than there are places
        (8, (59).to_bytes(8, "little")),  # fewer than are in it
        (16, bytes(8)),  # a rate of 0
        (16, b"\xff" * 8),  # not a number
        (28, (3).to_bytes(4, "little")),  # a width there is not
        (28, (1).to_bytes(4, "little")),
        (32, bytes(8)),
        (32, b"\xff" * 8),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_though_its_checksum_is_right(
    offset, field
):
    body = bytearray(example().to_bytes()[:-4])
    body[offset : offset + len(field)] = field
    with pytest.raises(CorruptionError, match=r"capacity|header"):
        CuckooFilter.from_bytes(sealed(bytes(body)))


def test_an_odd_number_of_buckets_is_refused():
    header = bytearray(example(0.03).to_bytes()[:40])
    header[8:16], header[32:40] = (n.to_bytes(8, "little") for n in (1, 3))
    with pytest.raises(CorruptionError, match="header"):
        CuckooFilter.from_bytes(sealed(bytes(header) + bytes(12)))


def test_another_version_is_named_and_something_else_is_called_that(tmp_path):
    body = bytearray(example().to_bytes()[:-4])
    body[6] = 2
    with pytest.raises(UnsupportedFormatError, match="format 2"):
        CuckooFilter.from_bytes(sealed(bytes(body)))
    (tmp_path / "photo").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(CorruptionError, match=r"photo: it is no saved filter.*add its"):
        CuckooFilter.load(str(tmp_path / "photo"))
