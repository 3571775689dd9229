"""What type checkers must refuse; each line that one accepts fails the test."""

from __future__ import annotations

from hypercache import Cache

numbers: Cache[int] = Cache()


@numbers.memoize()
def area(width: int, height: int = 1) -> int:
    return width * height


numbers.set("a", "text")  # refused
numbers["a"] = None  # refused
numbers.set(7, 1)  # refused
numbers.get(7)  # refused
numbers.get_or_set("a", lambda: "text")  # refused
numbers.set_many({"a": "text"})  # refused
numbers.namespace("inner", max_item=1)  # refused
numbers.mapping(int)  # refused
numbers.mapping(str)[b"a"]  # refused
area("2")  # refused
area(1, depth=2)  # refused
area.invalidate("2")  # refused
Cache(max_item=1, on_evict=7)  # refused
text: str = numbers["a"]  # refused
