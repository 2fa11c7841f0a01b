"""Workflows at the coordinator: steps wait for results, gathers are sets, failures go on to what waits (decision 120, R25, R28)."""

from __future__ import annotations

import pytest

from mesh.core.broker.flows import CHORD_ERROR
from mesh.core.broker.incomplete import INCOMPLETE
from mesh.wire.bodies import decode, encode
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message, Result, Status
from mesh.wire.messages import Submit
from tests.unit.core.cluster import Cluster, Node
from tests.unit.core.declaring import queue, rows
from tests.unit.core.programs import Client, Worker


class Party:
    """Nodes with a client and a worker."""

    def __init__(self, nodes: str = "a", slots: int = 4, **settings: object) -> None:
        self.cluster = Cluster(**settings)
        for name in nodes:
            self.cluster.start(name)
        self.cluster.until(self.cluster.agreed)
        self.client: Client = self.cluster.client(nodes[-1])
        self.worker: Worker = self.cluster.worker(nodes[-1], slots=slots)

    def submit(self, **flows: Flow | None) -> None:
        """Tasks by id, and gathers, in this order."""
        self.send(
            [Message(id, "q", "" if flow is not None and flow.gathers >= 0 else "work", b"", flow=flow) for id, flow in flows.items()]
        )

    def send(self, messages: list[Message]) -> None:
        self.client.number += 1
        self.client.send(Submit(self.client.number, messages))
        self.cluster.calm()

    def finish(self, **values: object) -> None:
        for id, value in values.items():
            self.worker.finish(id, body=encode(value))

    def fail(self, id: str) -> None:
        self.worker.fail(id)

    @property
    def begun(self) -> list[str]:
        """Tasks in the order in which they were handed out."""
        return [delivery.id for delivery in self.worker.deliveries]

    def given(self, id: str) -> object:
        """What the step got from the one before it."""
        found = next(delivery.input for delivery in self.worker.deliveries if delivery.id == id)
        assert found is not None
        return decode(found.body)

    def result(self, id: str) -> Result:
        result = self.cluster[self.cluster.coordinator].broker.results.get(id)
        assert result is not None, f"{id} has not ended"
        return result

    def live(self) -> set[str]:
        return set(self.cluster[self.cluster.coordinator].broker.records)


@pytest.fixture
def party() -> Party:
    return Party()


def chord(*members: str, gather: str = "gather", body: str = "body") -> dict[str, Flow | None]:
    """Messages in the order of submission."""
    waiting: dict[str, Flow | None] = {body: Flow(after=gather), gather: Flow(gathers=len(members))}
    return waiting | {id: Flow(into=gather, place=place) for place, id in enumerate(members)}


# -- chains --------------------


def test_a_step_runs_when_the_one_before_it_has_ended_and_gets_its_value(party: Party) -> None:
    party.submit(c=Flow(after="b"), b=Flow(after="a"), a=None)
    assert party.begun == ["a"]
    party.finish(a=1)
    assert party.begun == ["a", "b"]
    assert party.given("b") == 1
    party.finish(b=[2])
    assert party.given("c") == [2]
    party.finish(c=3)
    assert party.live() == set()


def test_a_step_may_be_submitted_after_what_it_waits_for_has_ended(party: Party) -> None:
    party.submit(a=None)
    party.finish(a="early")
    party.submit(b=Flow(after="a"))
    assert party.given("b") == "early"


def test_all_that_comes_after_one_task_gets_its_value(party: Party) -> None:
    party.submit(b=Flow(after="a"), c=Flow(after="a"), d=Flow(after="a", takes_value=False), a=None)
    party.finish(a=7)
    assert sorted(party.begun) == ["a", "b", "c", "d"]
    assert (party.given("b"), party.given("c")) == (7, 7)
    immutable = next(delivery.input for delivery in party.worker.deliveries if delivery.id == "d")
    assert immutable is not None
    assert immutable.body == b"", "an immutable signature waits only"


def test_a_failure_is_the_end_of_all_that_waits_for_a_success(party: Party) -> None:
    party.submit(d=Flow(after="c"), c=Flow(after="b"), b=Flow(after="a"), a=None)
    party.fail("a")
    assert party.begun == ["a"]
    assert party.live() == set()
    for id in "bcd":
        assert party.result(id).status == Status.FAILURE
        assert party.result(id).failure == party.result("a").failure
        assert party.result(id).skipped


# -- error callbacks --------------------


def test_an_error_callback_runs_for_a_failure(party: Party) -> None:
    party.submit(callback=Flow(after="a", when=When.FAILURE), b=Flow(after="a"), a=None)
    party.fail("a")
    assert party.begun == ["a", "callback"]
    given = party.worker.deliveries[-1].input
    assert given is not None
    assert given.failure == party.result("a").failure
    assert given.task == "work"


def test_an_error_callback_is_dropped_when_it_is_not_needed(party: Party) -> None:
    party.submit(callback=Flow(after="a", when=When.FAILURE), a=None)
    party.finish(a=1)
    assert party.live() == set()
    assert party.begun == ["a"]
    assert party.result("callback").status == Status.REVOKED
    assert party.result("callback").skipped


def test_an_error_callback_of_what_was_skipped_is_dropped(party: Party) -> None:
    party.submit(callback=Flow(after="b", when=When.FAILURE), b=Flow(after="a"), a=None)
    party.fail("a")
    assert party.live() == set()
    assert party.begun == ["a"]


# -- gathers --------------------


def test_the_body_of_a_chord_gets_the_values_in_the_order_of_the_group(party: Party) -> None:
    party.submit(**chord("x", "y", "z"))
    assert sorted(party.begun) == ["x", "y", "z"]
    party.finish(z=3, x=1)
    assert "body" not in party.begun
    party.finish(y=2)
    assert party.given("body") == [1, 2, 3]
    party.finish(body=6)
    assert party.live() == set()
    assert decode(party.result("gather").body) == [1, 2, 3]


def test_groups_in_groups_are_lists_in_lists(party: Party) -> None:
    party.submit(
        body=Flow(after="outer"),
        outer=Flow(gathers=2),
        inner=Flow(gathers=2, into="outer", place=1),
        x=Flow(into="outer", place=0),
        y=Flow(into="inner", place=0),
        z=Flow(into="inner", place=1),
    )
    party.finish(x=1, y=2, z=3)
    assert party.given("body") == [1, [2, 3]]


def test_the_first_member_that_fails_decides_a_chord_at_once(party: Party) -> None:
    party.submit(**chord("x", "y", "z"))
    party.fail("y")
    failure = party.result("gather").failure
    assert failure is not None
    assert failure.type_name == CHORD_ERROR
    assert failure.message.startswith("work[y] of the group raised ")
    assert party.result("body").failure == failure
    party.finish(x=1, z=1)
    assert party.live() == set()


def test_a_member_that_was_skipped_fails_its_chord(party: Party) -> None:
    party.submit(body=Flow(after="gather"), gather=Flow(gathers=1), last=Flow(after="first", into="gather"), first=None)
    party.fail("first")
    assert party.result("body").failure == party.result("gather").failure
    assert party.live() == set()


def test_an_empty_group_has_an_empty_list(party: Party) -> None:
    party.submit(body=Flow(after="gather"), gather=Flow(gathers=0))
    assert party.given("body") == []


def test_a_gather_that_comes_after_something_waits_for_that(party: Party) -> None:
    party.submit(body=Flow(after="gather"), gather=Flow(after="a", gathers=0), a=None)
    assert party.begun == ["a"]
    party.finish(a=1)
    assert party.given("body") == []


def test_a_group_that_was_saved_is_a_gather_with_a_value(party: Party) -> None:
    party.send([Message("saved", "q", "", encode(["x", "y"]), flow=Flow(gathers=0))])
    assert decode(party.result("saved").body) == ["x", "y"]


def test_r25_a_member_that_is_known_twice_counts_once(party: Party) -> None:
    party.submit(**chord("x", "y"))
    broker = party.cluster["a"].broker
    party.finish(x=1)
    broker.flows.ended(party.result("x"))
    party.cluster.calm()
    assert "body" not in party.begun


def test_a_gather_that_grows_waits_for_its_new_members(party: Party) -> None:
    party.submit(**chord("x", "y"))
    party.finish(x=1)
    broker = party.cluster["a"].broker
    assert broker.flows.grow("gather", 1)
    party.submit(z=Flow(into="gather", place=2))
    party.finish(y=2)
    assert "body" not in party.begun
    party.finish(z=3)
    assert party.given("body") == [1, 2, 3]
    assert not broker.flows.grow("gather", 1), "it has ended"


# -- what never comes --------------------


def later(party: Party, hours: float) -> None:
    """The wall clock goes on."""
    for node in party.cluster.nodes.values():
        node.skew_s += hours * 3600
    party.cluster.run(6.0)


def test_a_workflow_that_was_never_submitted_whole_ends_when_results_would_have_expired(party: Party) -> None:
    party.submit(c=Flow(after="b"), b=Flow(after="a"))
    later(party, 23)
    assert party.live() == {"b", "c"}
    later(party, 2)
    failure = party.result("b").failure
    assert failure is not None
    assert failure.type_name == INCOMPLETE
    assert party.result("c").failure == failure


def test_a_group_of_which_members_were_never_submitted_ends_too(party: Party) -> None:
    party.submit(**chord("x", "y"))
    party.submit(body2=Flow(after="gather2"), gather2=Flow(gathers=2), member=Flow(into="gather2"))
    later(party, 25)
    failure = party.result("body2").failure
    assert failure is not None
    assert failure.type_name == INCOMPLETE
    party.finish(x=1, y=2)
    assert party.given("body") == [1, 2], "all of its members are there, however long they take"


def test_a_step_whose_predecessors_result_was_removed_ends(party: Party) -> None:
    party.submit(a=None)
    party.finish(a=1)
    party.cluster["a"].broker.results.take_back("a")
    party.submit(b=Flow(after="a"))
    failure = party.result("b").failure
    assert failure is not None
    assert failure.type_name == "mesh.errors.ResultRemoved"


def test_the_ttl_of_a_queue_does_not_go_for_steps_that_wait(party: Party) -> None:
    rows(party.client.change(queue("q", message_ttl_ms=500)))
    party.submit(**chord("x", "y"))
    party.finish(x=1)
    party.cluster.run(2.0)
    party.finish(y=2)
    assert party.given("body") == [1, 2]


def test_a_purge_leaves_steps_that_wait_and_ends_them_with_what_they_wait_for() -> None:
    party = Party(slots=1)
    party.submit(b=Flow(after="a"), d=Flow(after="c"), a=None, c=None)
    party.cluster["a"].broker.purge.drop("q", "purged")
    party.cluster.run(0.2)
    assert party.live() == {"a", "b"}
    assert party.result("d").skipped
    party.finish(a=1)
    assert party.given("b") == 1


# -- what is held --------------------


def test_a_result_that_a_step_waits_for_is_not_evicted() -> None:
    party = Party(max_results_bytes=1 << 16)
    party.submit(**chord("x", "y"))
    party.finish(x="kept")
    party.cluster.run(0.1)
    others = [f"other{number}" for number in range(100)]
    party.submit(**dict.fromkeys(others))
    while party.worker.held.keys() != {"y"}:
        party.finish(**{id: bytes(2000) for id in list(party.worker.held) if id != "y"})
    party.cluster.run(0.2)
    results = party.cluster["a"].broker.results
    assert "other0" not in results
    assert "x" in results, "the oldest of all"
    party.finish(y="last")
    assert party.given("body") == ["kept", "last"]
    party.finish(body=1)
    party.submit(**dict.fromkeys("abc"))
    party.finish(**dict.fromkeys("abc", bytes(20_000)))
    party.cluster.run(0.2)
    assert "x" not in results


def test_a_result_that_is_forgotten_while_a_step_needs_it_goes_when_that_has_ended(party: Party) -> None:
    party.submit(b=Flow(after="a"), a=None)
    results = party.cluster["a"].broker.results
    party.finish(a=1)
    assert results.forget("a")
    assert "a" in results
    party.worker.lose("b")
    assert decode(party.worker.deliveries[-1].input.body) == 1
    party.finish(b=2)
    assert "a" not in results


# -- large values --------------------


def test_large_values_are_gathered_in_chunks() -> None:
    party = Party("abc", max_body_bytes=1 << 24)
    party.submit(**chord("x", "y", "z"))
    value = bytes(range(256)) * 4096
    party.worker.finish_large("x", encode(value))
    party.finish(y="small")
    party.worker.finish_large("z", encode(value[::-1]))
    party.cluster.until(lambda: "body" in party.begun)
    given = next(delivery.input for delivery in party.worker.deliveries if delivery.id == "body")
    assert given is not None
    assert given.chunks is not None
    party.worker.fetch("input", given.chunks)
    party.cluster.until(lambda: "input" in party.worker.fetched)
    assert decode(party.worker.buffers["input"].body) == [value, "small", value[::-1]]


def test_a_takeover_while_large_values_are_gathered_begins_that_anew() -> None:
    party = Party("abc", max_body_bytes=1 << 24)
    party.submit(**chord("x", "y"))
    value = bytes(range(256)) * 8192
    party.worker.finish_large("x", encode(value))
    party.worker.finish_large("y", encode(value))
    leader = party.cluster.coordinator
    began: list[bool] = []

    def stall(node: Node) -> None:
        if not began and node.name == leader and "gather" in node.machine.broker.flows.gathering:
            began.append(True)
            party.cluster.stall_disk(leader)

    party.cluster.on_turn = stall
    party.cluster.until(lambda: began)
    party.cluster.run(0.2)
    assert "body" not in party.begun
    party.cluster.crash(leader)
    party.cluster.until(lambda: "body" in party.begun, within_s=10.0)
    given = next(delivery.input for delivery in party.worker.deliveries if delivery.id == "body")
    assert given is not None
    assert given.chunks is not None
    party.worker.fetch("input", given.chunks)
    party.cluster.until(lambda: "input" in party.worker.fetched)
    assert decode(party.worker.buffers["input"].body) == [value, value]


# -- faults --------------------


def test_a_step_whose_worker_is_lost_runs_again_with_its_value(party: Party) -> None:
    party.submit(b=Flow(after="a"), a=None)
    party.finish(a=1)
    party.worker.lose("b")
    assert [delivery.attempt for delivery in party.worker.deliveries if delivery.id == "b"] == [1, 2]
    assert party.worker.deliveries[-1].input is not None
    assert decode(party.worker.deliveries[-1].input.body) == 1


def test_a_retry_of_the_publish_of_a_workflow_runs_nothing_twice(party: Party) -> None:
    flows = chord("x", "y")
    party.submit(**flows)
    party.finish(x=1)
    party.submit(**flows)
    party.finish(y=2)
    party.submit(**flows)
    party.finish(body=3)
    party.submit(**flows)
    assert sorted(party.begun) == ["body", "x", "y"]
    assert party.live() == set()


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_new_coordinator_goes_on_with_a_workflow_wherever_it_is(before: int) -> None:
    party = Party("abc")
    party.submit(**chord("x", "y", "z"))
    for id in "xyz"[:before]:
        party.finish(**{id: id})
    party.cluster.run(1.0)
    party.cluster.crash(party.cluster.coordinator)
    party.cluster.until(lambda: party.cluster.agreed())
    for id in "xyz"[before:]:
        party.finish(**{id: id})
    party.cluster.until(lambda: "body" in party.begun)
    assert party.given("body") == ["x", "y", "z"]
    party.finish(body=1)
    party.cluster.run(1.0)
    assert party.live() == set()
    assert party.begun.count("body") == 1
