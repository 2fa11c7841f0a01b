"""Publishing, waiting and asking over one connection, from any thread, across nodes that come and go."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mesh.client.client import Client
from mesh.client.shared import release, shared_client
from mesh.config import Settings
from mesh.errors import (
    BodyTooLarge,
    MeshBusy,
    MeshError,
    MeshNotFound,
    NotAccepted,
    NotAllowed,
    PublishUnknown,
)
from mesh.wire.entries import Status
from mesh.wire.messages import Confirm, Refused, Submit
from tests.polling import poll_until
from tests.unit.client.conftest import MakeClient
from tests.unit.client.fake_node import success
from tests.unit.client.places import QUICK, Place, message, soon

# -- confirms --------------------


def test_a_publish_returns_the_copies_of_its_confirm(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.confirm = lambda submit: Confirm(submit.number, copies=3)
    assert make_client().submit([message()], soon()).copies == 3


def test_what_was_handed_over_while_the_last_was_sent_is_one_submit(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=10)
    with ThreadPoolExecutor(20) as pool:
        done = [pool.submit(client.submit, [message()], soon()) for _ in range(20)]
        poll_until(lambda: len(client._outbox._inbox) == 20, 5, "all are handed over")
        node = place.node()
        assert all(one.result().copies == 2 for one in done)
    assert [len(submitted) for submitted in node.submits] == [20]


def test_a_submit_has_at_most_a_thousand_messages(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    sent = [message() for _ in range(2500)]
    make_client().submit(sent, soon())
    assert [len(submitted) for submitted in node.submits] == [1000, 1000, 500]
    assert [id for submitted in node.submits for id in submitted] == [one.id for one in sent]


def test_a_submit_is_at_most_half_a_frame(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    sizes: list[int] = []

    def confirm(submit: Submit) -> Confirm:
        sizes.append(sum(len(one.body) for one in submit.messages))
        return Confirm(submit.number, 2)

    node.confirm = confirm
    make_client(max_frame_bytes=1 << 16).submit([message(body=bytes(10_000)) for _ in range(20)], soon())
    assert sum(sizes) == 200_000
    assert max(sizes) <= 1 << 15


def test_no_more_than_the_window_is_sent_unconfirmed(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.confirm = lambda submit: None
    with pytest.raises(PublishUnknown):
        make_client(link_window_bytes=1 << 16).submit([message(body=bytes(1 << 14)) for _ in range(5000)], soon(0.4))
    assert len(node.submits) == 1


def test_sixteen_threads_publish_at_once(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()

    def publish(_: int) -> int:
        return sum(client.submit([message()], soon(30)).copies for _ in range(50))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(publish, range(16))) == [100] * 16
    assert len(node.messages) == 800


# -- nodes that go --------------------


def test_a_node_killed_before_its_confirm_gets_the_same_ids_again(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.confirm = lambda submit: None
    sent = [message(), message()]
    with ThreadPoolExecutor(1) as pool:
        confirmed = pool.submit(make_client().submit, sent, soon())
        poll_until(lambda: node.submits, 5, "the first try came in")
        node.stop()
        node.confirm = lambda submit: Confirm(submit.number, 2)
        node.start()
        assert confirmed.result().copies == 2
    assert node.submits == [[one.id for one in sent]] * 2


def test_results_that_came_with_the_lost_confirm_are_asked_for(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    sent = message()
    [pending] = client.expect([sent.id])
    node.confirm = lambda submit: None
    with ThreadPoolExecutor(1) as pool:
        confirmed = pool.submit(client.submit, [sent], soon())
        poll_until(lambda: node.submits, 5, "the first try came in")
        node.stop()
        node.confirm = lambda submit: Confirm(submit.number, 2)
        node.start()
        confirmed.result()
    poll_until(lambda: node.watched == [[sent.id]], 5, "the result is watched")
    node.finish(success(sent.id, 1))
    assert client.wait(pending, soon())


def test_at_the_deadline_a_publish_that_was_sent_is_unknown(place: Place, make_client: MakeClient) -> None:
    place.node().confirm = lambda submit: None
    sent = message()
    with pytest.raises(PublishUnknown, match=f"task {sent.id} may or may not run"):
        make_client().submit([sent], soon(0.3))


def test_a_part_that_was_accepted_makes_the_whole_unknown(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.confirm = lambda submit: Confirm(submit.number, 2) if len(submit.messages) == 1000 else None
    with pytest.raises(PublishUnknown, match="500 of 1500 tasks may or may not run"):
        make_client().submit([message() for _ in range(1500)], soon(0.5))


def test_without_a_node_a_publish_fails_when_the_search_does(place: Place, make_client: MakeClient) -> None:
    begun = time.monotonic()
    with pytest.raises(MeshNotFound, match="mesh up"):
        make_client(discovery_timeout_s=0.3).submit([message()], soon(10))
    assert 0.25 < time.monotonic() - begun < 3


def test_a_deadline_before_the_end_of_the_search_is_no_unknown(place: Place, make_client: MakeClient) -> None:
    with pytest.raises(MeshNotFound):
        make_client(discovery_timeout_s=30).submit([message()], soon(0.2))


def test_after_a_failed_search_the_next_publish_looks_again(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=0.3)
    with pytest.raises(MeshNotFound):
        client.submit([message()], soon())
    place.node()
    assert client.submit([message()], soon()).copies == 2


def test_a_publish_given_up_is_not_sent_later(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=30)
    late = message()
    with pytest.raises(MeshNotFound):
        client.submit([late], soon(0.1))
    node, sent = place.node(), message()
    client.submit([sent], soon())
    assert node.submits == [[sent.id]]


def test_a_refused_program_is_told_so(place: Place, make_client: MakeClient) -> None:
    place.node().refusal = Refused("not-allowed", "revoked")
    with pytest.raises(NotAllowed, match="revoked"):
        make_client().submit([message()], soon())


# -- refusals --------------------


def test_a_busy_node_is_asked_again_until_it_has_room(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    answers = iter(["busy: full", "busy: full", ""])
    node.confirm = lambda submit: Confirm(submit.number, 2, next(answers))
    assert make_client().submit([message()], soon()).copies == 2
    assert len(node.submits) == 3


def test_a_node_that_stays_busy_is_busy_at_the_deadline(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.confirm = lambda submit: Confirm(submit.number, 0, "busy: full")
    with pytest.raises(MeshBusy, match="not accepted"):
        make_client().submit([message()], soon(0.3))


def test_one_callers_bad_message_does_not_fail_the_others(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=10)
    bad = message(body=b"bad")
    with ThreadPoolExecutor(5) as pool:
        good = [pool.submit(client.submit, [message()], soon()) for _ in range(4)]
        poor = pool.submit(client.submit, [bad], soon())
        poll_until(lambda: len(client._outbox._inbox) == 5, 5, "all are handed over")
        node = place.node()

        def confirm(submit: Submit) -> Confirm:
            return Confirm(submit.number, 2, "invalid: no" if any(one.body == b"bad" for one in submit.messages) else "")

        node.confirm = confirm
        with pytest.raises(NotAccepted, match="invalid: no"):
            poor.result()
        assert [one.result().copies for one in good] == [2] * 4


def test_a_body_over_the_nodes_limit_is_too_large(place: Place, make_client: MakeClient) -> None:
    place.node().confirm = lambda submit: Confirm(submit.number, 0, "too-large: a body of 9 bytes; the limit is max_body_bytes = 5")
    with pytest.raises(BodyTooLarge, match="max_body_bytes"):
        make_client().submit([message()], soon())


def test_a_queue_without_a_consumer_is_a_warning_once(place: Place, make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    node, client = place.node(), make_client()
    node.confirm = lambda submit: Confirm(submit.number, 2, "", ["laptop_task"])
    with caplog.at_level(logging.WARNING, logger="mesh"):
        client.submit([message()], soon())
        client.submit([message()], soon())
    [record] = caplog.records
    assert record.name == "mesh"
    assert "laptop_task" in record.message
    assert "mesh worker" in record.message


def test_a_warning_that_a_confirm_could_not_have_yet_comes_later(
    place: Place, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    node, client = place.node(), make_client()
    client.submit([message()], soon())
    with caplog.at_level(logging.WARNING, logger="mesh"):
        node.tell_all(Confirm(0, 0, "", ["laptop_task"]))
        poll_until(lambda: caplog.records, 5, "the warning is logged")
    assert "laptop_task" in caplog.records[0].message
    assert client.submit([message()], soon()).copies == 2


# -- results --------------------


def test_a_result_wakes_all_who_wait(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    pending = client.watch("t1")
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(client.wait, pending, soon()) for _ in range(3)]
        poll_until(lambda: len(pending.waiters or ()) == 3 and node.watched, 5, "all wait")
        node.finish(success("t1", 4))
        assert all(one.result() for one in waits)
    assert client.wait(pending, soon(0))


def test_a_wait_ends_at_its_deadline_and_leaves_nothing_behind(place: Place, make_client: MakeClient) -> None:
    place.node()
    client = make_client()
    pending = client.watch("t1")
    assert client.wait(pending, soon(0.05)) is False
    assert not pending.waiters


def test_the_node_says_pending_of_what_it_knows_and_unknown_of_what_it_does_not(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    node.messages["t1"] = message("t1")
    known, unknown = client.watch("t1"), client.watch("t2")
    client.ask(known, soon())
    client.ask(unknown, soon())
    assert (known.status, unknown.status) == (Status.PENDING, Status.UNKNOWN)


def test_outstanding_results_are_watched_again_after_a_restart(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    mine, others = message(), "of-another-process"
    pending = [*client.expect([mine.id]), client.watch(others)]
    client.submit([mine], soon())
    poll_until(lambda: node.watched, 5, "the foreign one is watched")
    node.stop()
    node.watched.clear()
    node.start()
    poll_until(lambda: {id for ids in node.watched for id in ids} == {mine.id, others}, 5, "both are watched again")
    node.finish(success(others, 1))
    node.finish(success(mine.id, 1))
    assert all(client.wait(one, soon()) for one in pending)


def test_a_new_coordinator_is_asked_again(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    pending = client.watch("t1")
    poll_until(lambda: node.watched, 5, "watched once")
    node.reign()
    poll_until(lambda: node.watched == [["t1"], ["t1"]], 5, "watched again")
    assert pending.result is None


def test_results_are_kept_only_while_somebody_holds_them(place: Place, make_client: MakeClient) -> None:
    place.node()
    client = make_client()
    held = client.expect([f"t{n}" for n in range(100)])
    assert len(client._pending) == 100
    del held[10:]
    gc.collect()
    assert len(client._pending) == 10
    assert client.expect(["t3"]) == [held[3]]


def test_waiting_for_a_result_without_any_mesh_raises(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=0.2)
    with pytest.raises(MeshNotFound):
        client.wait(client.watch("t1"), None)


# -- questions and the end --------------------


def test_questions_are_answered_with_json(place: Place, make_client: MakeClient) -> None:
    place.node()
    client = make_client()
    assert json.loads(client.query("status", "", soon())) == {"asked": "status"}
    with pytest.raises(MeshError, match="no such question: weather"):
        client.query("weather", "", soon())


def test_a_question_without_a_mesh_raises(place: Place, make_client: MakeClient) -> None:
    with pytest.raises(MeshNotFound):
        make_client(discovery_timeout_s=0.2).query("status", "", soon())


def test_the_greeting_names_the_node(place: Place, make_client: MakeClient) -> None:
    place.node(max_body_bytes=4096)
    client = make_client()
    greeting = client.greeting(soon())
    assert (greeting.node, greeting.max_body_bytes) == ("server", 4096)


def test_close_says_goodbye_and_ends_every_wait(place: Place, make_client: MakeClient) -> None:
    node, client = place.node(), make_client()
    pending = client.watch("t1")
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(client.wait, pending, None)
        node.confirm = lambda submit: None
        publishes = pool.submit(client.submit, [message()], soon(30))
        poll_until(lambda: pending.waiters and node.submits, 5, "both wait")
        client.close()
        with pytest.raises(MeshError, match="closed"):
            waits.result()
        with pytest.raises(PublishUnknown, match="closed"):
            publishes.result()
    poll_until(lambda: node.detached == 1, 5, "the node heard the goodbye")
    for call in (lambda: client.submit([message()], soon()), lambda: client.watch("t2"), lambda: client.query("status", "", soon())):
        with pytest.raises(MeshError, match="closed"):
            call()


def test_a_client_with_nothing_to_do_does_not_look_for_a_mesh(place: Place, make_client: MakeClient) -> None:
    client = make_client()
    assert client._link.searching is False
    assert threading.active_count() < 20


def test_users_of_the_same_place_share_a_connection_until_the_last_one_leaves(place: Place) -> None:
    def make() -> Client:
        return Client(place.finder(), "test", Settings(**QUICK))

    one, two = shared_client(("k",), make), shared_client(("k",), make)
    assert one is two
    release(("k",), one)
    assert two.usable
    release(("k",), two)
    assert not two.usable
    three = shared_client(("k",), make)
    assert three is not two
    release(("k",), three)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_a_connection_of_its_own(place: Place) -> None:
    node = place.node()

    def make() -> Client:
        return Client(place.finder(), "test", Settings(**QUICK))

    client = shared_client(("k",), make)
    client.submit([message()], soon())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = shared_client(("k",), make)
            code = 0 if mine is not client and not client.usable and mine.submit([message()], soon()).copies == 2 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert client.submit([message()], soon()).copies == 2
    assert len({attach.pid for attach in node.attaches}) == 2
    release(("k",), client)
