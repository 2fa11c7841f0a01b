"""What a large group costs the coordinator: memory for each member, and work for each that ends."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType

from mesh.wire import frames
from mesh.wire.bodies import encode_call
from mesh.wire.calls import Call, Flow
from mesh.wire.entries import Message
from mesh.wire.messages import Outcome, Outcomes, Submit
from tests.unit.core.cluster import Cluster

MEMBER_BYTES_MAX = 2048
MEMBERS = 20_000
SMALL, LARGE = 500, 8_000


def group(count: int) -> list[Message]:
    """A chord as an application submits it, decoded as a node gets it."""
    root = "0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10"
    messages = [Message("body", "q", "app.total", encode_call([], {}), flow=Flow(after=f"gather-{root}"), call=Call(root=root))]
    messages.append(Message(f"gather-{root}", "q", "", b"", flow=Flow(gathers=count), call=Call(root=root)))
    for place in range(count):
        id = f"0198c5a1-7e5c-7b1e-a5f0-{place:012x}"
        call = Call(root=root, parent=root, group=root, group_index=place, origin="12345@host")
        messages.append(Message(id, "q", "app.square", encode_call([place], {}), flow=Flow(into=f"gather-{root}", place=place), call=call))
    request = frames.decode_request(frames.encode(Submit(1, messages)))
    assert isinstance(request, Submit)
    return request.messages


def with_group(count: int) -> Cluster:
    cluster = Cluster("a", window_bytes=1 << 30)
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    messages = group(count)
    for number, start in enumerate(range(0, len(messages), 1000)):
        client.send(Submit(number + 1, messages[start : start + 1000]))
    cluster.calm()
    assert cluster["a"].broker.flows.lacking("gather-0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10") == count
    return cluster


def test_an_outstanding_member_of_a_group_takes_two_kilobytes_at_most() -> None:
    cluster = Cluster("a", window_bytes=1 << 30)
    cluster.until(cluster.agreed)
    node = cluster.nodes["a"]
    replica = node.machine.replica
    messages = group(MEMBERS)
    blobs = [frames.encode(Submit(1, messages[start : start + 1000])) for start in range(0, len(messages), 1000)]
    del messages
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for blob in blobs:
        request = frames.decode_request(blob)
        assert isinstance(request, Submit)
        cluster.turn(node, replica.write_many, request.messages)
        del request
        cluster.calm()
    taken = tracemalloc.get_traced_memory()[0] - before - sum(map(len, node.disk.entries.values()))  # the disk of the test is in memory
    tracemalloc.stop()
    assert len(node.machine.broker.records) == MEMBERS + 2
    assert taken / MEMBERS <= MEMBER_BYTES_MAX


def calls_to_end_one(count: int) -> int:
    """Python functions that are called to end a member in the middle of a group."""
    cluster = with_group(count)
    machine = cluster["a"]
    calls = 0

    def count_call(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    outcomes = [Outcome(f"0198c5a1-7e5c-7b1e-a5f0-{place:012x}", body=b"\x00\x01") for place in range(100, 110)]
    sys.setprofile(count_call)
    for outcome in outcomes:
        cluster.turn(cluster.nodes["a"], machine.broker.on_outcomes, "a", Outcomes("w", 0, [outcome]))
    sys.setprofile(None)
    return calls // len(outcomes)


def test_the_end_of_a_member_costs_the_same_in_a_small_group_and_in_a_large_one() -> None:
    assert calls_to_end_one(LARGE) <= 1.1 * calls_to_end_one(SMALL)
