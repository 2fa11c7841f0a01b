"""The transition tables: complete, without traps, and the only way to change state."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.broker.queues import Record
from mesh.core.cluster.replica import Journal
from mesh.core.states import RECORD_TRANSITIONS, ROLE_TRANSITIONS, RecordEvent, RecordState, Role, RoleEvent, next_role
from mesh.errors import LocalProtocolError
from mesh.wire.entries import Message, Scope, Status

Table = Mapping[IntEnum, Mapping[IntEnum, IntEnum]]
TABLES = [
    pytest.param(ROLE_TRANSITIONS, Role, RoleEvent, id="role"),
    pytest.param(RECORD_TRANSITIONS, RecordState, RecordEvent, id="record"),
]


def reachable(table: Table, start: IntEnum) -> set[IntEnum]:
    """The states that some series of events leads to."""
    found, fresh = {start}, [start]
    while fresh:
        for state in table[fresh.pop()].values():
            if state not in found:
                found.add(state)
                fresh.append(state)
    return found


@pytest.mark.parametrize(("table", "states", "events"), TABLES)
def test_every_state_and_event_is_in_the_table(table: Table, states: type[IntEnum], events: type[IntEnum]) -> None:
    assert set(table) == set(states)
    assert {event for row in table.values() for event in row} == set(events)


def test_every_role_is_reachable_and_none_is_a_trap() -> None:
    assert reachable(ROLE_TRANSITIONS, Role.FOLLOWER) == set(Role)
    assert all(ROLE_TRANSITIONS[role][RoleEvent.YIELD] is Role.FOLLOWER for role in Role)


def test_every_record_state_is_reachable_and_settled_is_the_only_end() -> None:
    assert reachable(RECORD_TRANSITIONS, RecordState.DELAYED) == set(RecordState)
    assert RECORD_TRANSITIONS[RecordState.SETTLED] == {}
    assert all(RecordState.SETTLED in reachable(RECORD_TRANSITIONS, state) for state in RecordState)


def test_r9_only_reconciling_leads_to_a_reign() -> None:
    leading = {(role, event) for role, row in ROLE_TRANSITIONS.items() for event, to in row.items() if to is Role.REIGNING}
    assert leading == {(Role.RECONCILING, RoleEvent.RECONCILED)}


@given(st.lists(st.sampled_from(RoleEvent)))
def test_a_role_moves_only_by_its_table(events: list[RoleEvent]) -> None:
    role = Role.FOLLOWER
    for event in events:
        if event in ROLE_TRANSITIONS[role]:
            role = next_role(role, event)
        else:
            with pytest.raises(LocalProtocolError, match=f"from {role.name} by {event.name}"):
                next_role(role, event)


@given(st.sampled_from([RecordState.DELAYED, RecordState.READY]), st.lists(st.sampled_from(RecordEvent)))
def test_a_record_moves_only_by_its_table(state: RecordState, events: list[RecordEvent]) -> None:
    record = Record(Message("t1", "q", "work", b""), Journal(b"j" * 16, "a", Scope.BULK), 1, 1)
    record.state = state
    for event in events:
        before = record.state
        if event in RECORD_TRANSITIONS[before]:
            record.move(event)
            assert record.state is RECORD_TRANSITIONS[before][event]
        else:
            with pytest.raises(LocalProtocolError, match="message t1"):
                record.move(event)
            assert record.state is before


def test_terminal_are_the_statuses_after_which_a_task_does_not_run_again() -> None:
    assert {status.name for status in Status if status.terminal} == {"SUCCESS", "FAILURE", "REVOKED", "REMOVED"}
