"""Task routing: the seeds' examples, Celery's forms and precedence, and what is refused."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from mesh import Binding, Exchange, InvalidSetting, Mesh, Queue, UsageError
from mesh.routes import Router, Way
from mesh.wire.topology import Properties
from tests.unit.library.conftest import MakeApp, Place


def way(app: Mesh, task: str, own: dict[str, Any] | None = None, call: dict[str, Any] | None = None) -> Way:
    return Router(app.conf).way(task, own or {}, call or {}, (), {})


def place_of(app: Mesh, task: str, own: dict[str, Any] | None = None, call: dict[str, Any] | None = None) -> tuple[str, str, str]:
    """(queue, exchange, routing key)"""
    queue, properties = way(app, task, own, call)
    return (queue, "", "") if properties is None else (queue, properties.exchange, properties.routing_key)


@pytest.fixture
def app() -> Mesh:
    return Mesh("tasks")


# -- automatic routing --------------------


def test_a_route_by_name_sends_one_task_and_all_others_go_to_default(app: Mesh) -> None:
    app.conf.task_routes = {"proj.tasks.add": {"queue": "hipri"}}
    assert way(app, "proj.tasks.add") == Way("hipri", None)
    assert way(app, "proj.tasks.mul") == Way("default", None)


def test_a_glob_routes_all_that_match(app: Mesh) -> None:
    app.conf.task_routes = {"proj.tasks.*": {"queue": "hipri"}}
    assert [place_of(app, name)[0] for name in ("proj.tasks.add", "proj.other")] == ["hipri", "default"]


def test_a_route_may_be_a_queues_name_alone(app: Mesh) -> None:
    app.conf.task_routes = {"proj.add": "hipri"}
    assert place_of(app, "proj.add")[0] == "hipri"


def test_pairs_are_asked_in_order_and_the_first_match_wins(app: Mesh) -> None:
    pairs = [("feed.tasks.*", "feeds"), (re.compile(r"(video|image)\.tasks\..*"), {"queue": "media"}), ("*", "rest"), ("feed.tasks.x", "x")]
    for form in (pairs, (pairs,), tuple(pairs)):
        app.conf.task_routes = form
        names = ("feed.tasks.x", "image.tasks.scale", "my.image.tasks.scale")
        assert [place_of(app, name)[0] for name in names] == ["feeds", "media", "rest"]


def test_in_a_dict_a_name_that_is_written_out_goes_before_patterns(app: Mesh) -> None:
    app.conf.task_routes = {"proj.*": "all", "proj.add": "one"}
    assert [place_of(app, name)[0] for name in ("proj.add", "proj.mul")] == ["one", "all"]


def test_a_function_routes_by_what_the_call_says_or_passes(app: Mesh) -> None:
    def by_size(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **more: Any) -> Any:
        return {"queue": "large"} if len(args) > 1 else None

    app.conf.task_routes = [by_size, {"t": "small"}]
    router = Router(app.conf)
    assert router.way("t", {}, {}, (1, 2), {}).queue == "large"
    assert router.way("t", {}, {}, (1,), {}).queue == "small"


def test_a_change_of_conf_counts_for_the_next_call(app: Mesh) -> None:
    router = Router(app.conf)
    assert router.way("t", {}, {}, (), {}).queue == "default"
    app.conf.task_default_queue = "other"
    assert router.way("t", {}, {}, (), {}).queue == "other"


# -- manual routing --------------------


@pytest.fixture
def manual(app: Mesh) -> Mesh:
    app.conf.task_default_queue = "default"
    app.conf.task_queues = (Queue("default", routing_key="task.#"), Queue("feed_tasks", routing_key="feed.#"))
    app.conf.task_default_exchange = "tasks"
    app.conf.task_default_exchange_type = "topic"
    app.conf.task_default_routing_key = "task.default"
    return app


def test_task_and_feed_patterns_are_declared_on_one_topic_exchange(manual: Mesh) -> None:
    bound = [change for change in manual.conf.topology if change["do"] == "bind"]
    assert [(change["source"], change["destination"], change["routing_key"]) for change in bound] == [
        ("tasks", "default", "task.#"),
        ("tasks", "feed_tasks", "feed.#"),
    ]
    declared = [change for change in manual.conf.topology if change["do"] == "declare-exchange"]
    assert [(change["name"], change["type"]) for change in declared] == [("tasks", "topic")]


def test_a_task_without_a_route_goes_by_the_default_key(manual: Mesh) -> None:
    assert place_of(manual, "any.task") == ("", "tasks", "task.default")


def test_a_route_with_queue_and_routing_key_goes_through_the_queues_topic_exchange(manual: Mesh) -> None:
    manual.conf.task_routes = {"feeds.tasks.import_feed": {"queue": "feed_tasks", "routing_key": "feed.import"}}
    assert place_of(manual, "feeds.tasks.import_feed") == ("", "tasks", "feed.import")


def test_server_and_laptop_are_reached_by_their_keys(app: Mesh) -> None:
    app.conf.update(
        task_default_queue="server",
        task_queues={"server": {"binding_key": "server_task"}, "laptop": {"binding_key": "laptop_task"}},
        task_default_exchange="tasks",
        task_default_exchange_type="direct",
        task_default_routing_key="server_task",
    )
    assert place_of(app, "MyTest") == ("", "tasks", "server_task")
    assert place_of(app, "MyTest", call={"routing_key": "laptop_task"}) == ("", "tasks", "laptop_task")
    assert app.conf.worker_queues == ["server", "laptop"]


def test_queue_settings_are_taken_as_a_dict_as_written(app: Mesh) -> None:
    app.conf.task_queues = {"add": {"exchange": "add", "exchange_type": "direct", "routing_key": "add"}}
    queue = app.conf.queues["add"]
    assert (queue.exchange, queue.routing_key) == (Exchange("add", "direct"), "add")


def test_max_priority_is_the_queues_own_or_the_applications(app: Mesh) -> None:
    app.conf.task_queues = [
        Queue("tasks", Exchange("tasks"), routing_key="tasks", queue_arguments={"x-max-priority": 10}),
        Queue("others"),
    ]
    app.conf.task_queue_max_priority = 5
    declared = {change["name"]: change for change in app.conf.topology if change["do"] == "declare-queue"}
    assert {name: change["max_priority"] for name, change in declared.items()} == {"tasks": 10, "others": 5}


def test_a_queue_that_says_nothing_is_reached_by_its_name_alone(app: Mesh) -> None:
    app.conf.task_queues = [Queue("a"), "b"]
    assert [change["do"] for change in app.conf.topology] == ["declare-queue"] * 2
    assert app.conf.default_exchange is None


def test_with_a_default_exchange_queues_without_a_key_are_bound_by_their_names(app: Mesh) -> None:
    app.conf.update(task_queues=[Queue("a"), Queue("default")], task_default_exchange="tasks", task_default_routing_key="key")
    assert [(queue.name, queue.routing_key) for queue in app.conf.queues.values()] == [("a", "a"), ("default", "key")]


def test_a_routing_key_alone_is_a_queues_name_without_an_exchange(app: Mesh) -> None:
    assert place_of(app, "t", call={"routing_key": "emails"}) == ("emails", "", "")


def seconds_for(bindings: int) -> float:
    """Of this process's CPU, to make a topology of so many bindings."""
    app = Mesh("many")
    app.conf.task_queues = [Queue("q", bindings=[Binding(exchange="amq.topic", routing_key=f"user.{n}") for n in range(bindings)])]
    began = time.process_time()
    assert len(app.conf.topology) == bindings + 1
    return time.process_time() - began


def test_what_a_topology_costs_grows_with_its_bindings_and_no_faster() -> None:
    few = min(seconds_for(500) for _ in range(3))
    assert min(seconds_for(5_000) for _ in range(3)) < 30 * few


def test_an_exchange_whose_type_a_route_says_is_declared(app: Mesh) -> None:
    app.conf.task_routes = {"t": {"exchange": "media", "exchange_type": "topic", "routing_key": "video.compress"}}
    assert place_of(app, "t") == ("", "media", "video.compress")
    assert [(change["name"], change["type"]) for change in app.conf.topology] == [("media", "topic")]


# -- precedence --------------------


def test_the_call_goes_before_the_task_the_task_before_routes_routes_before_defaults(app: Mesh) -> None:
    app.conf.task_routes = {"t": "by route"}
    assert place_of(app, "t")[0] == "by route"
    assert place_of(app, "t", {"queue": "by task"})[0] == "by task"
    assert place_of(app, "t", {"queue": "by task"}, {"queue": "by call"})[0] == "by call"


def test_a_queue_at_the_call_is_not_mixed_with_the_exchange_of_a_route(app: Mesh) -> None:
    app.conf.task_routes = {"t": {"exchange": "media", "routing_key": "video"}}
    assert way(app, "t", call={"queue": "q"}) == Way("q", None)


def test_a_routing_key_at_the_call_joins_the_exchange_of_the_task(app: Mesh) -> None:
    assert place_of(app, "t", {"exchange": "media", "routing_key": "video"}, {"routing_key": "image"}) == ("", "media", "image")


def test_priority_and_place_are_taken_from_the_first_level_that_has_them(app: Mesh) -> None:
    app.conf.task_routes = {"t": {"queue": "q", "priority": 1, "node": "n1"}}
    app.conf.task_default_priority = 3
    assert way(app, "t").properties == Properties(priority=1, target="node:n1", mandatory=True)
    assert way(app, "t", {"priority": 2}, {"worker": "w"}).properties == Properties(priority=2, target="worker:w", mandatory=True)
    assert way(app, "t", {}, {"affinity": "any", "priority": 0}) == Way("q", None)
    assert way(app, "other").properties == Properties(priority=3, mandatory=True)


# -- what travels --------------------


def test_what_goes_to_a_queue_by_its_name_carries_no_properties(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    message = node.messages[app.send_task("t", queue="q").id]
    assert (message.queue, message.properties) == ("q", None)


def test_what_is_published_to_an_exchange_carries_key_headers_and_priority(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()

    @app.task(exchange="media", priority=4)
    def scale(width: int) -> None: ...

    sent = scale.apply_async((1,), routing_key="image", headers={"format": "png"})
    message = node.messages[sent.id]
    assert message.queue == ""
    assert message.properties == Properties("media", "image", {"format": "png"}, 4, mandatory=True)


def test_local_affinity_is_for_the_node_that_we_are_attached_to(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    message = node.messages[app.send_task("t", affinity="local").id]
    assert message.properties is not None
    assert (message.queue, message.properties.target) == ("default", "near:nodeid")


def test_the_topology_is_told_once_before_the_first_publish(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    asked: list[tuple[str, Any]] = []

    def answer(what: str, argument: str) -> tuple[object, str]:
        asked.append((what, json.loads(argument)))
        assert node.submits == []
        return [], ""

    node.answer = answer
    app.conf.task_queues = [Queue("a", max_length=5)]
    for _ in range(2):
        app.send_task("t", queue="a")
    assert asked == [("topology-change", {"changes": app.conf.topology})]


def test_a_queue_that_is_declared_otherwise_is_an_error_of_the_publish(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    node.answer = lambda what, argument: (None, "declared-otherwise: the queue 'a' is declared with max_length = 1, not 5")
    app.conf.task_queues = [Queue("a", max_length=5)]
    with pytest.raises(UsageError, match="max_length = 1, not 5"):
        app.send_task("t", queue="a")
    assert node.submits == []


def test_without_a_coordinator_nodes_route_by_what_they_know(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    node.answer = lambda what, argument: (None, "no-coordinator: none")
    app.conf.task_queues = [Queue("a")]
    assert app.send_task("t", queue="a").copies == 2


# -- bad input --------------------


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("task_route", {}, "did you mean 'task_routes'"),
        ("task_default_queue", "", "1 to 255 characters"),
        ("task_default_exchange_type", "topics", "direct, topic, fanout, headers"),
        ("task_create_missing_queues", 1, "True or False"),
        ("task_queue_max_priority", 256, "0 to 255"),
        ("task_routes", "q", "dicts, pairs"),
        ("task_routes", {"t": {"que": "q"}}, "did you mean 'queue'"),
        ("task_routes", {"t": 3}, "a route is a queue's name or a dict"),
        ("task_routes", {"t": {"priority": 300}}, "priority must be a whole number from 0 to 255"),
        ("task_routes", {3: "q"}, "names, globs"),
        ("task_queues", "q", "a list of Queue objects"),
        ("task_queues", [3], "from mesh import Queue"),
        ("task_queues", ["a", "a"], "two queues named 'a'"),
        ("task_queues", {"a": {"max_prio": 3}}, "did you mean 'max_priority'"),
        ("task_queues", {"a": {"max_priority": 300}}, "max_priority"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused_and_nothing_changes(app: Mesh, name: str, value: Any, text: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(text)):
        app.conf.update({"task_default_queue": "changed", name: value})
    assert app.conf.changed == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"priority": 256}, "priority must be a whole number from 0 to 255, not 256"),
        ({"priority": "high"}, "priority"),
        ({"headers": {"a": [1]}}, "the header 'a' must be"),
        ({"affinity": "near"}, "affinity is one of local, any"),
        ({"node": "n", "worker": "w"}, "node and worker can't go together"),
        ({"queue": "lost+found"}, "the name of a list of dead letters"),
        ({"queue": "q" * 256}, "queue must be a text of 1 to 255"),
        ({"exchange": 3}, "exchange must be a name or an Exchange"),
    ],
)
def test_an_option_that_is_not_possible_is_refused_at_the_call_and_at_the_decorator(app: Mesh, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        way(app, "t", call=options)
    with pytest.raises(UsageError, match=re.escape(text)):
        app.task(**options)


def test_a_function_that_returns_no_route_is_named(app: Mesh) -> None:
    def lucky(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return 7

    app.conf.task_routes = lucky
    with pytest.raises(InvalidSetting, match="what lucky returned for t"):
        way(app, "t")


def test_missing_queues_are_refused_when_they_may_not_be_created(app: Mesh) -> None:
    app.conf.update(task_queues=[Queue("emails")], task_create_missing_queues=False)
    assert place_of(app, "t", call={"queue": "emails"})[0] == "emails"
    with pytest.raises(UsageError, match="did you mean 'emails'"):
        way(app, "t", call={"queue": "email"})


def test_conf_is_read_and_written_as_attributes_and_as_items(app: Mesh) -> None:
    app.conf["task_default_queue"] = "q"
    assert (app.conf.task_default_queue, app.conf.get("task_default_queue")) == ("q", "q")
    del app.conf["task_default_queue"]
    assert app.conf.task_default_queue == "default"
    with pytest.raises(AttributeError, match="did you mean 'task_routes'"):
        _ = app.conf.task_rotes
    app.conf.task_routes = {"a": "b"}
    with pytest.raises(TypeError):
        app.conf.task_routes["c"] = "d"


def test_a_task_is_transient_when_the_first_that_says_so_says_that_it_is_not_persistent(app: Mesh) -> None:
    transient = Way("default", Properties(transient=True, mandatory=True))
    assert way(app, "t", {"persistent": False}) == transient
    assert way(app, "t", {}, {"persistent": False}) == transient
    assert way(app, "t", {"persistent": False}, {"persistent": True}) == Way("default", None)
    app.conf.task_routes = {"t": {"persistent": False}}
    assert way(app, "t") == transient
    with pytest.raises(UsageError, match="persistent must be True or False, not 'no'"):
        way(app, "t", {}, {"persistent": "no"})
