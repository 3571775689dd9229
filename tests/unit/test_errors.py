"""The tree in the documentation is the tree in the code; messages help."""

import inspect
import re

import pytest

from hypercache import errors
from hypercache.errors import (
    CorruptionError,
    HyperCacheError,
    StorageError,
    StoreLockedError,
    UnsupportedFormatError,
)

LINE = re.compile(r"^( *)(\w+Error)(?: \((\w+)\))?(?: {2,}\S.*)?$")


def documented():
    """Yield name, base and further base as the docstring of the module draws them."""
    above = []
    for line in errors.__doc__.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        depth, name, other = len(match[1]) // 4, match[2], match[3]
        del above[depth:]
        yield name, above[-1] if above else "Exception", other
        above.append(name)


def classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    real = {
        (name, base.__name__, *(other.__name__ for other in others))
        for name, kind in classes().items()
        for base, *others in [kind.__bases__]
    }
    drawn = {tuple(filter(None, line)) for line in documented()}
    assert drawn == real


def test_everything_is_below_one_root():
    assert all(issubclass(kind, HyperCacheError) for kind in classes().values())
    assert issubclass(HyperCacheError, Exception)


def test_every_class_has_a_sentence_of_its_own():
    docs = [kind.__dict__.get("__doc__") for kind in classes().values()]
    assert all(docs)
    assert len(set(docs)) == len(docs)


def test_no_public_name_but_the_classes():
    # pytest adds names with an @ where it rewrites asserts.
    public = {name for name in vars(errors) if name[0] not in "_@"}
    assert public - {"annotations"} == set(classes())


def test_corruption_says_what_where_and_what_next():
    error = CorruptionError("/s/wal/1.wal", "bad", offset=64, lsn=7, key=b"k")
    text = str(error)
    assert text.startswith("/s/wal/1.wal, offset 64, LSN 7, key b'k': bad; ")
    assert "nothing was changed" in text
    assert "`hypercache check`" in text
    fields = (error.path, error.reason, error.offset, error.lsn, error.key)
    assert fields == ("/s/wal/1.wal", "bad", 64, 7, b"k")


def test_corruption_leaves_out_what_is_not_known():
    error = CorruptionError("/s", "bad")
    assert str(error).startswith("/s: bad; ")
    assert (error.offset, error.lsn, error.key) == (None, None, None)


def test_offset_and_lsn_zero_are_known():
    assert str(CorruptionError("/s", "bad", offset=0, lsn=0)).startswith(
        "/s, offset 0, LSN 0: bad; "
    )


@pytest.mark.parametrize(
    ("pid", "holder"), [(42, "process 42"), (None, "another process")]
)
def test_a_locked_store_names_its_holder_and_the_way_out(pid, holder):
    error = StoreLockedError("/s", pid)
    assert str(error).startswith(f"/s is open in {holder}; close it there")
    assert (error.path, error.pid) == ("/s", pid)
    assert isinstance(error, StorageError)


def test_another_format_names_both_versions_and_the_way_out():
    error = UnsupportedFormatError("/s/STORE", 9, "1")
    assert "/s/STORE: format 9 is not supported (this version reads 1)" in str(error)
    assert "open it with the version that wrote it" in str(error)
    assert (error.path, error.found, error.supported) == ("/s/STORE", 9, "1")
