"""The forms in which a task may be written: functions, bound ones, classes, shared ones, in modules that are found."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh import AppNotFound, Mesh, UsageError, registry, request
from mesh import task as task_module
from mesh.request import DIRECT, Context
from mesh.task import AsyncTask, Task
from mesh.wire.bodies import decode_call
from mesh.wire.working import Delivery
from mesh.worker.loader import load
from tests.unit.client.fake_node import add
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp
from tests.unit.library.test_tasks import plus


def own_tasks(app: Any) -> dict[str, Any]:
    """Without those that every application has."""
    return {name: task for name, task in app.tasks.items() if not name.startswith("mesh.")}


@pytest.fixture(autouse=True)
def nothing_shared() -> Iterator[None]:
    """What a test shares is not in the applications of others."""
    gc.collect()
    shared, registries, unregistered = dict(registry._shared), list(registry._registries), set(task_module._unregistered)
    registry._registries.clear()
    task_module._unregistered.clear()
    yield
    registry._shared.clear()
    registry._shared.update(shared)
    registry._registries[:] = registries
    task_module._unregistered.clear()
    task_module._unregistered.update(unregistered)


# -- bound functions --------------------


def test_a_bound_function_gets_the_task_first() -> None:
    app = Mesh("tasks")

    @app.task(bind=True, max_retries=5)
    def which(self: Task[..., Any], x: int) -> tuple[str, int, int | None]:
        """Says which."""
        return self.name, x, self.max_retries

    assert which(3) == which.run(3) == (which.name, 3, 5)
    assert (which.__doc__, which.app, which.request) == ("Says which.", app, DIRECT)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        which.check_arguments((), {})
    with pytest.raises(TypeError, match="too many positional"):
        which.check_arguments((1, 2), {})


def test_a_task_knows_the_call_that_it_runs_for_and_only_its_own() -> None:
    app = Mesh("tasks")

    @app.task(bind=True, name="one")
    def one(self: Task[..., Any]) -> str | None:
        return self.request.id

    @app.task(bind=True, name="two")
    def two(self: Task[..., Any]) -> tuple[str | None, str | None]:
        return self.request.id, one()

    token = request.enter(Context(Delivery("7", "two", b"", 1, "default")))
    try:
        assert two.run() == ("7", None)
    finally:
        request.leave(token)


def test_a_bound_coroutine_is_an_asynchronous_task() -> None:
    @Mesh("tasks").task(bind=True)
    async def later(self: Task[..., Any], x: int) -> int:
        return x

    assert type(later) is AsyncTask
    assert later.is_async


# -- classes --------------------


class Sum(Task[[int, int], int]):
    """Adds."""

    abstract = True  # not for the applications of other tests
    queue = "sums"
    time_limit = 9
    max_retries = None

    def __init__(self) -> None:
        self.calls = 0

    def run(self, x: int, y: int) -> int:
        self.calls += 1
        return x + y


def test_a_class_with_run_is_a_task(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    task = app.register_task(Sum())
    assert own_tasks(app) == {f"{__name__}.Sum": task}
    assert task(1, 2) == 3
    assert (task.calls, task.queue, task.time_limit, task.max_retries) == (1, "sums", 9, None)
    sent = node.messages[task.delay(3, 4).id]
    assert (sent.task, sent.queue, sent.call and sent.call.hard_limit_ms) == (task.name, "sums", 9000)
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        task.delay(1)


def test_the_decorator_and_register_task_take_the_class_itself(make_app: MakeApp) -> None:
    app = make_app()

    @app.task(name="named", queue="other")
    class Named(Sum): ...

    registered: Task[..., Any] = Named
    assert isinstance(registered, Task)
    assert (registered.name, registered.queue, registered.time_limit) == ("named", "other", 9)
    assert type(app.register_task(Sum)) is Sum


def test_a_class_without_run_is_refused(make_app: MakeApp) -> None:
    class Nothing(Task[..., Any]): ...

    with pytest.raises(TypeError, match=r"Nothing has no method run\(\)"):
        make_app().register_task(Nothing())


def test_an_option_of_a_class_out_of_range_is_refused(make_app: MakeApp) -> None:
    class Hasty(Sum):
        soft_time_limit = 10

    with pytest.raises(UsageError, match=r"Hasty: soft_time_limit \(10\) has to be below time_limit \(9\)"):
        make_app().register_task(Hasty())


def test_the_class_itself_is_called_as_in_old_celery(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    results = [Sum.apply_async(args=args, connection=object()) for args in ((2, 2), (4, 4))]
    assert [result.get(timeout=5) for result in results] == [4, 8]
    assert {message.queue for message in node.messages.values()} == {"sums"}
    assert Sum.s(1, 2).task in app.tasks
    assert Task.s is vars(Task)["s"]


def test_base_gives_a_function_the_methods_of_a_class(make_app: MakeApp) -> None:
    class Connected(Task[..., Any]):
        abstract = True
        queue = "database"

        @property
        def connection(self) -> str:
            return "open"

        def on_failure(self, *details: Any) -> str:
            return "noted"

    app = make_app()

    @app.task(base=Connected, bind=True)
    def query(self: Connected, text: str) -> str:
        return f"{self.connection} {text}"

    @app.task(base=Connected, queue="replica")
    def read(text: str) -> str:
        return text

    assert (query("x"), read("x")) == ("open x", "x")
    assert (query.queue, read.queue, read.on_failure()) == ("database", "replica", "noted")
    with pytest.raises(UsageError, match="base must be a subclass of"):
        app.task(base=int)(plus)


# -- shared tasks --------------------


def test_a_shared_task_is_in_every_application_before_and_after(place: Place, make_app: MakeApp) -> None:
    node, before = place.node(add), make_app("before")
    task = registry.shared_task(plus)
    named = registry.shared_task(name="named", queue="q", bind=True)(lambda self, x: (self.app.name, x))
    after = make_app("after")
    assert own_tasks(before) == own_tasks(after) == {task.name: task, "named": named}
    assert named(1) == ("after", 1)
    sent = node.messages[task.delay(1, y=2).id]
    assert decode_call(sent.body) == ((1,), {"y": 2})
    assert node.messages[task.s(1).delay().id].task == f"{__name__.rpartition('.')[0]}.test_tasks.plus"


def test_a_shared_task_without_an_application_can_not_be_sent() -> None:
    task = registry.shared_task(plus)
    assert task(1, 2) == 3
    with pytest.raises(UsageError, match="no application yet: make it first"):
        task.delay(1)


def test_a_shared_task_and_another_one_of_its_name_do_not_go_together() -> None:
    registry.shared_task(name="n")(plus)
    with pytest.raises(UsageError, match="two functions want the task name 'n'"):
        Mesh("tasks").task(name="n")(add)


# -- modules --------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def test_a_worker_has_the_tasks_of_all_modules_that_the_application_asks_for(project: Path) -> None:
    write(project / "proj" / "__init__.py", "")
    write(
        project / "proj" / "app.py",
        """
        from mesh import Mesh
        app = Mesh("proj", include=["proj.jobs"])
        app.autodiscover_tasks(["proj.mail", "proj.web"])
        """,
    )
    write(project / "proj" / "jobs.py", "from proj.app import app\n@app.task\ndef job(): ...")
    write(project / "proj" / "mail" / "__init__.py", "")
    write(project / "proj" / "mail" / "tasks.py", "from mesh import shared_task\n@shared_task\ndef send(): ...")
    write(project / "proj" / "web" / "__init__.py", "")
    write(project / "proj" / "old.py", "from mesh import Task\nclass Old(Task):\n    def run(self): ...")
    write(project / "proj" / "web" / "__init__.py", "import proj.old")
    assert list(own_tasks(load("proj.app"))) == ["proj.jobs.job", "proj.mail.tasks.send", "proj.old.Old"]


def test_force_imports_at_once_and_packages_may_come_from_a_function(project: Path) -> None:
    write(project / "shop" / "__init__.py", "")
    write(project / "shop" / "work.py", "from mesh import shared_task\n@shared_task(name='sell')\ndef sell(): ...")
    app = Mesh("tasks")
    app.autodiscover_tasks(lambda: ["shop"], related_name="work", force=True)
    assert list(own_tasks(app)) == ["sell"]


def test_without_packages_those_of_django_are_searched(project: Path) -> None:
    app = Mesh("tasks")
    with pytest.raises(UsageError, match="without Django needs the packages"):
        app.autodiscover_tasks(force=True)
    write(project / "django" / "__init__.py", "")
    write(project / "django" / "apps.py", "class C:\n    name = 'blog'\nclass apps:\n    get_app_configs = staticmethod(lambda: [C])")
    write(project / "blog" / "__init__.py", "")
    write(project / "blog" / "tasks.py", "from mesh import shared_task\n@shared_task(name='blog')\ndef blog(): ...")
    app.autodiscover_tasks(force=True)
    assert list(own_tasks(app)) == ["blog"]


def test_a_module_that_is_missing_or_broken_is_named(project: Path) -> None:
    with pytest.raises(UsageError, match="includes 'nowhere', and there is no such module"):
        Mesh("tasks", include=["nowhere"]).import_modules()
    write(project / "broken" / "__init__.py", "")
    write(project / "broken" / "tasks.py", "import a_module_that_is_missing")
    write(project / "app.py", 'from mesh import Mesh\napp = Mesh("x")\napp.autodiscover_tasks(["broken"])')
    with pytest.raises(AppNotFound, match=r"No module named 'a_module_that_is_missing' \(.*broken.tasks.py, line 1\)"):
        load("app")
    app = Mesh("tasks")
    with pytest.raises(ModuleNotFoundError, match="missing_package"):
        app.autodiscover_tasks(["missing_package"], force=True)


def test_the_tutorials_old_imports_work_with_mesh_in_place_of_celery(tmp_path: Path) -> None:
    write(
        tmp_path / "tasks.py",
        """
        from mesh import Mesh
        from mesh.decorators import task
        from mesh.task import Task

        app = Mesh("tasks")

        @task
        def add(x, y):
            return x + y

        @task(rate_limit="100/m")
        def double(x):
            return 2 * x

        class MyTest(Task):
            rate_limit = "100/m"

            def run(self, x, y):
                return int(x) + int(y)
        """,
    )
    write(tmp_path / "demo.py", 'from mesh.worker.loader import load\nprint(sorted(load("tasks").tasks))')
    said = subprocess.run([sys.executable, "demo.py"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said == "['mesh.map', 'mesh.starmap', 'tasks.MyTest', 'tasks.add', 'tasks.double']\n"
