"""Write, sync, then send: what the core decides leaves in the right order, and a transaction is one."""

from __future__ import annotations

import pytest

from mesh.core.turn import Turn
from mesh.wire.entries import Scope
from mesh.wire.messages import Confirm, Goodbye, HeadState, Pong

J, K = b"j" * 16, b"k" * 16


def head(journal: bytes = J, upto: int = 1) -> HeadState:
    return HeadState(journal, "a", Scope.BULK, upto, 0)


def test_r7_what_waits_for_the_disk_leaves_only_when_its_own_transaction_is_done() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    turn.to_peer_after_commit("b", Goodbye())
    batch = turn.take_batch()
    assert batch is not None
    turn.write(J, 2, b"two")
    turn.to_session_after_commit(b"s", Confirm(1, 2))
    assert turn.take_messages() == ([], [])
    turn.committed(batch.number)
    assert turn.take_messages() == ([("b", Goodbye())], [])
    second = turn.take_batch()
    assert second is not None
    assert turn.take_messages() == ([], [])
    turn.committed(second.number)
    assert turn.take_messages() == ([], [(b"s", Confirm(1, 2))])


def test_what_need_not_wait_leaves_at_once_and_once() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    turn.to_peer("b", Goodbye())
    turn.to_session(b"s", Pong())
    assert turn.take_messages() == ([("b", Goodbye())], [(b"s", Pong())])
    assert turn.take_messages() == ([], [])


def test_with_nothing_to_write_what_waits_leaves_when_all_before_it_is_durable() -> None:
    turn = Turn()
    turn.to_peer_after_commit("b", Goodbye())
    assert turn.take_batch() is None
    assert turn.take_messages() == ([("b", Goodbye())], [])


def test_with_nothing_to_write_what_waits_still_waits_for_the_transaction_under_way() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    batch = turn.take_batch()
    assert batch is not None
    turn.to_peer_after_commit("b", Goodbye())
    assert turn.take_batch() is None
    assert turn.take_messages() == ([], [])
    turn.committed(batch.number)
    assert turn.take_batch() is None
    assert turn.take_messages() == ([("b", Goodbye())], [])


def test_one_transaction_at_a_time_in_order() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    first = turn.take_batch()
    turn.write(J, 2, b"two")
    assert turn.take_batch() is None
    assert first is not None
    with pytest.raises(AssertionError, match="out of order"):
        turn.committed(first.number + 1)


def test_a_commit_that_was_not_under_way_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="not under way"):
        Turn().committed(1)


def test_an_entry_that_is_settled_before_its_transaction_never_reaches_the_disk() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    turn.settle(J, 1)
    turn.move_head(head())
    batch = turn.take_batch()
    assert batch is not None
    assert (batch.entries, batch.settled, batch.heads) == ([], [], {J: head()})


def test_an_entry_that_is_on_its_way_to_the_disk_is_deleted_by_the_next_transaction() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    first = turn.take_batch()
    assert first is not None
    turn.settle(J, 1)
    turn.committed(first.number)
    second = turn.take_batch()
    assert second is not None
    assert (first.entries, second.settled) == ([(J, 1, b"one")], [(J, 1)])


def test_r18b_dropping_a_journal_takes_entries_and_context_out_of_one_transaction() -> None:
    turn = Turn()
    turn.write(J, 1, b"one")
    turn.move_head(head())
    turn.write(K, 1, b"other")
    turn.move_head(head(K))
    turn.drop(J)
    batch = turn.take_batch()
    assert batch is not None
    assert batch.dropped == [J]
    assert (batch.entries, list(batch.heads)) == ([(K, 1, b"other")], [K])


def test_a_vote_is_part_of_the_transaction() -> None:
    turn = Turn()
    turn.vote(3, "b")
    turn.vote(4, "c")
    batch = turn.take_batch()
    assert batch is not None
    assert batch.vote == (4, "c")


def test_each_cut_begins_a_new_mark_and_its_commit_makes_the_old_one_durable() -> None:
    turn = Turn()
    decided = turn.mark
    turn.write(J, 1, b"one")
    batch = turn.take_batch()
    assert batch is not None
    assert turn.mark > decided > turn.durable_mark
    turn.committed(batch.number)
    assert turn.durable_mark >= decided
    later = turn.mark
    assert turn.take_batch() is None, "nothing to write: what was decided is durable as it is"
    assert turn.durable_mark >= later


def test_it_is_idle_only_when_nothing_is_to_be_sent_written_or_waited_for() -> None:
    turn = Turn()
    assert turn.idle
    turn.to_peer_after_commit("b", Goodbye())
    assert not turn.idle
    turn.write(J, 1, b"one")
    batch = turn.take_batch()
    assert batch is not None
    assert not turn.idle
    turn.committed(batch.number)
    assert not turn.idle
    turn.take_messages()
    assert turn.idle


def test_only_what_nobody_waits_for_is_patient() -> None:
    def patient(*effects: str) -> bool:
        turn = Turn()
        turn.settle(b"j", 1, patient=True)
        for effect in effects:
            {
                "write": lambda: turn.write(b"j", 2, b"x"),
                "settle": lambda: turn.settle(b"j", 3),
                "reply": lambda: turn.to_session_after_commit(b"s", Pong()),
                "vote": lambda: turn.vote(1, "a"),
                "drop": lambda: turn.drop(b"k"),
                "later": lambda: turn.settle(b"j", 4, patient=True),
            }[effect]()
        return turn.patient

    assert patient()
    assert patient("later")
    assert [effect for effect in ("write", "settle", "reply", "vote", "drop") if patient(effect, "later")] == []
    assert not Turn().patient, "with nothing to commit there is nothing to wait for"
