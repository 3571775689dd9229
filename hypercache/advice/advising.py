"""Say what hit ratio a cache would have with more or less room, or another policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypercache.advice.answer import Advice, Estimate
from hypercache.advice.miniature import play
from hypercache.advice.sample import ReferenceSample
from hypercache.advice.script import Script, script
from hypercache.eviction import EvictionPolicy, find_policy

FACTORS = (0.5, 1.0, 2.0, 4.0)
POLICIES = ("s3fifo", "lru", "lfu", "fifo", "sieve")
LEAST_READS = 1000  # sampled: with fewer there is no answer
_DOUBTED_MISSES = 64  # so many in the sample tell no more than its rate does


class Present(NamedTuple):
    """What a cache is now.

    Attributes:
        policy: the name of its eviction policy.
        max_items, max_bytes: its limits, None where there is none.
        item_count: how many entries it holds.
        payload_bytes: what they take, as `ReferenceSample.stored` is told.
        metadata_bytes: what else is charged for them.
    """

    policy: str
    max_items: int | None
    max_bytes: int | None
    item_count: int
    payload_bytes: int = 0
    metadata_bytes: int = 0


def advise(sample: ReferenceSample, present: Present) -> Advice:
    """Play what was sampled through miniature caches; takes about a second.

    The answer is about the second half of the last window, which the first half warms
    up; without a limit, about one for as many entries as there are now.

    The error is a point or two. It may be more where the real policy lives on what it
    saw before the window (LFU; four times the room), or in a loop (S3-FIFO).
    """
    window = sample.window()
    rate = 1 / (window.mask + 1)
    middle, end = window.middle().totals, window.marks[-1].totals
    reads, misses = end.reads - middle.reads, end.misses - middle.misses
    count = max(1, present.item_count)
    each_bytes = present.metadata_bytes / count
    played = script(window, each_bytes, present.payload_bytes / count)
    known = sum(step.is_read for step in played.counted)
    estimates: tuple[Estimate, ...] = ()
    if reads > 0 and present.item_count and known >= LEAST_READS:
        # A few keys are asked for so often that a sample has far too many references
        # to them, or too few. These hit anyway. So misses are what is counted, and each
        # stands for as many as one that was really seen in the sample does.
        weight = (misses + _DOUBTED_MISSES / rate) / (
            played.missed_count + _DOUBTED_MISSES
        )
        estimates = tuple(_estimates(played, _limited(present), rate, weight / reads))
    return Advice(
        policy=present.policy,
        hit_ratio=1 - misses / reads if reads > 0 else 0.0,
        read_count=reads,
        reference_count=played.reference_count,
        sample_rate=rate,
        estimates=estimates,
        reason=_reason(present, known),
    )


def _estimates(
    played: Script, present: Present, rate: float, weight: float
) -> Iterator[Estimate]:
    """Yield the rows; `weight` is the share of all reads that a miss stands for."""
    for policy in POLICIES:
        for factor in FACTORS:
            limits = _scaled(present, factor)
            small = (
                None if each is None else max(1, round(each * rate)) for each in limits
            )
            misses = play(played, _fresh(policy), *small)
            ratio = min(1.0, max(0.0, 1 - misses * weight))
            yield Estimate(policy, factor, *limits, ratio)


def _fresh(name: str) -> EvictionPolicy:
    policy = find_policy(name, lambda: 0.0)
    assert policy is not None
    return policy


def _scaled(present: Present, factor: float) -> tuple[int | None, int | None]:
    limits = present.max_items, present.max_bytes
    items, size = (None if each is None else int(each * factor) for each in limits)
    return items, size


def _limited(present: Present) -> Present:
    if present.max_items is None and present.max_bytes is None:
        return present._replace(max_items=present.item_count)
    return present


def _reason(present: Present, known: int) -> str:
    if not present.item_count:
        return "the cache is empty: there is nothing to go by"
    if known < LEAST_READS:
        return (
            f"{known} sampled reads are too few to go by, {LEAST_READS} are enough; "
            "they are recorded from now on: ask again later"
        )
    if present.max_items is None and present.max_bytes is None:
        return f"there is no limit; 1x stands for the {present.item_count} entries now"
    return ""
