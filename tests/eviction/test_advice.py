"""An advice says what it is about, what to do, and why there is nothing to say."""

import gc
import weakref

import pytest

from hypercache.advice import (
    Advice,
    Estimate,
    Present,
    ReferenceSample,
    Source,
    Totals,
    advise,
)
from hypercache.advice import sample as sampling
from hypercache.advice.sample import MARKS, RESTS
from tests.support.advised import Advised, zipf

READS = zipf(6_000, 1_500)


def asked(eviction="s3fifo", keys=READS, size_bytes=1, **limits):
    advised = Advised(eviction, **limits)
    for key in keys:
        advised.get(key, size_bytes)
    return advised


def ratios(advice, policy):
    return {
        row.factor: row.hit_ratio for row in advice.estimates if row.policy == policy
    }


def advice_of(now, half, twice, other=0.0):
    rows = [("lru", 0.5, half), ("lru", 1.0, now), ("lru", 2.0, twice)]
    rows += [("lru", 4.0, twice), ("sieve", 1.0, other)]
    estimates = tuple(Estimate(*row[:2], 10, None, row[2]) for row in rows)
    return Advice("lru", now, 1000, 900, 0.25, estimates)


def test_there_is_a_row_for_each_policy_and_size():
    advice = asked(max_items=150).advise()
    rows = {(row.policy, row.factor): row.max_items for row in advice.estimates}
    factors = {0.5: 75, 1.0: 150, 2.0: 300, 4.0: 600}
    assert rows == {
        (policy, factor): factors[factor]
        for policy in ("s3fifo", "lru", "lfu", "fifo", "sieve")
        for factor in factors
    }
    assert all(row.max_bytes is None for row in advice.estimates)
    for policy in ("lru", "s3fifo"):
        found = ratios(advice, policy)
        assert found[0.5] < found[1.0] < found[2.0] < found[4.0] < 1


def test_the_present_size_and_policy_come_out_as_measured():
    advised = asked("lru", max_items=150)
    advice, misses = advised.advise(), advised.misses[advised.counted()]
    assert advice.read_count == len(misses)
    assert advice.hit_ratio == 1 - sum(misses) / len(misses)
    assert ratios(advice, "lru")[1.0] == pytest.approx(advice.hit_ratio, abs=0.01)


def test_a_limit_in_bytes_is_scaled_in_bytes():
    advised = asked("lru", size_bytes=500, max_bytes=100_000)
    advice = advised.advise()
    assert {row.max_items for row in advice.estimates} == {None}
    sizes = {row.factor: row.max_bytes for row in advice.estimates}
    assert sizes == {0.5: 50_000, 1.0: 100_000, 2.0: 200_000, 4.0: 400_000}
    assert ratios(advice, "lru")[1.0] == pytest.approx(advice.hit_ratio, abs=0.02)
    double = asked("lru", size_bytes=500, max_bytes=200_000)
    misses = double.misses[advised.counted()]
    exact = 1 - sum(misses) / len(misses)
    assert ratios(advice, "lru")[2.0] == pytest.approx(exact, abs=0.02)


def test_without_a_limit_the_entries_that_are_there_are_the_size():
    advised = asked()
    advice, count = advised.advise(), len(advised.cache)
    assert {row.max_items for row in advice.estimates if row.factor == 1} == {count}
    assert f"1x stands for the {count} entries" in advice.conclusion


def test_an_empty_cache_is_given_the_reason():
    advice = Advised(max_items=10).advise()
    assert advice.estimates == ()
    assert advice.best is None
    assert "empty" in advice.conclusion
    assert "empty" in str(advice)


def test_too_few_reads_are_given_the_reason():
    advice = asked(keys=READS[:900], max_items=10).advise()
    assert advice.estimates == ()
    assert "too few" in advice.conclusion


def test_a_policy_that_is_not_simulated_is_compared_by_what_was_measured():
    advised = asked(keys=[b"%d" % (n % 900) for n in range(9_000)], max_items=600)
    present = Present("mine", 600, None, 600)
    advice = advise(advised.sample, present)
    assert "mine" not in {row.policy for row in advice.estimates}
    assert advice.policy == "mine"


def test_a_loop_that_does_not_fit_is_told_to_grow_or_to_change_the_policy():
    loop = [b"%d" % (number % 900) for number in range(9_000)]
    advice = asked("lru", keys=loop, max_items=600).advise()
    assert advice.hit_ratio == 0
    assert ratios(advice, "lru")[2.0] == 1.0
    assert advice.best.policy == "s3fifo"
    assert "twice the room gives 100.0% instead of 0.0%" in advice.conclusion
    assert 'eviction="s3fifo" gives' in advice.conclusion


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ((0.80, 0.70, 0.90), "twice the room gives 90.0% instead of 80.0%"),
        ((0.80, 0.795, 0.80), "half the room would do"),
        ((0.80, 0.70, 0.805), "keep size and policy"),
        ((0.80, 0.70, 0.805, 0.9), 'eviction="sieve" gives 90.0% instead of 80.0%'),
        ((0.80, 0.70, 0.805, 0.805), "keep size and policy"),
    ],
)
def test_the_conclusion_names_what_is_a_point_better(ratios, told):
    assert told in advice_of(*ratios).conclusion


def test_of_two_equal_policies_the_present_one_is_best():
    assert advice_of(0.8, 0.7, 0.8, other=0.8).best.policy == "lru"


def test_shown_it_is_a_table():
    lines = str(advice_of(0.8, 0.7, 0.9, 0.6).__class__("lru", 0, 0, 0, 0.5)).split(
        "\n"
    )
    assert lines[-1].startswith("keep size")
    advice = asked("lru", max_items=150).advise()
    lines = str(advice).splitlines()
    assert lines[1].split() == ["size", "0.5x", "1x", "2x", "4x"]
    assert [line.split()[0] for line in lines[2:7]] == [
        *("s3fifo", "lru", "lfu", "fifo", "sieve")
    ]
    assert lines[-1] == advice.conclusion


def test_a_window_ends_and_hits_then_cost_nothing(monkeypatch):
    last_word = 6_400
    monkeypatch.setattr(sampling, "LAST_WORD", last_word)
    advised = asked(max_items=150)
    window = advised.sample.window()
    assert last_word <= len(window) < last_word + last_word // MARKS
    assert not advised.sample.recording
    assert advised.note is advised.plain
    assert advised.advise().read_count == window.marks[-1].totals.reads - (
        window.middle().totals.reads
    )
    took, missed = window.marks[-1].totals
    rest = int(min(RESTS, took / missed - 1) * took)
    advised.misses += [True] * (took + rest - 1 - len(advised.misses))
    advised.sample.tick(len(advised.misses))
    assert not advised.sample.recording
    advised.misses.append(True)
    advised.sample.tick(len(advised.misses))
    assert advised.sample.recording
    assert advised.note is not advised.plain
    assert advised.sample.window() is window


class Counts:
    """A cache of which only the totals count."""

    def __init__(self):
        self.reads = self.misses = 0
        self.notes = []
        self.sample = ReferenceSample(
            Source(
                lambda: Totals(self.reads, self.misses),
                lambda: 10,
                float,
                READS.count,
                self.notes.append,
            )
        )

    def hit(self, count):
        for number in range(count):
            self.reads += 1
            if self.sample.recording:
                self.notes[-1](b"%d" % number)
            self.sample.tick(self.reads)

    def miss(self, count):
        for _ in range(count):
            self.reads += 1
            self.misses += 1
            if self.sample.recording:
                self.sample.missed(b"absent")
            self.sample.tick(self.reads, self.misses)


def test_the_first_misses_begin_a_window():
    counts = Counts()
    counts.hit(10_000)
    assert not counts.sample.recording
    counts.miss(sampling.FIRST_MISSES)
    assert counts.sample.recording


def test_a_window_that_nobody_asked_for_ends_when_all_are_hits():
    counts = Counts()
    counts.miss(sampling.FIRST_MISSES + 300)
    counts.hit(3 * sampling.LAST_WORD // MARKS)
    assert not counts.sample.recording
    counts.miss(10_000)
    assert not counts.sample.recording  # until the long rest is over
    counts.sample.window()
    assert counts.sample.recording
    counts.hit(5 * sampling.LAST_WORD // MARKS)
    assert counts.sample.recording


def test_the_more_misses_there_are_the_shorter_is_the_rest(monkeypatch):
    monkeypatch.setattr(sampling, "LAST_WORD", 3200)
    counts = Counts()
    counts.miss(10 * sampling.LAST_WORD)
    assert counts.sample.recording
    assert len(counts.notes) > 10


def test_hits_alone_are_not_recorded_before_two_million_reads():
    reads, notes = [0], []
    source = Source(
        lambda: Totals(reads[0], 0), lambda: 10, float, READS.count, notes.append
    )
    sample = ReferenceSample(source)
    reads[0] = sampling.FIRST_REST - 1
    sample.tick(reads[0])
    assert not sample.recording
    reads[0] += 1
    sample.tick(reads[0])
    assert sample.recording
    assert len(notes) == 1
    sample = ReferenceSample(source)
    sample.window()
    assert sample.recording


def test_a_cache_that_is_given_up_is_not_kept_alive_by_its_sample():
    gc.collect()
    gc.disable()
    try:
        advised = asked(keys=READS[:100], max_items=10)
        gone = weakref.ref(advised)
        del advised
        assert gone() is None
    finally:
        gc.enable()
