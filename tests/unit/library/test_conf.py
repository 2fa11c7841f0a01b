"""``app.conf``: Celery's names, where values come from, and what they say of calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mesh import InvalidSetting, Mesh, NotEncodable, PublishUnknown, Signature
from mesh.conf import Conf
from mesh.conf_items import ITEMS
from mesh.conf_names import NO_EFFECT
from mesh.task import Task
from mesh.wire.calls import Call
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp
from tests.unit.library.test_tasks import plus


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ITEMS:
        monkeypatch.delenv(f"MESH_{name.upper()}", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- names --------------------


def test_every_name_of_celery_has_an_effect_or_a_reason_for_having_none() -> None:
    conf = Conf()
    for name in NO_EFFECT:
        conf[name] = "as given"
        assert conf[name] == "as given"
    assert not set(NO_EFFECT) & set(ITEMS)
    notes = {row.name: row.note for row in conf.rows()}
    assert notes["broker_url"] == "no effect: there is no broker"
    assert all(notes[name] for name in (*ITEMS, *NO_EFFECT))
    conf.redis_max_connections = 5
    assert conf.redis_max_connections == 5


def test_an_unknown_name_is_refused_with_a_suggestion_and_nothing_changes() -> None:
    conf = Conf()
    with pytest.raises(InvalidSetting, match="no setting 'task_serialiser': did you mean 'task_serializer'"):
        conf.update(timezone="Asia/Tokyo", task_serialiser="json")
    assert conf.changed == {}
    with pytest.raises(AttributeError, match="did you mean 'result_expires'"):
        _ = conf.results_expires
    with pytest.raises(InvalidSetting, match="known are task_routes"):
        conf["zzz"] = 1


def test_names_of_old_celery_stand_for_those_of_today() -> None:
    conf = Conf()
    conf.update(
        CELERY_DEFAULT_QUEUE="server",
        CELERY_QUEUES={"server": {"binding_key": "server_task"}},
        CELERY_DEFAULT_EXCHANGE="tasks",
        CELERY_DEFAULT_EXCHANGE_TYPE="direct",
        CELERY_DEFAULT_ROUTING_KEY="server_task",
        CELERYD_TASK_TIME_LIMIT=7,
        CELERY_ACCEPT_CONTENT=["json"],
        CELERYD_CONCURRENCY=4,
        BROKER_URL="amqp://",
        CELERY_RESULT_BACKEND="amqp",
    )
    assert (conf.task_default_queue, list(conf.queues), conf.task_time_limit) == ("server", ["server"], 7)
    assert (conf.task_default_exchange, conf.task_default_routing_key, conf.worker_concurrency) == ("tasks", "server_task", 4)
    assert (conf.accept_content, conf.broker_url, conf.result_backend) == (("json",), "amqp://", "amqp")
    with pytest.raises(InvalidSetting, match="no setting 'CELERY_NONSENSE'"):
        conf["CELERY_NONSENSE"] = 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("timezone", "Mars/Olympus", "the name of a time zone, as Europe/Berlin"),
        ("timezone", 3, "the name of a time zone"),
        ("task_serializer", "pickle", "pickle is refused: it would run what a message says"),
        ("result_serializer", "yaml", "one of msgpack, json"),
        ("accept_content", ["json", "pickle"], "pickle is refused"),
        ("accept_content", [], "a list of msgpack, json"),
        ("accept_content", "json", "a list of"),
        ("task_time_limit", -1, "a number of seconds from 0.001 up"),
        ("task_acks_late", 1, "True or False"),
        ("task_annotations", {"*": 3}, "a dict of dicts"),
        ("imports", [3], "a list of names of modules"),
    ],
)
def test_a_value_that_is_not_possible_is_refused_with_what_it_has_to_be(name: str, value: Any, text: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} must be .*{text}"):
        Conf()[name] = value


# -- where they come from --------------------


def test_settings_come_from_a_module_by_name(home: Path) -> None:
    (home / "celeryconfig.py").write_text(
        "import os\nfrom datetime import timedelta\nbroker_url = 'pyamqp://'\nresult_backend = 'rpc://'\ntask_serializer = 'json'\n"
        "timezone = 'Europe/Oslo'\nenable_utc = True\n_private = 1\nDEBUG = True\ndef helper(): ...\n"
    )
    app = Mesh("tasks", home=home)
    app.config_from_object("celeryconfig")
    assert (app.conf.task_serializer, app.conf.timezone, app.conf.broker_url) == ("json", "Europe/Oslo", "pyamqp://")
    rows = {row.name: (row.value, row.origin) for row in app.conf.rows()}
    assert rows["timezone"] == ("Europe/Oslo", "celeryconfig")
    assert rows["task_default_queue"] == ("default", "default")
    (home / "celeryconfig_wrong.py").write_text("task_serialiser = 'json'\n")
    with pytest.raises(InvalidSetting, match="did you mean 'task_serializer'"):
        app.config_from_object("celeryconfig_wrong")
    with pytest.raises(InvalidSetting, match="no module 'nowhere'"):
        app.config_from_object("nowhere")


def test_settings_come_from_a_class_an_object_a_dict_and_an_attribute_of_a_module(home: Path) -> None:
    class Config:
        timezone = "Asia/Tokyo"
        task_track_started = True

        def method(self) -> None: ...

    for source in (Config, Config(), {"timezone": "Asia/Tokyo"}):
        app = Mesh("tasks", home=home)
        app.config_from_object(source)
        assert app.conf.timezone == "Asia/Tokyo"
    (home / "holder.py").write_text("class Inner:\n    timezone = 'Asia/Seoul'\n")
    for name in ("holder:Inner", "holder.Inner"):
        app.config_from_object(name)
        assert app.conf.timezone == "Asia/Seoul"
    with pytest.raises(InvalidSetting, match="holder has nothing named 'Other'"):
        app.config_from_object("holder:Other")


def test_a_namespace_picks_the_settings_that_begin_with_it(home: Path) -> None:
    settings = SimpleNamespace(DEBUG=True, CELERY_TIMEZONE="Asia/Tokyo", CELERY_TASK_DEFAULT_QUEUE="web", TIME_ZONE="UTC")
    app = Mesh("tasks", home=home)
    app.config_from_object(settings, namespace="CELERY")
    assert app.conf.changed == {"timezone": "Asia/Tokyo", "task_default_queue": "web"}


def test_settings_come_from_a_toml_file(home: Path) -> None:
    (home / "app.toml").write_text('timezone = "Asia/Tokyo"\n[task_routes]\n"feed.*" = "feeds"\n')
    app = Mesh("tasks", home=home)
    app.config_from_object("app.toml")
    assert (app.conf.timezone, app.conf.task_routes) == ("Asia/Tokyo", {"feed.*": "feeds"})
    (home / "app.toml").write_text("timezone = ")
    with pytest.raises(InvalidSetting, match=r"can't read app\.toml"):
        app.config_from_object("app.toml")


def test_the_program_wins_over_the_environment_that_over_the_machines_file_that_over_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value_and_origin(app: Mesh) -> tuple[Any, str]:
        return next((row.value, row.origin) for row in app.conf.rows() if row.name == "task_default_queue")

    assert value_and_origin(Mesh("tasks", home=home)) == ("default", "default")
    (home / "config.toml").write_text('[app]\ntask_default_queue = "filed"\n')
    assert value_and_origin(Mesh("tasks", home=home)) == ("filed", str(home / "config.toml"))
    (home / "default").mkdir(mode=0o700)
    (home / "default" / "config.toml").write_text('[app]\ntask_default_queue = "of the mesh"\n')
    assert value_and_origin(Mesh("tasks", home=home)) == ("of the mesh", str(home / "default" / "config.toml"))
    monkeypatch.setenv("MESH_TASK_DEFAULT_QUEUE", "around")
    app = Mesh("tasks", home=home)
    assert value_and_origin(app) == ("around", "MESH_TASK_DEFAULT_QUEUE")
    app.conf.task_default_queue = "said"
    assert value_and_origin(app) == ("said", "app.conf")
    del app.conf["task_default_queue"]
    assert value_and_origin(app) == ("around", "MESH_TASK_DEFAULT_QUEUE")


def test_texts_of_the_environment_are_read_as_what_they_stand_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "TASK_TIME_LIMIT": "2.5",
        "TASK_TRACK_STARTED": "yes",
        "IMPORTS": "one, two",
        "ACCEPT_CONTENT": '["json"]',
        "TASK_ROUTES": '{"feed.*": "feeds"}',
    }.items():
        monkeypatch.setenv(f"MESH_{name}", text)
    conf = Mesh("tasks", home=home).conf
    assert (conf.task_time_limit, conf.task_track_started, conf.imports, conf.accept_content) == (2.5, True, ("one", "two"), ("json",))
    assert conf.task_routes == {"feed.*": "feeds"}
    monkeypatch.setenv("MESH_TASK_TIME_LIMIT", "soon")
    with pytest.raises(InvalidSetting, match="MESH_TASK_TIME_LIMIT: task_time_limit must be a number of seconds"):
        _ = Mesh("tasks", home=home).conf["task_time_limit"]


# -- what they say of calls --------------------


def test_defaults_of_the_application_hold_for_tasks_that_say_nothing_else(place: Place, make_app: MakeApp) -> None:
    app = make_app()
    plain, own = app.task(name="plain")(plus), app.task(name="own", time_limit=3, serializer="msgpack", track_started=False)(plus)
    app.conf.update(task_time_limit=9, task_serializer="json", task_track_started=True, task_acks_late=False, task_ignore_result=True)
    one, two = app.message_of(plain.s(1)), app.message_of(own.s(1))
    assert one.call == Call(hard_limit_ms=9000, track_started=True, acks_early=True, ignore_result=True)
    assert two.call == Call(hard_limit_ms=3000, acks_early=True, ignore_result=True)
    assert (one.body[:1], two.body[:1]) == (b"\x01", b"\x00")
    elsewhere: Signature[Any] = Signature(app, "elsewhere")
    assert app.message_of(elsewhere).call == one.call


def test_who_accepts_json_alone_sends_it(place: Place, make_app: MakeApp) -> None:
    app = make_app()
    task = app.task(plus)
    app.conf.accept_content = ["application/json"]
    assert app.message_of(task.s(1)).body[:1] == b"\x01"
    assert app.conf.result_serialization == "json"
    with pytest.raises(NotEncodable):
        app.message_of(task.s({1, 2}))


def test_annotations_replace_the_options_of_tasks(place: Place, make_app: MakeApp) -> None:
    app = make_app()
    before = app.task(name="tasks.one", time_limit=3)(plus)
    app.conf.task_annotations = {"*": {"max_retries": 7}, "tasks.one": {"time_limit": 5, "rate_limit": "10/s"}}
    after = app.task(name="tasks.two")(plus)
    assert (before.time_limit, before.rate_limit, before.max_retries, after.max_retries, after.time_limit) == (5, "10/s", 7, 7, None)
    assert app.message_of(before.s(1)).call == Call(hard_limit_ms=5000)

    class Annotate:
        def annotate(self, task: Task[..., Any]) -> dict[str, Any] | None:
            return {"shadow": "x"} if task.name == "no" else {"priority": 3} if task.name == "tasks.two" else None

    app.conf.task_annotations = [Annotate(), {"tasks.two": {"time_limit": 2}}]
    assert (before.time_limit, before.max_retries) == (3, 3)
    message = app.message_of(after.s(1))
    assert message.properties is not None
    assert (message.properties.priority, message.call) == (3, Call(hard_limit_ms=2000))
    with pytest.raises(TypeError, match=r"the annotation of tasks\.one has no option 'time_limits'"):
        app.conf.task_annotations = {"tasks.one": {"time_limits": 5}}


def test_the_policy_for_publishing_is_the_applications(place: Place, make_app: MakeApp) -> None:
    place.node().confirm = lambda submit: None
    app = make_app()
    app.conf.task_publish_retry_policy = {"timeout": 0.2}
    with pytest.raises(PublishUnknown):
        app.task(plus).delay(1)


def test_modules_of_the_settings_are_imported_by_a_worker(home: Path) -> None:
    (home / "conf_one.py").write_text("from mesh import shared_task\n@shared_task(name='of_conf_one')\ndef one(): ...\n")
    app = Mesh("tasks", home=home)
    app.conf.imports = ["conf_one"]
    app.import_modules()
    assert "of_conf_one" in app.tasks
    from mesh import registry

    del registry._shared["of_conf_one"], sys.modules["conf_one"]


def test_the_rows_can_be_printed_as_json() -> None:
    assert json.loads(json.dumps([row._asdict() for row in Conf().rows()], default=str))
