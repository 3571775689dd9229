"""Functions whose results are kept."""

import asyncio
import datetime
import decimal
import enum
import functools
import inspect
import pathlib
import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hypercache
from hypercache.call_keys import CallKeys
from hypercache.errors import ArgumentTypeError, ConfigError
from tests.support.processes import run_python


@pytest.fixture
def cache():
    with hypercache.Cache() as cache:
        yield cache


@pytest.fixture
def calls():
    return []


@pytest.fixture
def add(cache, calls):
    @cache.memoize()
    def add(left, right=1, *more, scale=1, **named):
        """Add."""
        calls.append((left, right))
        return (left + right + sum(more) + sum(named.values())) * scale

    return add


def test_a_call_is_made_once_and_its_result_kept(add, calls):
    assert [add(1, 2), add(1, 2), add(2, 2)] == [3, 3, 4]
    assert calls == [(1, 2), (2, 2)]


def test_calls_are_told_apart_as_the_function_sees_them(add, calls):
    same = [
        add(1),
        add(1, 1),
        add(left=1, right=1),
        add(1, scale=1),
        add(right=1, left=1),
    ]
    assert same == [2] * 5
    assert len(calls) == 1
    assert add.key(1) == add.key(right=1, left=1)
    assert add.key(1, x=1, y=2) == add.key(1, y=2, x=1) != add.key(1, x=2, y=1)


def test_a_wrong_call_is_the_error_of_the_function(add):
    with pytest.raises(TypeError, match="missing a required argument: 'left'"):
        add()


def test_the_key_can_be_read_and_looked_up(cache, add):
    add(1, scale=2)
    key = add.key(1, scale=2)
    assert key.endswith(b"add(left=1, right=1, scale=2)")
    assert key.startswith(b"tests.unit.test_memoize.")
    assert cache[key] == 4


def test_a_decorated_function_keeps_its_face(add):
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert add.__wrapped__(1, 2) == 3
    assert list(inspect.signature(add).parameters) == [
        "left", "right", "more", "scale", "named",
    ]  # fmt: skip


def test_one_call_or_all_can_be_forgotten(add, calls):
    add(1)
    add(2)
    assert add.invalidate(1)
    assert not add.invalidate(1)
    assert not add.invalidate(3)
    add(1)
    add(2)
    assert calls == [(1, 1), (2, 1), (1, 1)]
    add.invalidate_all()
    add(1)
    add(2)
    assert calls[3:] == [(1, 1), (2, 1)]


def test_forgetting_one_function_leaves_the_others(cache, add, calls):
    @cache.memoize()
    def other(number):
        calls.append("other")
        return number

    other(1)
    add(1)
    add.invalidate_all()
    other(1)
    assert calls == ["other", (1, 1)]


def test_ignored_arguments_make_no_difference(cache, calls):
    @cache.memoize(ignore=("connection",))
    def load(connection, number):
        calls.append(number)
        return number

    assert [load(object(), 1), load(object(), 1), load(None, number=1)] == [1, 1, 1]
    assert calls == [1]


def test_a_key_of_ones_own_tells_calls_apart(cache, calls):
    @cache.memoize(name="user", key=lambda user: str(user["id"]))
    def load(user):
        calls.append(user["id"])
        return user["id"]

    assert load({"id": 7, "x": object()}) == load({"id": 7}) == 7
    assert load.key({"id": 7}) == b"user:7"
    assert calls == [7]


def test_tags_of_the_function_and_of_the_call(cache, calls):
    @cache.memoize(tags=lambda number: (f"number:{number}",))
    def load(number):
        calls.append(number)
        return number

    load(1)
    load(2)
    cache.invalidate("number:1")
    load(1)
    load(2)
    assert calls == [1, 2, 1]

    @cache.memoize(tags=("all",), name="other")
    def other(number):
        calls.append("other")
        return number

    other(1)
    cache.invalidate("all")
    other(1)
    assert calls[3:] == ["other", "other"]


def test_a_method_works_with_self_left_out_and_says_so_otherwise(cache):
    class Store:
        def __init__(self, calls):
            self.calls = calls

        @cache.memoize(ignore=("self",))
        def price(self, item, *, count=1):
            self.calls.append(item)
            return len(item) * count

        @cache.memoize()
        def total(self):
            return 1

        @classmethod
        @cache.memoize()
        def made(cls, name):
            return [cls.__name__, name]

        @staticmethod
        @cache.memoize()
        def fixed(number):
            return number

    store = Store([])
    assert store.price("abc") == Store([]).price("abc") == 3
    assert store.price("abc", count=2) == 6
    assert store.calls == ["abc", "abc"]
    assert store.price.key("abc").endswith(b"price(item='abc', count=1)")
    assert store.price.invalidate("abc")
    assert store.price("abc") == 3
    assert store.calls == ["abc"] * 3
    assert Store.price.invalidate_all() == 0
    with pytest.raises(ArgumentTypeError, match=r"'self'.*ignore=\('self',\)"):
        store.total()
    assert Store.made("x") == store.made("x") == ["Store", "x"]
    assert Store.fixed(3) == store.fixed(3) == 3


def test_an_async_function_stays_one(cache, calls):
    @cache.memoize()
    async def double(number):
        calls.append(number)
        await asyncio.sleep(0)
        return number * 2

    async def main():
        return [
            await double(2),
            await double(2),
            await asyncio.gather(double(3), double(3)),
        ]

    assert asyncio.iscoroutinefunction(double)
    assert asyncio.run(main()) == [4, 4, [6, 6]]
    assert calls == [2, 3]


def test_an_async_method_is_awaited(cache):
    class Client:
        @cache.memoize(ignore=("self",))
        async def get(self, number):
            return number

    assert asyncio.run(Client().get(5)) == 5


def test_a_ttl_and_stale_values_are_those_of_get_or_set(cache, calls):
    @cache.memoize(0.001, stale_if_error=100)
    def load():
        calls.append(1)
        if len(calls) > 1:
            raise OSError
        return "value"

    assert load() == "value"
    while load.key() in cache:
        pass
    assert load() == "value"
    assert len(calls) > 1


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_is_refused(cache, function):
    with pytest.raises(ConfigError, match="return a list"):
        cache.memoize()(function)


@pytest.mark.parametrize("function", [lambda: 1, functools.partial(print, 1)])
def test_what_has_no_name_needs_one(cache, function):
    with pytest.raises(ConfigError, match="name="):
        cache.memoize()(function)
    assert cache.memoize(name="one")(lambda: 1)() == 1


def test_a_parameter_that_is_not_there_cannot_be_ignored(cache):
    with pytest.raises(ConfigError, match=r"ignore='z'.*only value"):
        cache.memoize(ignore=("z",))(one)


class Color(enum.Enum):
    RED = 1
    ROT = 1  # noqa: PIE796
    BLUE = 2


class Word(enum.StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: object = 0
    note: str = field(default="", compare=False)


DIFFERENT = [
    1, 1.0, True, "1", b"1", None, ..., [1], (1,), {1}, frozenset({1}), {1: 1},
    {"1": 1}, (), [], {}, set(), frozenset(), "", b"", ((1,),), (1, 1), ("1, 1",),
    (("1", "1"),),
    Color.RED, Color.BLUE, Word.RED, "red", int, float, Point(1),
    Point(1, 2), Point(1, (2,)),
    decimal.Decimal(1), decimal.Decimal("1.0"), uuid.UUID(int=1), -0.0, 0.0, 1j,
    datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    pathlib.PurePosixPath("a"), "a", float("nan"), float("inf"), range(1), "x" * 500,
    "x" * 501, ["x" * 500],
]  # fmt: skip


def one(value):
    return value


def test_values_that_differ_have_keys_that_differ():
    keys = CallKeys(one, "one", ())
    made = [keys.key((value,), {}) for value in DIFFERENT]
    assert len(set(made)) == len(DIFFERENT)
    assert max(map(len, made)) < 300


def test_what_is_equal_has_the_same_key():
    keys = CallKeys(one, "one", ())
    for left, right in [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (Color.RED, Color.ROT),
        (Point(1, note="x"), Point(1, note="y")),
    ]:
        assert keys.key((left,), {}) == keys.key((right,), {})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner)
    | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(left=plain, right=plain)
def test_the_same_key_means_the_same_value(left, right):
    keys = CallKeys(one, "one", ())
    if keys.key((left,), {}) == keys.key((right,), {}):
        assert repr(left) == repr(right) or left == right


@given(left=st.lists(plain, max_size=3), right=st.lists(plain, max_size=3))
def test_the_same_key_means_the_same_arguments(left, right):
    def many(*values):
        return values

    keys = CallKeys(many, "many", ())
    if keys.key(tuple(left), {}) == keys.key(tuple(right), {}):
        assert repr(left) == repr(right) or left == right


@pytest.mark.parametrize("value", [object(), [object()], {"a": object()}, one, len])
def test_a_value_without_an_identity_of_its_own_is_refused_by_name(cache, value):
    with pytest.raises(ArgumentTypeError, match=r"argument 'value' of .*one.*ignore="):
        cache.memoize()(one)(value)


def test_a_value_that_contains_itself_is_refused(cache):
    endless = []
    endless.append(endless)
    with pytest.raises(ArgumentTypeError, match="contains itself"):
        cache.memoize()(one)(endless)


def test_keys_are_the_same_in_every_process():
    code = """
        from hypercache.call_keys import CallKeys
        def one(value): ...
        print(CallKeys(one, "one", ()).key(({"b", "a", "c"},), {}))
    """
    made = {run_python(code) for _ in range(3)}
    assert made == {"one(value=set('a', 'b', 'c'))\n"}
