"""The benchmark does what it says on every subject that is installed."""

import json
import threading

import pytest

from hypercache.bench import data, report, results, running, subjects, targets
from hypercache.bench.results import Results, Sample, percentiles_us
from hypercache.bench.stores import Durability
from hypercache.bench.subjects import SUBJECTS
from hypercache.errors import ConfigError
from tests.support.benches import TINY

FACTS = {"plan": "tiny", "versions": {"peer": "1.0"}}


def measured(*names):
    found = Results(dict(FACTS), {})
    return found, running.turns(TINY, names)


@pytest.mark.parametrize("name", running.WORKS)
def test_every_step_of_a_work_measures_its_subject(name, tmp_path):
    found, turns = measured(name)
    for turn in turns:
        before = len(found.samples)
        running.run(turn, tmp_path, found)
        assert not found.failures
        assert len(found.samples) > before or name == "scan"  # which not all can
    assert found.samples
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_a_subject_does_all_that_it_says_it_can(subject, tmp_path):
    if reason := subject.missing():
        pytest.skip(reason)
    store = subject.open(tmp_path, 100)
    try:
        store.set(b"key:1", b"one")
        assert store.get(b"key:1") == b"one"
        assert store.get(b"key:9") is None
        if store.set_many:
            store.set_many({b"key:2": b"two", b"other": b"three"})
        if store.get_many:
            assert len(list(store.get_many([b"key:1", b"key:2"]))) == 2
        if store.scan:
            assert store.scan(b"key:") == 2
        store.settle()
        assert store.get(b"key:1") == b"one"
        assert store.maintains() in (True, False)
    finally:
        store.close()


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_what_a_subject_of_files_has_set_is_there_when_it_is_opened_again(
    subject, tmp_path
):
    if reason := subject.missing():
        pytest.skip(reason)
    if subject.durability is Durability.RAM:
        pytest.skip("it keeps nothing")
    for _ in range(2):
        store = subject.open(tmp_path, 100)
        before = store.get(b"key")
        store.set(b"key", b"value")
        store.close()
    assert before == b"value" or subject.name == "redis"  # which is killed


def test_a_step_that_fails_is_named_and_the_next_one_goes_on(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise OSError("no such luck")

    found, turns = measured("import")
    monkeypatch.setattr("hypercache.bench.child.import_ms", refuse)
    for turn in turns[:2]:
        running.run(turn, tmp_path, found)
    assert len(found.failures) == 2
    assert "no such luck" in found.failures[0]
    assert any("FAILED" in line for line in report.lines(found))


def test_a_round_begins_where_the_one_before_ended():
    plan = running.turns(TINY.__class__(**{**vars_of(TINY), "rounds": 2}), ["import"])
    names = [turn.step.subject for turn in plan]
    half = len(names) // 2
    assert names[half:] == names[:half][::-1]
    assert [turn.round for turn in plan] == [0] * half + [1] * half


def vars_of(plan):
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def test_the_same_seed_makes_the_same_work():
    assert data.keys(50, 3) == data.keys(50, 3) != data.keys(50, 4)
    assert data.values(9, 3) == data.values(9, 3)
    assert len(set(data.keys(5000, 3))) == 5000
    first, second = data.values(2, 1)[0], data.values(2, 1)[0]
    assert first == second
    assert first is not second


def test_zipf_draws_the_first_most_often():
    drawn = data.Zipf(1000).draw(20_000, 1)
    counts = [drawn.count(position) for position in (0, 1, 9, 99)]
    assert counts == sorted(counts, reverse=True)
    assert 0.10 < counts[0] / len(drawn) < 0.16  # 1 / H(1000, 0.99) = 0.13


def test_percentiles_are_those_of_the_ordered_values():
    found = percentiles_us([n * 1000 for n in range(1001)][::-1])
    assert found == {"p50": 500, "p99": 990, "p99.9": 999, "max": 1000}


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_all_values():
    samples = [
        Sample("set, 100 B", "us", name, value, number)
        for name, values in (("hybrid", (1, 10, 2)), ("rocksdict", (3, 20, 8)))
        for number, value in enumerate(values)
    ]
    found = Results(dict(FACTS), {}, [], samples)
    row = targets.faster("set", "set, 100 B", "hybrid", "rocksdict", 2, 3)
    verdict = targets.judge(row, found)
    assert verdict.value == 3  # of 3, 2 and 4
    assert verdict.spread == (2, 4)
    assert verdict.word == "aim reached"


@pytest.mark.parametrize(
    ("value", "word"), [(1.9, "lost"), (2.0, "won"), (2.9, "won"), (3.0, "aim reached")]
)
def test_a_verdict_follows_from_the_bounds(value, word):
    row = targets.faster("set", "set, 100 B", "hybrid", "rocksdict", 2, 3)
    assert targets.Verdict(row, value, (value, value)).word == word


def test_what_must_be_small_is_won_when_it_is():
    row = targets.Row("w", "", ("m", "s"), None, at_most=0.2)
    assert targets.Verdict(row, 0.2, (0, 1)).word == "won"
    assert targets.Verdict(row, 0.21, (0, 1)).word == "lost"
    assert targets.Verdict(row, None, None).word == "not measured"


def test_every_row_is_about_something_that_is_measured(tmp_path):
    found, turns = measured()
    for turn in turns:
        running.run(turn, tmp_path, found)
    measures = found.measures()
    for row in targets.ROWS:
        for figure in filter(None, (row.upper, row.lower)):
            assert figure[0] in measures or "during maintenance" in figure[0]
            assert figure[1] in subjects.BY_NAME
    text = "\n".join(report.lines(found))
    assert "lost" in text
    assert "peer 1.0" in text


def test_unlike_promises_are_never_in_one_table():
    samples = [
        Sample("set, 100 B", "us", subject.name, 1.0)
        for subject in (*SUBJECTS, subjects.FLOOR)
    ]
    found = Results(dict(FACTS), {}, [], samples)
    for table in "\n".join(report.tables(found)).strip().split("\n\n"):
        names = [line.strip().partition("  ")[0] for line in table.split("\n")[1:]]
        promises = {subjects.BY_NAME[name].durability for name in names if name}
        assert len(promises) <= 1


def test_what_is_saved_is_what_is_loaded(tmp_path):
    samples = [Sample("set", "us", "hybrid", 1.5, 0), Sample("set", "us", "dict", 2.0)]
    found = Results(dict(FACTS), {"x": "not installed"}, ["failed"], samples)
    found.save(tmp_path / "kept.json")
    assert results.load(tmp_path / "kept.json") == found


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 9}', json.dumps({"format": 1, "measures": [1]})],
)
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, text):
    path = tmp_path / "kept.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"kept\.json"):
        results.load(path)


def test_a_subject_that_is_not_installed_is_skipped_with_a_reason(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reasons = subjects.skipped()
    assert reasons["rocksdict"] == "rocksdict is not installed"
    assert "rocksdict" not in [each.name for each in subjects.present(*Durability)]


def test_nothing_runs_on_behind_a_benchmark(tmp_path):
    before = set(threading.enumerate())
    found, turns = measured("synced")
    for turn in turns:
        running.run(turn, tmp_path, found)
    assert set(threading.enumerate()) == before
