"""What an advice says, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WORTH = 0.01  # of all reads: a smaller change is not worth a word


@dataclass(frozen=True, slots=True)
class Estimate:
    """The hit ratio with one policy at one size, `factor` times the present one."""

    policy: str
    factor: float
    max_items: int | None
    max_bytes: int | None
    hit_ratio: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What hit ratios would have been, in the second half of the last window.

    Attributes:
        policy: the present one.
        hit_ratio: what was measured, over all reads of that time.
        read_count: how many these were.
        reference_count: how many references were sampled, in the whole window.
        sample_rate: the share of all keys that were.
        estimates: a row for each policy and size, none if too little is known.
        reason: why there are none, or what else is to be known.
    """

    policy: str
    hit_ratio: float
    read_count: int
    reference_count: int
    sample_rate: float
    estimates: tuple[Estimate, ...] = ()
    reason: str = ""

    @property
    def best(self) -> Estimate | None:
        """Return the policy that does best in the present room; None if unknown."""
        # Of equals the present one.
        return max(
            (row for row in self.estimates if row.factor == 1),
            key=lambda row: (row.hit_ratio, row.policy == self.policy),
            default=None,
        )

    @property
    def conclusion(self) -> str:
        """Return what to do, in a sentence."""
        parts = [self.reason, *self._about_room(), *self._about_policies()]
        found = "; ".join(filter(None, parts))
        return found or "keep size and policy: no other is a point better"

    def __str__(self) -> str:
        """Return a table, a line for each policy, and the conclusion."""
        head = (
            f"hit ratio {self.hit_ratio:.1%} with {self.policy} in {self.read_count} "
            f"reads ({self.reference_count} references to 1/"
            f"{round(1 / self.sample_rate)} of the keys)"
        )
        return "\n".join([head, *_table(self.estimates), self.conclusion])

    def _about_room(self) -> Iterator[str]:
        rows = {row.factor: row.hit_ratio for row in self._of(self.policy)}
        if not rows:
            return
        if rows[2] - rows[1] >= _WORTH:
            yield f"twice the room gives {rows[2]:.1%} instead of {rows[1]:.1%}"
        elif rows[4] - rows[1] >= _WORTH:
            yield f"four times the room gives {rows[4]:.1%} instead of {rows[1]:.1%}"
        elif rows[1] - rows[0.5] < _WORTH:
            yield f"half the room would do: {rows[0.5]:.1%} instead of {rows[1]:.1%}"

    def _about_policies(self) -> Iterator[str]:
        now = next((row for row in self._of(self.policy) if row.factor == 1), None)
        before = now.hit_ratio if now else self.hit_ratio
        if self.best is not None and self.best.hit_ratio - before >= _WORTH:
            name, ratio = self.best.policy, self.best.hit_ratio
            yield f'eviction="{name}" gives {ratio:.1%} instead of {before:.1%}'

    def _of(self, policy: str) -> list[Estimate]:
        return [row for row in self.estimates if row.policy == policy]


def _table(rows: Sequence[Estimate]) -> Iterator[str]:
    if not rows:
        return
    factors = sorted({row.factor for row in rows})
    yield "size".ljust(8) + "".join(f"{factor:>8g}x" for factor in factors)
    for policy in dict.fromkeys(row.policy for row in rows):
        ratios = {row.factor: row.hit_ratio for row in rows if row.policy == policy}
        cells = "".join(f"{ratios[factor]:>9.1%}" for factor in factors)
        yield policy.ljust(8) + cells
