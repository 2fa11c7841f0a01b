"""The edge of a node: what attached programs may say, what they are told, and when they are forgotten."""

from __future__ import annotations

import pytest

from mesh.core.edge import sessions
from mesh.core.edge.sessions import MAX_ID_CHARS, QUESTION_TIMEOUT_S
from mesh.wire.entries import Message
from mesh.wire.messages import (
    PROTOCOL_VERSION,
    Answer,
    Attach,
    Attached,
    Confirm,
    Leaving,
    NewCoordinator,
    Offer,
    Outcome,
    Outcomes,
    Ping,
    Pong,
    Query,
    Refused,
    Submit,
    Watch,
)
from mesh.wire.topology_changes import NAME_CHARS_MAX
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Worker


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("a")


@pytest.fixture
def client(cluster: Cluster) -> Client:
    return cluster.client("a")


def answer_to(cluster: Cluster, client: Client, *messages: Message) -> Confirm:
    """The confirm of one submit."""
    client.number += 1
    client.send(Submit(client.number, list(messages)))
    cluster.calm()
    confirm = client.confirm(client.number)
    assert confirm is not None
    return confirm


# -- attaching --------------------


def test_who_attaches_is_told_where_it_is() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    attached = cluster.client("c").got(Attached)[0]
    assert (attached.mesh, attached.mesh_id, attached.node, attached.node_id, attached.coordinator) == ("test", "test", "c", "c", "a")
    assert {member.id for member in attached.members} == {"a", "b"}
    assert attached.max_body_bytes == cluster.settings.max_body_bytes


@pytest.mark.parametrize("request_", [Ping(), Submit(1, []), Query(1, "status"), Watch(["t1"])], ids=lambda request: type(request).__name__)
def test_an_unknown_session_is_told_to_attach(cluster: Cluster, client: Client, request_: object) -> None:
    cluster.turn(cluster.nodes["a"], cluster["a"].on_session_closed, client.session)
    client.inbox.clear()
    client.send(request_)
    cluster.calm()
    assert client.inbox == [Refused("not-attached", "attach first")]
    assert cluster.nodes["a"].live() == {}


def test_a_program_of_an_unknown_kind_is_refused_with_the_kinds_there_are(cluster: Cluster, client: Client) -> None:
    client.send(Attach("dashboard", "new", 1))
    cluster.calm()
    refused = client.got(Refused)[0]
    assert (refused.code, refused.text) == ("kind", "a program attaches as client or worker, not as 'dashboard'")


def test_a_question_whose_answer_was_lost_is_forgotten() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    other = next(name for name in "ab" if name != cluster.coordinator)
    client = cluster.client(other)
    cluster.drop_next(cluster.coordinator, other, Answer)
    client.send(Query(1, "status"))
    cluster.run(1)
    assert len(cluster[other].edge._questions) == 1
    cluster.run(QUESTION_TIMEOUT_S)
    assert cluster[other].edge._questions == {}
    client.send(Query(2, "status"))
    cluster.run(0.1)
    assert [answer.number for answer in client.got(Answer)] == [2]


def test_more_questions_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "QUESTIONS_MAX", 2)
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    other = next(name for name in "ab" if name != cluster.coordinator)
    client = cluster.client(other)
    cluster.hold(other, cluster.coordinator)
    for number in range(1, 4):
        client.send(Query(number, "status"))
    cluster.calm()
    assert [(answer.number, answer.error.partition(":")[0]) for answer in client.got(Answer)] == [(3, "busy")]
    cluster.release(other, cluster.coordinator)
    cluster.run(0.1)
    assert sorted(answer.number for answer in client.got(Answer) if not answer.error) == [1, 2]


@pytest.mark.parametrize("protocol", [0, PROTOCOL_VERSION + 1])
def test_another_protocol_version_is_refused_with_what_to_do(cluster: Cluster, client: Client, protocol: int) -> None:
    cluster.turn(cluster.nodes["a"], cluster["a"].on_session_closed, client.session)
    client.inbox.clear()
    client.send(Attach("client", "old", 1, protocol))
    cluster.calm()
    refused = client.inbox[0]
    assert refused.code == "protocol"
    assert f"speaks protocol {PROTOCOL_VERSION}, you speak {protocol}" in refused.text
    assert client.session not in cluster["a"].edge.sessions


def test_an_unknown_kind_of_program_is_refused(cluster: Cluster, client: Client) -> None:
    client.send(Attach("spy", "x", 1))
    cluster.calm()
    assert isinstance(client.inbox[-1], Refused)


def test_a_ping_is_answered(cluster: Cluster, client: Client) -> None:
    client.send(Ping())
    cluster.calm()
    assert client.inbox[-1] == Pong()


# -- what is accepted --------------------


def test_a_body_that_is_too_large_is_refused_as_a_whole_and_nothing_is_kept() -> None:
    cluster = Cluster("a", max_body_bytes=1024)
    client = cluster.client("a")
    confirm = answer_to(cluster, client, Message("t1", "q", "work", b""), Message("t2", "q", "work", bytes(1025)))
    assert confirm.copies == 0
    assert confirm.error.startswith("too-large: a body of 1025 bytes")
    assert "max_body_bytes = 1024" in confirm.error
    assert cluster.nodes["a"].live() == {}
    assert answer_to(cluster, client, Message("t1", "q", "work", bytes(1024))).copies == 1


@pytest.mark.parametrize(
    "message",
    [
        Message("", "q", "work", b""),
        Message("x" * (MAX_ID_CHARS + 1), "q", "work", b""),
        Message("t1", "", "work", b""),
        Message("t1", "q" * (NAME_CHARS_MAX + 1), "work", b""),
        Message("t1", "q", "w" * (NAME_CHARS_MAX + 1), b""),
    ],
    ids=["no id", "long id", "no queue", "long queue", "long task"],
)
def test_bad_names_are_refused(cluster: Cluster, client: Client, message: Message) -> None:
    confirm = answer_to(cluster, client, message)
    assert (confirm.copies, confirm.error.partition(":")[0]) == (0, "invalid")
    assert cluster.nodes["a"].live() == {}


def test_the_longest_names_are_accepted(cluster: Cluster, client: Client) -> None:
    confirm = answer_to(cluster, client, Message("x" * MAX_ID_CHARS, "q" * NAME_CHARS_MAX, "w" * NAME_CHARS_MAX, b""))
    assert confirm.error == ""


def test_over_max_accepted_bytes_publishers_are_told_that_it_is_busy_and_nothing_is_lost() -> None:
    cluster = Cluster("a", max_accepted_bytes=1 << 20)
    client = cluster.client("a")
    cluster.stall_disk("a")
    half = bytes(600_000)
    first, second = client.submit("t1", body=half), client.submit("t2", body=half)
    refused = client.confirm(second)
    assert refused is not None
    assert (refused.copies, refused.error.partition(":")[0]) == (0, "busy")
    cluster.resume_disk("a")
    cluster.run(0.1)
    assert client.copies(first) == 1
    assert cluster["a"].edge.gate.unconfirmed_bytes == 0
    assert client.copies(client.submit("t2", body=half)) == 1


def test_an_empty_submit_is_confirmed(cluster: Cluster, client: Client) -> None:
    client.send(Submit(7, []))
    cluster.run(0.1)
    assert client.copies(7) == 1


def test_i4_two_submits_in_one_turn_are_confirmed_one_by_one(cluster: Cluster, client: Client) -> None:
    client.send(Submit(1, [Message("t1", "q", "work", b"")]))
    client.send(Submit(2, [Message("t2", "q", "work", b"")]))
    cluster.calm()
    assert [confirm.number for confirm in client.got(Confirm)] == [1, 2]


def test_r6_safe_durability_says_after_the_deadline_that_copies_are_missing_and_keeps_the_message() -> None:
    cluster = Cluster("a", durability="safe")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.crash("b", vanish=True)
    client = cluster.client("a")
    client.send(Submit(1, [Message("t1", "q", "work", b"")], deadline_ms=3000))
    cluster.run(2.8)
    assert client.confirm(1) is None
    cluster.run(0.4)
    confirm = client.confirm(1)
    assert confirm is not None
    assert confirm.error.startswith("not-enough-copies")
    assert cluster.nodes["a"].on_disk() == {"message:t1"}
    cluster.run(20)
    assert len(client.got(Confirm)) == 1


def test_r6_safe_durability_confirms_when_the_copies_exist() -> None:
    cluster = Cluster("a", durability="safe")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.crash("b", vanish=True)
    client = cluster.client("a")
    client.send(Submit(1, [Message("t1", "q", "work", b"")], deadline_ms=30_000))
    cluster.run(5)
    cluster.start("b")
    cluster.until(lambda: client.copies(1) == 2, 3.0)


# -- workers --------------------


def test_only_a_worker_can_offer(cluster: Cluster, client: Client) -> None:
    client.send(Offer("w", "w", ["q"], ["work"], 1, 1, []))
    client.submit("t1")
    assert cluster["a"].broker.workers == {}


def test_a_worker_can_speak_only_for_itself(cluster: Cluster, client: Client) -> None:
    victim, other = cluster.worker("a"), cluster.worker("a", queues=["r"])
    client.submit("t1")
    other.send(Outcomes(victim.name, 9, [Outcome("t1", body=b"forged")]))
    cluster.run(0.1)
    assert client.results() == {}


@pytest.mark.parametrize(("kind", "setting"), [("client", "session_timeout_s"), ("worker", "worker_timeout_s")])
def test_a_silent_program_is_forgotten_after_its_timeout(cluster: Cluster, kind: str, setting: str) -> None:
    program = getattr(cluster, kind)("a")
    cluster.run(30)
    assert program.session in cluster["a"].edge.sessions
    program.silent = True
    waited_s = cluster.until(lambda: program.session not in cluster["a"].edge.sessions, 12.0)
    limit_s = getattr(cluster.settings, setting)
    assert limit_s - 0.5 <= waited_s <= limit_s + 0.1


def test_a_program_that_detaches_is_forgotten_at_once(cluster: Cluster) -> None:
    worker: Worker = cluster.worker("a")
    worker.detach()
    assert cluster["a"].edge.sessions == {}
    assert cluster["a"].broker.workers == {}


def test_waits_of_a_session_that_is_gone_are_forgotten(cluster: Cluster) -> None:
    gone, stays = cluster.client("a"), cluster.client("a")
    gone.watch(*(f"t{number}" for number in range(2_000)))
    stays.watch("t0", "t1", "mine")
    gone.detach()
    cluster.run(0.1)
    assert set(cluster["a"].edge.waiting.ids()) == {"t0", "t1", "mine"}


def test_programs_are_told_of_another_coordinator_and_that_their_node_leaves() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    client, left = cluster.client("c"), cluster.client("a")
    cluster.leave("a")
    cluster.until(cluster.agreed)
    assert NewCoordinator("b", 2) in client.got(NewCoordinator)
    assert left.got(Leaving) == [Leaving()]


# -- questions --------------------


def test_a_question_is_answered_by_the_coordinator_under_the_askers_number() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    clients = [cluster.client("b"), cluster.client("b")]
    for client in clients:
        client.send(Query(7, "status"))
    cluster.calm()
    assert [[answer.number for answer in client.got(Answer)] for client in clients] == [[7], [7]]
    assert cluster.messages(Query, "b", "a")


def test_without_a_coordinator_the_node_answers_what_it_knows() -> None:
    cluster = Cluster("a")
    cluster.start("b", never_coordinate=True)
    cluster.until(cluster.agreed)
    cluster.crash("a", vanish=True)
    cluster.run(2)
    client = cluster.client("b")
    client.send(Query(1, "status"))
    cluster.calm()
    assert b'"coordinator":null' in client.got(Answer)[0].body
