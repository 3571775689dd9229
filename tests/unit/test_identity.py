"""STORE says what a directory is; what says nothing sensible is no store of ours."""

import dataclasses

import pytest

from hypercache import metafile
from hypercache.aof import manifest as manifests
from hypercache.engines import identity
from hypercache.errors import ConfigError, CorruptionError, UnsupportedFormatError
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.storage import OsStorage
from hypercache.wal import checkpoint

FIELDS = {
    "engine": "memory",
    "uuid": "ab" * 16,
    "state": "ready",
    "serializer": None,
    "format": 1,
}


class Mounted(OsStorage):
    """Everything lies on this file system."""

    def __init__(self, kind):
        self.kind = kind

    def mount_type(self, path):
        return self.kind


@pytest.fixture
def paths(tmp_path):
    return StorePaths(str(tmp_path))


def write(paths, path=None, **changes):
    metafile.write(OsStorage(), path or paths.store, {**FIELDS, **changes})


def load_ready(paths, engine="memory", **options):
    return identity.load_ready(OsStorage(), paths, Options.resolve(**options), engine)


def test_a_store_is_what_it_was_created_as(paths):
    write(paths)
    found = load_ready(paths)
    assert (found.engine, found.uuid_bytes) == ("memory", b"\xab" * 16)
    assert found == identity.load_identity(OsStorage(), paths)


def test_no_store_and_an_interrupted_creation_are_none(paths):
    assert load_ready(paths) is None
    write(paths, state="creating")
    assert load_ready(paths) is None


def test_a_state_that_nobody_writes_is_damage(paths):
    write(paths, state="half")
    with pytest.raises(CorruptionError, match="its state is 'half'"):
        load_ready(paths)


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"format": 1, "shape": 2}])
def test_fields_that_nobody_writes_are_damage(paths, changes):
    write(paths, **changes)
    with pytest.raises(CorruptionError, match="unexpected fields"):
        load_ready(paths)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": 7},
        {"state": None},
        {"serializer": 5},
        {"uuid": 7},
        {"uuid": "ab" * 15},
        {"uuid": "AB" * 16},
        {"uuid": "xy" * 16},
    ],
)
def test_fields_that_make_no_sense_are_damage(paths, changes):
    write(paths, **changes)
    with pytest.raises(CorruptionError, match="make no sense"):
        load_ready(paths)


def test_fields_that_are_missing_are_damage(paths):
    metafile.write(OsStorage(), paths.store, {"format": 1, "engine": "memory"})
    with pytest.raises(CorruptionError, match="unexpected fields"):
        load_ready(paths)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_told_as_one(paths, version):
    write(paths, format=version)
    with pytest.raises(UnsupportedFormatError):
        load_ready(paths)


def test_another_engine_or_serializer_is_named(paths):
    write(paths, serializer="json")
    with pytest.raises(ConfigError, match="engine='memory'"):
        load_ready(paths, "hybrid")
    with pytest.raises(ConfigError, match="serializer='json'"):
        load_ready(paths, serializer="msgpack")
    assert load_ready(paths, serializer="json").serializer == "json"


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_a_network_file_system_is_refused_unless_allowed(paths, kind):
    storage = Mounted(kind)
    with pytest.raises(ConfigError, match=rf"network file system \({kind}\)"):
        identity.claim_directory(storage, paths, Options.resolve())
    assert storage.list(paths.root) == []
    options = Options.resolve(allow_network_fs=True)
    identity.claim_directory(storage, paths, options).release()


def test_a_new_store_begins_with_empty_directories(paths):
    storage = OsStorage()
    storage.make_directory(paths.aof)
    storage.replace(f"{paths.aof}/left", b"by a crash")
    identity.make_empty(storage, paths.aof)
    assert storage.list(paths.aof) == []


def test_a_store_is_ready_only_when_its_files_are_made(paths):
    storage, states = OsStorage(), []

    def create(_uuid):
        states.append(identity.load_identity(storage, paths).state)

    made = identity.load_or_create(storage, paths, Options.resolve(), "memory", create)
    assert states == ["creating"]
    assert load_ready(paths) == made

    def refuse():
        raise AssertionError("it was created again")

    again = identity.load_or_create(storage, paths, Options.resolve(), "memory", refuse)
    assert again == made


def test_a_creation_that_failed_starts_over_under_another_name(paths):
    storage, uuids = OsStorage(), []

    def fail(_uuid):
        uuids.append(identity.load_identity(storage, paths).uuid)
        raise OSError("no files today")

    for _ in range(2):
        with pytest.raises(OSError, match="no files today"):
            identity.load_or_create(storage, paths, Options.resolve(), "memory", fail)
    assert len(set(uuids)) == 2
    assert load_ready(paths) is None


# The files that name the parts of a log


def marker_fields(**changes):
    return {**dataclasses.asdict(checkpoint.Marker()), **changes}


def load_marker(paths, fields):
    metafile.write(OsStorage(), paths.checkpoint, fields)
    return checkpoint.load(OsStorage(), paths)


def test_a_marker_has_its_fields_and_no_others(paths):
    assert load_marker(paths, marker_fields()) == checkpoint.Marker()
    with pytest.raises(CorruptionError, match="it has the fields"):
        load_marker(paths, marker_fields(colour="red"))
    fields = marker_fields()
    del fields["clean"]
    with pytest.raises(CorruptionError, match="it has the fields"):
        load_marker(paths, fields)


def test_a_marker_names_no_segments_beyond_the_last(paths):
    assert load_marker(paths, marker_fields(first_segment=8, active_segment=7))
    with pytest.raises(CorruptionError, match="contradict"):
        load_marker(paths, marker_fields(first_segment=9, active_segment=7))


def test_without_its_marker_a_store_is_damaged(paths):
    with pytest.raises(CorruptionError, match="marker is missing"):
        checkpoint.load(OsStorage(), paths)


MANIFEST = {
    "base": None,
    "first_segment": 1,
    "active_segment": 0,
    "next_lsn": 1,
    "clean": False,
}
BASE = {"number": 1, "lsn": 2, "entry_count": 3, "length_bytes": 4, "digest": 5}


def load_manifest(paths, **changes):
    storage = OsStorage()
    storage.make_directory(paths.aof)
    metafile.write(storage, paths.manifest, {**MANIFEST, **changes})
    return manifests.load(storage, paths)


def test_a_manifest_has_its_fields_and_no_others(paths):
    assert load_manifest(paths) == manifests.Manifest()
    found = load_manifest(paths, base=BASE)
    assert found.base == manifests.BaseFacts(1, 2, 3, 4, 5)
    assert found.next_base == 2
    for changes in (
        {"colour": "red"},
        {"base": {**BASE, "colour": "red"}},
        {"base": {"number": 1}},
        {"base": 7},
    ):
        with pytest.raises(CorruptionError, match="unexpected fields"):
            load_manifest(paths, **changes)
    metafile.write(OsStorage(), paths.manifest, {"first_segment": 1})
    with pytest.raises(CorruptionError, match="unexpected fields"):
        manifests.load(OsStorage(), paths)


def test_a_manifest_names_no_increments_beyond_the_last(paths):
    assert load_manifest(paths, first_segment=8, active_segment=7)
    with pytest.raises(CorruptionError, match="contradict"):
        load_manifest(paths, first_segment=9, active_segment=7)


def test_without_its_manifest_a_store_is_damaged(paths):
    with pytest.raises(CorruptionError, match="manifest is missing"):
        manifests.load(OsStorage(), paths)
