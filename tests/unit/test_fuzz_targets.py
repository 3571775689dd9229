"""The fuzz targets work, can fail, and need no atheris; `make fuzz` runs them long."""

import importlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import TARGETS
from fuzz.make_corpus import CORPUS, seeds_of
from hypercache.log_reader import LogReader
from tests.support.seeds import seeded, tell

ROOT = Path(__file__).parents[2]
REGRESSIONS = ROOT / "fuzz" / "regressions"
MUTATION_COUNT = 250
# Of those that open stores again and again: all of this takes a few seconds.
FEWER = {"fuzz_wal": 80, "fuzz_aof": 80, "fuzz_recovery": 15}
every_target = pytest.mark.parametrize("target", TARGETS)


@pytest.fixture(autouse=True)
def quiet():
    """Torn tails by the hundred are cut here, and each would be logged."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def mutated(data, rng):
    """Return an input with a few changes of the kinds that fuzzers make."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 20)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                start = rng.randrange(len(data) + 1)
                data[at:at] = data[start : start + rng.randint(1, 60)]
            case _:
                data[at : at + 1] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80"))
    return bytes(data)


def run(target, count):
    """Run a target on its seeds, and on so many mutations of them."""
    check, seeds = importlib.import_module(f"fuzz.{target}").check, seeds_of(target)
    rng, names = seeded(target), sorted(seeds)
    for name in names:
        tell(f"seed {name}")
        check(seeds[name])
    for _ in range(count):
        data = mutated(seeds[rng.choice(names)], rng)
        tell(f"input {data.hex()}")
        check(data)


@every_target
def test_every_seed_and_what_is_like_it_is_parsed_or_refused(target):
    run(target, FEWER.get(target, MUTATION_COUNT))


@pytest.mark.parametrize("name", sorted(map(str, REGRESSIONS.rglob("*-*"))))
def test_what_was_once_a_finding_is_none_any_more(name):
    file = Path(name)
    importlib.import_module(f"fuzz.{file.parent.name}").check(file.read_bytes())


@every_target
def test_the_first_line_of_a_target_states_its_invariant(target):
    first = importlib.import_module(f"fuzz.{target}").__doc__.splitlines()[0]
    assert first.startswith("Invariant: ")
    assert first.endswith("memory bounded.")


@every_target
def test_the_corpus_is_what_the_script_makes_of_it(target):
    found = {file.name: file.read_bytes() for file in (CORPUS / target).iterdir()}
    assert found == seeds_of(target), "run `python -m fuzz.make_corpus`"


def test_the_corpus_is_small():
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 300_000


@pytest.mark.parametrize("target", ["fuzz_wal", "fuzz_aof"])
def test_a_reader_that_takes_damage_for_an_end_is_found(target, monkeypatch):
    monkeypatch.setattr(LogReader, "_judge_end", lambda *_: None)
    with pytest.raises(AssertionError):
        run(target, MUTATION_COUNT)


def test_without_atheris_the_targets_work_and_fuzzing_says_what_to_do():
    code = (
        "import runpy, sys; sys.modules['atheris'] = None;"
        "sys.argv = ['fuzz', '--seconds', '1', 'fuzz_ops'];"
        "runpy.run_module('fuzz', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 4
    assert "atheris cannot be imported" in ended.stderr
    assert "PYTHON=" in ended.stderr


def test_an_unknown_target_is_named():
    command = [sys.executable, "-m", "fuzz", "fuzz_nothing"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "fuzz_nothing" in ended.stderr
    assert "fuzz_wal" in ended.stderr
