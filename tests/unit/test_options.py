"""Options are checked once, by name, and never guessed."""

import dataclasses

import pytest

from hypercache.errors import ConfigError
from hypercache.options import (
    KIB,
    MIB,
    LogIO,
    Maintenance,
    Options,
    SyncPolicy,
    Verify,
)

LOWEST = {
    "segment_bytes": 4 * KIB,
    "checkpoint_bytes": 4 * KIB,
    "memory_bytes": 0,
    "map_bytes": 64 * KIB,
    "fold_batch": 1,
}
CHOICES = {
    "sync": SyncPolicy,
    "log_io": LogIO,
    "verify": Verify,
    "maintenance": Maintenance,
}


def test_the_defaults_are_those_of_the_class():
    assert Options.resolve() == Options()


def test_none_means_the_default_where_it_is_allowed():
    assert Options.resolve(sync=None, memory_bytes=None) == Options()


def test_the_default_policy_loses_at_most_a_second():
    assert Options.resolve().sync is SyncPolicy.EVERYSEC


def test_the_default_policy_of_the_persistent_engine_is_always():
    assert Options.resolve(engine="persistent").sync is SyncPolicy.ALWAYS
    assert Options.resolve(engine="hybrid") == Options()


@pytest.mark.parametrize(("name", "kind"), CHOICES.items())
def test_every_word_of_a_choice_is_taken(name, kind):
    for member in kind:
        resolved = Options.resolve(**{name: member.value})
        assert getattr(resolved, name) is member


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize(
    "value", ["ALWAYS", "Auto", " no", "fsync", "0", 1, 1.5, b"no"]
)
def test_an_unknown_word_is_refused_with_all_that_are_allowed(name, value):
    with pytest.raises(ConfigError) as caught:
        Options.resolve(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r} is unknown")
    assert all(repr(member.value) in message for member in CHOICES[name])


@pytest.mark.parametrize("value", ["", False, 0])
def test_a_policy_that_is_merely_empty_is_not_taken_for_the_default(value):
    with pytest.raises(ConfigError, match="sync="):
        Options.resolve(sync=value)


@pytest.mark.parametrize(("name", "lowest"), LOWEST.items())
def test_the_lowest_number_is_taken_and_one_less_refused(name, lowest):
    assert getattr(Options.resolve(**{name: lowest}), name) == lowest
    with pytest.raises(ConfigError, match=f"{name}={lowest - 1} must be .* {lowest}"):
        Options.resolve(**{name: lowest - 1})


@pytest.mark.parametrize("name", LOWEST)
@pytest.mark.parametrize("value", [1e6, "65536", True, float("nan"), [1]])
def test_what_is_no_int_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"{name}=.* must be an int"):
        Options.resolve(**{name: value})


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError):
        Options.resolve(segment=1)


def test_options_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().sync = SyncPolicy.NO


def test_every_field_can_be_set_through_resolve():
    given = {
        "sync": "always",
        "log_io": "write",
        "verify": "full",
        "maintenance": "inline",
        "segment_bytes": MIB,
        "checkpoint_bytes": MIB,
        "memory_bytes": 1,
        "map_bytes": MIB,
        "fold_batch": 1,
        "compact_min_bytes": MIB,
        "read_only": True,
        "allow_network_fs": True,
        "allow_unsafe_sync": True,
        "serializer": "json",
        "max_items": 1,
        "max_bytes": 1,
        "eviction": "lru",
    }
    resolved = Options.resolve(**given)
    follows_from_memory_bytes = {"gives_pages_back"}
    names = {field.name for field in dataclasses.fields(Options)}
    assert names == set(given) | follows_from_memory_bytes
    assert resolved.gives_pages_back
    for name, value in given.items():
        assert getattr(resolved, name) == value
        assert getattr(resolved, name) != getattr(Options(), name)
