"""A mapping over a cache, on every engine, does what a dict does, sorted by key."""

from collections.abc import MutableMapping

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hypercache import Cache
from hypercache.errors import ArgumentTypeError, ConfigError

keys = st.sampled_from(["a", "b", "ab", "\u00fc", "z" * 40])
values = st.integers() | st.text(max_size=5) | st.none()


class MappingModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.cache = Cache()
        self.mapping, self.model = self.cache.mapping(str), {}

    @rule(key=keys, value=values)
    def set(self, key, value):
        self.mapping[key] = self.model[key] = value

    @rule(key=keys)
    def delete(self, key):
        if key in self.model:
            del self.mapping[key], self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.mapping[key]

    @rule(key=keys, value=values)
    def setdefault(self, key, value):
        assert self.mapping.setdefault(key, value) == self.model.setdefault(key, value)

    @rule(key=keys, value=values)
    def pop(self, key, value):
        assert self.mapping.pop(key, value) == self.model.pop(key, value)

    @rule()
    def popitem(self):
        if self.model:
            key = max(self.model, key=str.encode)
            assert self.mapping.popitem() == (key, self.model.pop(key))
        else:
            with pytest.raises(KeyError):
                self.mapping.popitem()

    @rule(other=st.dictionaries(keys, values))
    def update(self, other):
        self.mapping |= other
        self.model |= other

    @invariant()
    def it_is_the_dict_in_order(self):
        ordered = sorted(self.model.items(), key=lambda item: item[0].encode())
        assert list(self.mapping.items()) == ordered
        assert (
            list(self.mapping) == list(self.mapping.keys()) == [k for k, _ in ordered]
        )
        assert list(reversed(self.mapping)) == [k for k, _ in ordered][::-1]
        assert list(self.mapping.values()) == [v for _, v in ordered]
        assert len(self.mapping) == len(self.model)
        assert self.mapping == self.model

    def teardown(self):
        self.cache.close()


MappingModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMappingModel = MappingModel.TestCase


def test_it_is_a_mapping_of_bytes_or_str_as_asked(cache):
    cache.set("a", 1)
    assert isinstance(cache.mapping(), MutableMapping)
    assert list(cache.mapping()) == list(cache.mapping("bytes")) == [b"a"]
    assert list(cache.mapping(str)) == list(cache.mapping("str")) == ["a"]
    with pytest.raises(ConfigError, match="str or bytes"):
        cache.mapping(int)


def test_either_kind_of_key_finds_an_entry(cache):
    mapping = cache.mapping()
    mapping["a"] = 1
    assert mapping[b"a"] == mapping["a"] == 1
    assert "a" in mapping
    assert b"a" in mapping
    assert 7 not in mapping
    assert mapping.get("absent", 5) == 5
    with pytest.raises(KeyError, match="absent"):
        mapping["absent"]


def test_update_takes_all_that_dict_takes_in_one_batch(cache):
    mapping = cache.mapping(str)
    before = cache.stats().appended_lsn
    mapping.update({"a": 1}, b=2)
    mapping.update([("c", 3), (b"c", 4)])
    mapping.update(e=5)
    assert dict(mapping) == {"a": 1, "b": 2, "c": 4, "e": 5}
    after = cache.stats().appended_lsn
    assert after in (0, before + 4)


def test_a_key_that_is_no_text_is_named_not_left_out(cache):
    cache.set(b"\xff", 1)
    with pytest.raises(ArgumentTypeError, match=r"mapping\(bytes\)"):
        list(cache.mapping(str))
    assert list(cache.mapping()) == [b"\xff"]


def test_its_repr_is_short_however_many_entries_there_are(cache):
    mapping = cache.mapping(str)
    mapping.update({f"key {number:03}": number for number in range(500)})
    assert repr(mapping).startswith("CacheMapping({'key 000': 0, 'key 001': 1")
    assert repr(mapping).endswith("...})")


def test_a_mapping_is_not_hashable(cache):
    with pytest.raises(TypeError):
        hash(cache.mapping())


def test_popitem_keeps_an_entry_whose_key_it_cannot_give(cache):
    cache.set(b"\xff", 1)
    with pytest.raises(ArgumentTypeError, match=r"mapping\(bytes\)"):
        cache.mapping(str).popitem()
    assert cache.get(b"\xff") == 1


def test_its_repr_shortens_values_and_never_raises():
    cache = Cache()
    mapping = cache.mapping(str)
    mapping["a"] = list(range(1000))
    cache.set(b"\xff", 1)
    assert repr(mapping) == (
        r"CacheMapping({'a': [0, 1, 2, 3, 4, 5, ...], '\\xff': 1})"
    )
    cache.close()
    assert repr(mapping) == "<CacheMapping: ClosedError>"
