"""Writers go on asking until somebody syncs what they append."""

import pytest

from hypercache.group_commit import CommitState, GroupCommit
from hypercache.options import SyncPolicy
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda state: state.reached(5),
        lambda state: state.begin(1, 0.0),
        lambda state: state.begin(1, 0.0) and state.abandon(),
        lambda state: state.begin(1, 0.0) and state.finish(1),
    ],
    ids=["reached", "begin", "abandon", "finish"],
)
def test_writers_attend_until_there_is_a_flusher_whatever_comes_before(meanwhile):
    state = CommitState(SyncPolicy.EVERYSEC, 0)
    assert state.attention
    meanwhile(state)
    assert state.attention
    state.flusher_started()
    assert state.attention == state.in_flight
    state.abandon()
    assert not state.attention


@pytest.mark.parametrize("policy", [SyncPolicy.ALWAYS, SyncPolicy.NO])
def test_without_a_flusher_to_wait_for_nobody_attends(policy):
    state = CommitState(policy, 0)
    assert not state.attention
    state.reached(5)
    assert not state.attention


def test_what_the_owner_has_synced_is_published_before_anybody_is_told():
    state, seen = CommitState(SyncPolicy.ALWAYS, 0), []
    commit = GroupCommit(
        state,
        FakeClock(),
        sync_file=lambda: None,
        appended_lsn=lambda: 5,
        on_synced=lambda lsn: seen.append((lsn, state.synced_lsn)),
    )
    commit.reached(5)
    assert seen == [(5, 0)]
    assert state.synced_lsn == 5
