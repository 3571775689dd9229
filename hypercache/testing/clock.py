"""A clock that moves only when a test says so."""

from __future__ import annotations

START_MS = 1_700_000_000_000


class FakeClock:
    """Implement hypercache.storage.Clock; `advance` is time, `jump` a changed wall."""

    def __init__(self, wall_ms: int = START_MS) -> None:
        self._wall_ms = wall_ms
        self._monotonic = 1000.0

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        return self._wall_ms

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Set the wall clock to another time, as an administrator does."""
        self._wall_ms += round(seconds * 1000)
