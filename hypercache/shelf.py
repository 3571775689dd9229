"""Where one value is looked up, made and stored: what `making` needs of a cache."""

from __future__ import annotations

from typing import Any

from hypercache import arguments, leases
from hypercache.attributes import Attributed, Attributes, Record
from hypercache.engines.base import Entry, Put
from hypercache.entries import Entries
from hypercache.leases import Lease
from hypercache.making import Found
from hypercache.recipe import Recipe, is_due
from hypercache.single_flight import Flight, Flights

_ABSENT = Found()


class EntryShelf:
    """Find and keep the value of one key, as a recipe says; for one call."""

    def __init__(
        self, entries: Entries, flights: Flights, key: bytes, recipe: Recipe
    ) -> None:
        self._entries, self._flights = entries, flights
        self._key, self._recipe = key, recipe
        self._lease: Lease | None = None
        self._tags: tuple[tuple[bytes, bytes], ...] = ()

    def find(self) -> Found:
        """Look the value up."""
        entries = self._entries
        entry = entries._engine.get_entry(self._key)
        if entry is None:
            return _ABSENT
        front = entries._codec.split(entry.value)
        if isinstance(front, Record):
            return _ABSENT
        front = front or Attributed(Attributes(), entry.value)
        if not entries._is_valid(front.attributes):
            return _ABSENT
        age = self._age(front.attributes, entry)
        if age == _ABSENT.age:
            return _ABSENT
        value = entries._decode(self._key, front.stored)
        return Found(value, front.stored, age)

    def _age(self, attributes: Attributes, entry: Entry) -> str:
        recipe, now_ms = self._recipe, self.now_ms()
        ends_at_ms = attributes.fresh_until_ms or entry.expires_at_ms
        if ends_at_ms and ends_at_ms <= now_ms:
            if now_ms < ends_at_ms + recipe.stale_ms:
                return "stale"
            is_late = now_ms < ends_at_ms + recipe.stale_if_error_ms
            return "late" if is_late else "absent"
        due = is_due(now_ms, ends_at_ms, attributes.made_in_ms, recipe.early)
        return "due" if due else "fresh"

    def join(self) -> tuple[Flight, bool]:
        """Return the flight for it, and whether the caller leads.

        Inside a transaction always: the leader could not write before its end.
        """
        if self._entries._in_transaction():
            return Flight(self._key), True
        return self._flights.join(self._key)

    def land(self, flight: Flight) -> None:
        """End it."""
        self._flights.land(flight)

    def prepare(self) -> bool:
        """Get ready to store; tell whether another process makes the value now."""
        entries = self._entries
        if entries._whole.has_other_writers and not entries._in_transaction():
            self._lease = leases.maybe_acquire(
                entries._engine, self._key, self._recipe.lease_ms, entries._codec.form
            )
            if self._lease is None:
                return True
        # Noted before the value is made: invalidated meanwhile, it is from the start.
        self._tags = entries._begun(self._recipe.tags)
        return False

    def store(self, flight: Flight, value: Any, made_in_ms: float) -> Any:
        """Store a value and return its stored form.

        It is not stored if it was deleted or invalidated while it was made, or if the
        lease was lost.
        """
        entries, put = self._entries, self._put(value, made_in_ms)
        front = entries._codec.split(put.value)
        stored = front.stored if isinstance(front, Attributed) else put.value
        ops = [*entries._marker(), put] if stored is not put.value else [put]
        if self._lease is not None:
            lease, self._lease = self._lease, None
            leases.store(entries._engine, lease, ops, lambda: flight.wanted)
            return stored
        with entries._engine.exclusive():
            if flight.wanted:
                entries._engine.apply(ops)
        return stored

    def _put(self, value: Any, made_in_ms: float) -> Put:
        recipe, entries = self._recipe, self._entries
        fresh_until_ms = entries._expires_at_ms(recipe.ttl)
        kept_ms = recipe.kept_ms if fresh_until_ms else 0
        attributes = Attributes(
            self._tags,
            fresh_until_ms if kept_ms else 0,
            int(made_in_ms) if recipe.early else 0,
        )
        data = entries._stored(value, attributes)
        expires_at_ms = min(fresh_until_ms + kept_ms, arguments.MAX_TTL_MS)
        return Put(self._key, data, int(expires_at_ms))

    def give_up(self) -> None:
        """Let others make it: this caller failed."""
        lease, self._lease = self._lease, None
        if lease is not None:
            leases.release(self._entries._engine, lease)

    def load(self, stored: Any) -> Any:
        """Return the value of a stored form, a copy of the caller's own."""
        return self._entries._decode(self._key, stored)

    def now_ms(self) -> float:
        """Return the time."""
        return self._entries._engine.now_ms()
