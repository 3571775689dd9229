"""The EvictionPolicy interface; its docstrings are the contract.

A policy decides which key goes when there is no room. It knows keys, not values, and
counts nothing: how much room there is, and when something must go, is its owner's.

The owner calls everything but `access` under a lock, in the order in which writes take
effect. `access` comes from any thread at any time, without a lock: it must be cheap,
must not raise, and may be told of a key that has just gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class EvictionPolicy(ABC):
    """Choose what to evict."""

    @abstractmethod
    def access(self, key: bytes) -> None:
        """Note that a present key was read; called without a lock."""

    def fast_access(self) -> Callable[[bytes], None]:
        """Return what does the same as `access`, perhaps faster; asked for once."""
        return self.access

    @abstractmethod
    def set(
        self, key: bytes, *, new: bool, size_bytes: int, expires_at_ms: int
    ) -> None:
        """Note that a key was stored; `new` if it was absent before.

        `size_bytes` is what it takes in RAM with its value, `expires_at_ms` is 0 for
        never.
        """

    @abstractmethod
    def delete(self, key: bytes) -> None:
        """Note that a key that was present is gone, deleted or expired."""

    @abstractmethod
    def candidate(self) -> bytes | None:
        """Return the key to evict next, and count it as gone; None without any.

        An owner that cannot evict it after all calls `set` with it, as new.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget every key."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many keys are present, as far as it was told."""

    @abstractmethod
    def overhead_bytes(self) -> int:
        """Return the memory that its own bookkeeping takes, keys not counted."""
