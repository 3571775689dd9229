"""A part of `make crash`: power cuts, faults and both, at places chosen by a seed.

A failure prints the command that looks at the one state again.
"""

import shlex

import crash_explorer
import pytest

from hypercache import log_writer
from hypercache.log_writer import LogWriter
from hypercache.testing.simulated_disk import Fault
from tests.crash.workloads_cache import WORKLOADS
from tests.crash.workloads_swept import SWEPT
from tests.support import crash_table
from tests.support.crash_explorer import Case, Limits, states_of
from tests.support.crash_table import BEHIND_FAULT, BELOW, CRASHES, Task, do
from tests.support.crashstore import simulated
from tests.support.fault_sweep import SYNC, Injected

SMALL = Limits(
    images=40,
    subsets=2,
    torn=40,
    names=16,
    others=16,
    crashed=400,
    killed=800,
    in_recovery=24,
)
SHARE = 60  # every so many-th fault
EXPLORED = [
    (name, engine) for name, kind in WORKLOADS.items() for engine in kind.engines
]
FAILING = [(name, engine) for name, kind in SWEPT.items() for engine in kind.engines]


def problems(outcome):
    return "\n".join(
        f"{text}\n    {command}" for _, command, text in outcome.violations
    )


@pytest.mark.parametrize(("workload", "engine"), EXPLORED)
def test_every_power_cut_leaves_a_prefix_with_all_that_was_promised(workload, engine):
    outcome = do(Task("explore", workload, engine, seed=99), SMALL)
    assert not outcome.violations, problems(outcome)
    assert sum(map(len, outcome.seen.values())) > 20


@pytest.mark.parametrize(("workload", "engine"), FAILING)
def test_whatever_fails_nothing_is_lost_and_the_next_open_heals(workload, engine):
    outcome = do(Task("sweep", workload, engine, share=SHARE))
    assert not outcome.violations, problems(outcome)
    assert len(outcome.seen[BEHIND_FAULT]) > 10


@pytest.mark.parametrize("engine", ["hybrid", "memory"])
def test_parts_and_interruptions_below_the_seam_change_nothing(engine):
    outcome = do(Task("below", "below", engine, share=SHARE // 4))
    assert not outcome.violations, problems(outcome)
    assert len(outcome.seen[BELOW]) > 20


# The explorer itself


def test_the_same_seed_gives_the_same_states_and_another_one_others():
    with simulated():
        case = Case("backups", "memory", 5)
        first, again = states_of(case, SMALL), states_of(case, SMALL)
        other = states_of(case._replace(seed=6), SMALL)
    assert list(first[0]) == list(again[0])
    assert list(first[1]) == list(again[1])
    assert len(first[0].keys() & other[0].keys()) < len(first[0]) / 4


def replayed(command, capsys):
    """Run the command that was printed; return its exit code and what it said."""
    python, tool, *arguments = shlex.split(command)
    assert (python, tool) == ("python", "tools/crash_explorer.py")
    capsys.readouterr()
    return crash_explorer.main(arguments), capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("workload", "module", "function"),
    [
        # What was acknowledged under "always" was not synced.
        ("single_puts", LogWriter, "sync_active"),
        # What a recovery has read and sealed was not synced.
        ("sessions_unsynced", LogWriter, "settle"),
    ],
)
def test_a_violation_prints_one_command_that_shows_it_again(
    workload, module, function, monkeypatch, capsys
):
    monkeypatch.setattr(crash_explorer, "Limits", lambda: SMALL)
    task = Task("explore", workload, "hybrid", seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(module, function, PLANTED[function])
        outcome = do(task, SMALL)
        assert outcome.violations, "the planted defect was not found"
        for _, command, problem in outcome.violations[::7]:
            assert replayed(command, capsys) == (1, problem)
    assert not do(task, SMALL).violations


def never_synced(log):
    """Return as if the log had been synced."""


def settled_in_place(log):
    """Seal the last segment, but bring only the footer to the medium."""
    last = log._unsealed
    if last is not None and not last.sealed:
        file = log._storage.open(last.path)
        file.truncate(last.end)
        sync, file.sync = file.sync, lambda: None
        last.sealed_at(log_writer._end_with_footer(file, last))
        file.sync = sync
        log._previous = last.facts
    log._unsealed = None


PLANTED = {"sync_active": never_synced, "settle": settled_in_place}


def test_a_fault_that_does_harm_prints_one_command_that_shows_it_again(
    monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        # A defect: a failed sync passes for one that has worked.
        patch.setattr(LogWriter, "sync_active", lambda log: None)
        outcome = do(Task("sweep", "puts", "hybrid", share=9))
        assert outcome.violations, "the planted defect was not found"
        _, command, problem = outcome.violations[0]
        code, said = replayed(command, capsys)
        assert code == 1
        assert problem in said
    assert replayed(command, capsys) == (0, "as promised")


def test_the_name_of_a_fault_means_the_same_fault():
    for fault in (Fault(), Fault(28, 20, for_good=True)):
        injected = Injected(SYNC, "step", 17, fault)
        assert Injected.parse(str(injected)) == injected


def test_the_table_counts_each_disk_once():
    task = Task("explore", "a", "memory")
    seen = {CRASHES[0]: {b"1", b"2"}, CRASHES[3]: {b"2", b"3"}}
    wrong = [(CRASHES[3], "command", "problem")]
    outcomes = [
        crash_table.Outcome(task, seen, []),
        crash_table.Outcome(task, seen, wrong),
    ]
    text, counts, violations = crash_table.table(outcomes)
    assert (counts[CRASHES[0]], counts[CRASHES[3]], violations) == (2, 1, 1)
    assert "| I6 | 1 | 1 |" in text


def test_a_task_of_an_unknown_name_is_refused(capsys):
    assert crash_explorer.main(["--workload", "no such"]) == 2
    assert "nothing has these names" in capsys.readouterr().out
