"""From calls to messages, and the order in which those of a workflow are submitted."""

from __future__ import annotations

import pytest

from mesh.wire.bodies import decode_call
from mesh.wire.calls import Flow
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
