"""From calls to messages, and the order in which those of a workflow are submitted."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from mesh import Mesh, PublishUnknown, UsageError, request
from mesh.call_options import EVER_S, publish_time_s
from mesh.request import Context
from mesh.task import Task
from mesh.wire.bodies import decode_call
from mesh.wire.calls import Call, Flow
from mesh.wire.working import Delivery
from tests.unit.client.fake_node import add
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp
from tests.unit.library.test_tasks import plus


def test_the_message_of_a_call_is_made_without_sending_it(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    task = app.task(queue="sums")(plus)
    message = app.message_of(task.s(1, 2), id="step", flow=Flow(after="first", takes_value=False))
    assert (message.id, message.task, message.queue, message.flow) == ("step", task.name, "sums", Flow(after="first", takes_value=False))
    assert decode_call(message.body) == ((1, 2), {})
    assert node.submits == []


def test_arguments_are_checked_when_no_value_is_to_come(place: Place, make_app: MakeApp) -> None:
    app = make_app()
    task = app.task(plus)
    app.message_of(task.s(), flow=Flow(after="first"))
    for flow in (None, Flow(into="all"), Flow(after="first", takes_value=False)):
        with pytest.raises(TypeError, match="missing a required argument"):
            app.message_of(task.s(), flow=flow)


def test_what_waits_is_submitted_before_what_may_run(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    task = app.task(plus)
    flows = {"1": Flow(), "2": Flow(after="1"), "3": Flow(gathers=2), "4": Flow(into="3"), "5": Flow(after="3")}
    results = app.submit_messages([app.message_of(task.s(1, 2), id=id, flow=flow) for id, flow in flows.items()], ["5", "1"])
    assert [result.id for result in results] == ["5", "1"]
    assert list(node.messages) == ["2", "3", "5", "1", "4"]


# -- options --------------------


def call_of(app: Mesh, **options: Any) -> Call | None:
    return app.message_of(app.task(name="t")(plus).signature((1,), **options)).call


def test_a_call_without_options_of_a_task_without_options_says_nothing(make_app: MakeApp, place: Place) -> None:
    message = make_app().message_of(make_app().task(plus).s(1))
    assert (message.call, message.flow, message.properties) == (None, None, None)


def test_the_way_in_which_a_task_shall_run_is_in_its_message(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    assert call_of(app, soft_time_limit=1.5, time_limit=2) == Call(soft_limit_ms=1500, hard_limit_ms=2000)
    assert call_of(app, ignore_result=True, track_started=True) == Call(ignore_result=True, track_started=True)
    assert call_of(app, acks_late=False) == call_of(app, acks_early=True) == Call(acks_early=True)
    assert call_of(app, acks_late=True) == Call(acks_early=False)
    assert call_of(app, shadow="sum", stamps={"customer": "9"}) == Call(shadow="sum", stamps={"customer": "9"})
    assert call_of(app, connection=object(), producer=None, compression="gzip") is None


def test_what_a_task_says_holds_unless_the_call_says_otherwise(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    task = app.task(time_limit=9, ignore_result=True, expires=60, serializer="json", max_deliveries=4)(plus)
    own, call = app.message_of(task.s(1)), app.message_of(task.signature((1,), time_limit=3, ignore_result=False, serializer="msgpack"))
    assert own.call == Call(hard_limit_ms=9000, ignore_result=True)
    assert call.call == Call(hard_limit_ms=3000)
    assert (own.body[:1], call.body[:1]) == (b"\x01", b"\x00")
    for message in (own, call):
        assert message.max_deliveries == 4
        assert message.properties is not None
        assert 50_000 < message.properties.expires_ms - time.time() * 1000 < 61_000


def test_a_datetime_without_a_zone_is_one_of_the_applications(make_app: MakeApp, place: Place) -> None:
    app, moment = make_app(), datetime(2030, 1, 1, 12)
    task = app.task(plus)

    def eta(**options: Any) -> datetime:
        return datetime.fromtimestamp(app.message_of(task.signature((1,), **options)).eta_ms / 1000, UTC)

    noon = moment.replace(tzinfo=UTC)
    assert eta(eta=moment) == eta(eta="2030-01-01T12:00:00") == noon
    assert eta(eta=moment.replace(tzinfo=timezone(timedelta(hours=3)))) == noon - timedelta(hours=3)
    app.conf.timezone = "Asia/Tokyo"
    assert eta(eta=moment) == noon - timedelta(hours=9)
    message = app.message_of(task.signature((1,), expires=moment))
    assert message.properties is not None
    assert message.properties.expires_ms == (noon - timedelta(hours=9)).timestamp() * 1000
    del app.conf["timezone"]
    app.conf.enable_utc = False
    assert eta(eta=moment) == moment.astimezone(UTC)


def test_one_key_of_a_task_is_one_id(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    one, other = app.task(name="one")(plus), app.task(name="other")(plus)

    def id_of(task: Task[..., Any], key: str) -> str:
        return app.message_of(task.signature((1,), idempotency_key=key)).id

    assert id_of(one, "order-7") == id_of(one, "order-7")
    assert len({id_of(one, "order-7"), id_of(one, "order-8"), id_of(other, "order-7")}) == 3
    assert UUID(id_of(one, "order-7")).version == 8


def test_the_key_of_a_unique_call_is_given_or_made_of_the_arguments(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    task = app.task(name="t", unique=True)(plus)

    def key(*args: Any, **kwargs: Any) -> str:
        call = app.message_of(task.s(*args, **kwargs)).call
        assert call is not None
        return call.unique

    assert key(1, 2) == key(1, y=2) == key(y=2, x=1) == key(1, 2, z=0)
    assert len({key(1, 2), key(2, 1), key(1)}) == 3
    assert key(1).startswith("t:")
    call = app.message_of(task.signature((1,), unique="nightly", unique_for=2.5)).call
    assert call == Call(unique="t:nightly", unique_ms=2500)
    assert app.message_of(task.signature((1,), unique=False)).call is None


def test_typing_false_leaves_the_arguments_unchecked(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    task = app.task(typing=False)(plus)
    assert decode_call(app.message_of(task.s(1, 2, 3, 4)).body) == ((1, 2, 3, 4), {})


@pytest.mark.parametrize(
    ("options", "time_s"),
    [
        ({}, 10),
        ({"retry": True}, 10),
        ({"retry": False}, 1),
        ({"retry_policy": {"timeout": 3}}, 3),
        ({"retry_policy": {}}, 4 + 0.0 + 0.2 + 0.2),
        ({"retry_policy": {"max_retries": 2, "interval_start": 1, "interval_step": 2, "interval_max": 2}}, 3 + 1 + 2),
        ({"retry_policy": {"max_retries": None}}, EVER_S),
    ],
)
def test_a_policy_for_publishing_says_how_long_it_may_take(options: dict[str, Any], time_s: float) -> None:
    assert publish_time_s(options, 10) == pytest.approx(time_s)


def test_without_retry_a_publish_ends_after_one_try(place: Place, make_app: MakeApp) -> None:
    place.node().confirm = lambda submit: None
    task, began_s = make_app().task(plus), time.monotonic()
    with pytest.raises(PublishUnknown):
        task.apply_async((1,), retry=False)
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"default_retry_delay": -1},
        {"autoretry_for": [int]},
        {"retry_backoff": "2"},
        {"rate_limit": "10/d"},
        {"rate_limit": -1},
        {"retry_jitter": 1},
        {"time_limit": 0},
    ],
)
def test_an_option_of_a_task_out_of_range_is_refused_at_the_decorator(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Mesh("tasks").task(**options)


# -- calls of tasks --------------------


def test_what_a_task_submits_is_its_child_and_of_its_tree(make_app: MakeApp, place: Place) -> None:
    node, app = place.node(add), make_app()
    task = app.task(plus)
    context = Context(Delivery("parent", "outer", b"", 1, "default", call=Call(root="first")))
    token = request.enter(context)
    try:
        one, two = task.delay(1), task.apply_async((2,), shadow="two")
    finally:
        request.leave(token)
    other = task.delay(3)
    assert context.children == [one.id, two.id]
    assert node.messages[one.id].call == Call(root="first", parent="parent")
    assert node.messages[two.id].call == Call(root="first", parent="parent", shadow="two")
    assert node.messages[other.id].call is None
