"""What a helper that folds may answer, and what the engine makes of it."""

import pytest

from hypercache.engines import fold_helper
from hypercache.engines.helper import Outcome
from hypercache.engines.hybrid import HybridEngine
from hypercache.errors import CorruptionError, StorageError
from hypercache.log_reader import Extent
from hypercache.options import Options
from hypercache.paths import StorePaths
from hypercache.testing.contents import contents

PATHS = StorePaths("/nowhere")
OPTIONS = {
    "segment_bytes": 4096,
    "checkpoint_bytes": 1 << 30,
    "maintenance": "process",
    "log_io": "write",
}


@pytest.fixture
def answer(monkeypatch):
    """Let the next helpers end like this; None: none can start."""

    def set_answer(outcome):
        process = None if outcome is None else object()
        helper = fold_helper.helper
        monkeypatch.setattr(helper, "maybe_start", lambda *_words, **_options: process)
        monkeypatch.setattr(helper, "outcome_of", lambda process, _order: outcome)

    return set_answer


def fold():
    extent = Extent()
    found = fold_helper.maybe_start(PATHS, bytes(16), extent, 100, 3)
    return None if found is None else found.maybe_fold(extent)


def test_the_lsn_reached_is_its_last_line(answer):
    answer(Outcome(b"noise\n\n17\n", "", 0, 0))
    assert fold() == 17


def test_where_none_can_start_there_is_no_answer(answer, caplog):
    answer(None)
    assert fold() is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(b"", "Killed", 0, 9),
        Outcome(b"17\n", "Traceback", 1, 0),
        Outcome(b"seventeen\n", "", 0, 0),
        Outcome(b"", "", 0, 0),
        Outcome(b"-17\n", "", 0, 0),
    ],
)
def test_a_helper_that_fails_is_told_and_costs_nothing_else(answer, caplog, outcome):
    answer(outcome)
    assert fold() is None
    assert "helper of a checkpoint failed" in caplog.text


@pytest.mark.parametrize("signal", [7, 11])
def test_a_page_that_killed_the_helper_would_kill_us_too(answer, signal):
    answer(Outcome(b"", "", 0, signal))
    with pytest.raises(CorruptionError, match="killed the helper") as caught:
        fold()
    assert caught.value.path == PATHS.lmdb_data


def filled_engine(opened, tmp_path):
    options = Options.resolve(**OPTIONS)
    engine = opened.add(HybridEngine(str(tmp_path / "store"), options))
    for number in range(30):
        engine.put(b"key%d" % number, b"value" * 50)
    return engine


def run_in_helper(engine):
    with engine._upkeep.turn():
        engine._upkeep.run(in_process=True)


@pytest.mark.parametrize("outcome", [None, Outcome(b"", "Killed", 0, 9)])
def test_what_no_helper_folded_the_engine_folds_itself(
    opened, tmp_path, answer, monkeypatch, outcome
):
    engine = filled_engine(opened, tmp_path)
    before = contents(engine)
    answer(outcome)
    run_in_helper(engine)
    assert engine.stats().checkpoint_lsn == 30
    assert contents(engine) == before
    monkeypatch.undo()
    assert engine.check().ok


def test_after_a_bad_page_the_log_keeps_everything(opened, tmp_path, answer):
    engine = filled_engine(opened, tmp_path)
    before = contents(engine)
    segments = sorted((tmp_path / "store" / "wal").iterdir())
    answer(Outcome(b"", "", 0, 11))
    with pytest.raises(CorruptionError, match="killed the helper"):
        run_in_helper(engine)
    assert sorted((tmp_path / "store" / "wal").iterdir()) == segments
    assert engine.stats().checkpoint_lsn == 0
    assert "killed the helper" in engine.stats().maintenance_error
    assert contents(engine) == before
    engine.put(b"more", b"1")
    assert engine.checkpoint() == 31


def test_a_helper_folds_all_of_the_log(opened, tmp_path):
    engine = filled_engine(opened, tmp_path)
    run_in_helper(engine)
    assert engine.stats().checkpoint_lsn == 30
    assert list((tmp_path / "store" / "wal").iterdir()) == []


def test_no_thread_for_maintenance_means_steps_by_the_writers(
    opened, tmp_path, monkeypatch, caplog
):
    options = Options.resolve(**{**OPTIONS, "checkpoint_bytes": 8192, "sync": "always"})
    engine = opened.add(HybridEngine(str(tmp_path / "store"), options))

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    for number in range(200):
        engine.put(b"key%d" % (number % 7), b"value" * 50)
    monkeypatch.undo()
    assert "no thread for a checkpoint" in caplog.text
    assert engine.stats().checkpoint_count > 0
    assert engine.check().ok


def test_a_failed_checkpoint_is_told_and_the_write_stands(
    opened, tmp_path, monkeypatch, caplog
):
    options = Options.resolve(
        **{**OPTIONS, "checkpoint_bytes": 8192, "maintenance": "inline"}
    )
    engine = opened.add(HybridEngine(str(tmp_path / "store"), options))

    def refuse(*_):
        raise StorageError("no fold now")

    monkeypatch.setattr(engine._store, "fold", refuse)
    for number in range(100):
        engine.put(b"key%d" % number, b"value" * 50)
    assert "no fold now" in engine.stats().maintenance_error
    assert "a checkpoint failed" in caplog.text
    monkeypatch.undo()
    engine.checkpoint()
    assert engine.stats().maintenance_error is None
    assert engine.count() == 100
