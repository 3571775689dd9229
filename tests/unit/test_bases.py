"""A base is read back as it was written, or refused: no block passes for another."""

import msgpack
import pytest
import zstandard

from hypercache.aof import base as bases
from hypercache.aof.base import BaseReader, BaseWriter, decode_block, entries
from hypercache.errors import CorruptionError
from hypercache.frame import MAX_PAYLOAD_BYTES
from hypercache.storage import OsStorage

UUID = bytes(range(16))
OTHER_UUID = bytes(range(1, 17))
SLOTS = {b"a": b"1", b"b": (b"2", 5000), b"e": b"", b"c": b"x" * 600}


def compressed(block):
    return zstandard.ZstdCompressor().compress(msgpack.packb(block))


class Base:
    """A base in a file of this test, written block by block."""

    def __init__(self, path):
        self.path, self.storage = str(path), OsStorage()

    def write(self, *blocks, uuid=UUID, number=1, lsn=7):
        """Write payloads with their entry counts, or slots; keep the facts."""
        self.storage.unlink(self.path)
        file = self.storage.create(self.path, mapped=False)
        writer = BaseWriter(file, uuid, number, lsn)
        for block in blocks:
            if isinstance(block, dict):
                for key, slot in block.items():
                    writer.add(key, slot)
                writer.flush()
            else:
                writer.add_block(*block)
        self.facts = writer.finish()
        file.close()

    def read(self, uuid=UUID, **changed):
        facts = self.facts
        for name, value in changed.items():
            facts = type(facts)(**{**facts_of(facts), name: value})
        with self.storage.open_read(self.path) as file:
            return dict(entries(BaseReader(file, uuid, facts).blocks()))


def facts_of(facts):
    return {name: getattr(facts, name) for name in facts.__slots__}


@pytest.fixture
def base(tmp_path):
    return Base(tmp_path / "base-1.base")


def test_all_entries_come_back_with_their_expiries(base):
    base.write(SLOTS, {b"z": b"26"})
    assert base.read() == {**SLOTS, b"z": b"26"}
    assert base.facts.entry_count == 5


def test_a_base_without_entries_is_a_base(base):
    base.write()
    assert base.read() == {}


def test_a_block_ends_where_it_is_full(base, monkeypatch):
    monkeypatch.setattr(bases, "BLOCK_BYTES", 100)
    base.write({b"%04d" % number: b"v" * 30 for number in range(20)})
    with base.storage.open_read(base.path) as file:
        blocks = list(BaseReader(file, UUID, base.facts).blocks())
    assert [len(block) for block in blocks] == [3] * 6 + [2]


def test_a_base_of_another_store_or_place_is_refused(base):
    base.write(SLOTS)
    for changed in ({"uuid": OTHER_UUID}, {"number": 2}):
        with pytest.raises(CorruptionError, match="another store"):
            base.read(**changed)
    with pytest.raises(CorruptionError, match="another LSN") as caught:
        base.read(lsn=8)
    assert caught.value.lsn == 7


@pytest.mark.parametrize("field", ["length_bytes", "digest"])
def test_a_base_that_is_not_the_one_named_is_refused_at_its_end(base, field):
    base.write(SLOTS)
    with pytest.raises(CorruptionError, match="names another base"):
        base.read(**{field: getattr(base.facts, field) + 1})


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_base_must_hold_as_many_entries_as_were_counted(base, wrong_by):
    base.write(SLOTS)
    with pytest.raises(CorruptionError, match="entries where"):
        base.read(entry_count=4 + wrong_by)


def test_a_block_that_counts_wrong_is_found_at_the_end(base):
    base.write((compressed(SLOTS), 3))
    with pytest.raises(CorruptionError, match="4 entries where 3 belong"):
        base.read()


def test_a_base_without_its_footer_is_refused(base):
    base.write(SLOTS)
    file = base.storage.open(base.path)
    file.truncate(base.facts.length_bytes - 1)
    file.close()
    with pytest.raises(CorruptionError, match="ends inside a frame") as caught:
        base.read()
    assert caught.value.offset < base.facts.length_bytes
    file = base.storage.open(base.path)
    file.truncate(caught.value.offset)
    file.close()
    with pytest.raises(CorruptionError, match="no footer"):
        base.read()


BAD_BLOCKS = {
    "nothing": b"",
    "no zstd frame": b"garbage",
    "a frame cut short": compressed(SLOTS)[:-2],
    "a frame without its size": zstandard.ZstdCompressor(
        write_content_size=False
    ).compress(msgpack.packb({b"a": b"1"})),
    "an empty frame": zstandard.ZstdCompressor().compress(b""),
    "no msgpack": zstandard.ZstdCompressor().compress(b"\xc1"),
    "msgpack cut short": zstandard.ZstdCompressor().compress(b"\x81\xc4\x01a"),
    "more than one object": zstandard.ZstdCompressor().compress(b"\x80\x80"),
    "a list": compressed([b"a", b"1"]),
    "a key that is text": compressed({"a": b"1"}),
    "a key that is a number": compressed({1: b"1"}),
    "a value that is text": compressed({b"a": "1"}),
    "a value that is none": compressed({b"a": None}),
    "an expiry without a value": compressed({b"a": b"1", b"b": (5000,)}),
    "an expiry that is text": compressed({b"a": (b"1", "soon")}),
    "an expiry that is true": compressed({b"a": (b"1", True)}),
    "a value of three parts": compressed({b"a": (b"1", 5000, 0)}),
    "keys that repeat in a list": compressed({(b"a", b"b"): b"1"}),
}


@pytest.mark.parametrize("payload", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_block_that_verifies_and_holds_no_entries_is_damage(base, payload):
    with pytest.raises(ValueError, match=r".+"):
        decode_block(payload, zstandard.ZstdDecompressor().decompress)
    base.write(SLOTS, (payload, 1))
    with pytest.raises(CorruptionError, match="bad block") as caught:
        base.read()
    assert caught.value.offset is not None


def test_no_block_makes_anybody_allocate_what_it_merely_announces():
    # The header of a zstd frame: a single segment whose content is 2^60 bytes.
    announced = b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little") + b"\x00" * 8
    assert zstandard.frame_content_size(announced) > MAX_PAYLOAD_BYTES

    def decompress(_payload):
        pytest.fail("it was decompressed")

    with pytest.raises(ValueError, match="it would take"):
        decode_block(announced, decompress)
