"""The layers of docs/architecture.md, read from the imports."""

from __future__ import annotations

import pytest

from tests import repository
from tests.repository import Import

LAYERS: dict[int, tuple[str, ...]] = {
    0: ("mesh.errors", "mesh.ids", "mesh.clock", "mesh.config"),
    1: ("mesh.wire",),
    2: ("mesh.core",),
    3: ("mesh.storage", "mesh.transport", "mesh.discovery"),
    4: ("mesh.node", "mesh.telemetry"),
    5: ("mesh.client", "mesh.request", "mesh.running", "mesh.signals", "mesh.worker"),
    6: (
        "mesh.app",
        "mesh.calls",
        "mesh.call_options",
        "mesh.conf",
        "mesh.conf_items",
        "mesh.conf_names",
        "mesh.conf_sources",
        "mesh.control",
        "mesh.decorators",
        "mesh.eager",
        "mesh.models",
        "mesh.submission",
        "mesh.registry",
        "mesh.routes",
        "mesh.task_queues",
        "mesh.messaging",
        "mesh.task",
        "mesh.signature",
        "mesh.result",
        "mesh.resq",
        "mesh.group_result",
        "mesh.step",
        "mesh.watching",
        "mesh.embedded",
        "mesh.canvas",
        "mesh.schedule",
    ),
    7: ("mesh.cli", "mesh.dashboard"),
}
STRANGERS = LAYERS[3]
"""Three kinds of I/O that do not know each other."""
PURE = ("mesh.wire", "mesh.core")
IMPURE = frozenset(["zmq", "socket", "asyncio", "threading", "time", "random", "os", "logging", "sqlite3", "uuid", "secrets", "subprocess"])
PRODUCT = repository.python_files("mesh", "discovery", "cli")
FACADE = "mesh"
"""``mesh/__init__.py`` re-exports what users type: above all layers, and importing from it below would be a cycle."""


def belongs(name: str, units: tuple[str, ...]) -> str | None:
    """The one of ``units`` that a dotted name lies in."""
    return next((unit for unit in units if name == unit or name.startswith(unit + ".")), None)


def layer(name: str) -> int | None:
    return next((number for number, units in LAYERS.items() if belongs(name, units)), None)


def product_imports() -> list[Import]:
    return [item for path in PRODUCT for item in repository.imports(path)]


def where(item: Import) -> str:
    return f"{item.path}:{item.line} imports {item.name}"


def test_every_module_of_the_product_belongs_to_one_layer() -> None:
    names = [repository.module_name(path) for path in PRODUCT]
    assert [name for name in names if name != FACADE and layer(name) is None] == []


def test_a_module_imports_only_from_its_own_layer_or_a_lower_one() -> None:
    wrong = []
    for item in product_imports():
        own, other = layer(repository.module_name(item.path)), layer(item.name)
        if own is not None and other is not None and other > own:
            wrong.append(f"{where(item)}: layer {own} imports layer {other}")
    assert wrong == []


def test_storage_transport_and_discovery_do_not_know_each_other() -> None:
    wrong = []
    for item in product_imports():
        own, other = belongs(repository.module_name(item.path), STRANGERS), belongs(item.name, STRANGERS)
        if own and other and own != other:
            wrong.append(where(item))
    assert wrong == []


def test_core_and_wire_are_pure() -> None:
    wrong = [
        where(item) for item in product_imports() if belongs(repository.module_name(item.path), PURE) and item.name.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_zeromq_is_used_only_by_the_transport_and_by_those_who_attach() -> None:
    allowed = ("mesh.transport", "mesh.client", "mesh.worker", "mesh.cli")
    wrong = [
        where(item)
        for item in product_imports()
        if item.name.split(".")[0] == "zmq" and not belongs(repository.module_name(item.path), allowed)
    ]
    assert wrong == []


def test_installed_names_are_used_for_discovery_and_cli() -> None:
    wrong = [
        where(item)
        for path in repository.python_files()
        for item in repository.imports(path)
        if item.name.split(".")[0] in {"cli", "discovery"}
    ]
    assert wrong == []


def test_no_import_cycles() -> None:
    assert find_cycle(_import_graph()) == []


def _import_graph() -> dict[str, set[str]]:
    modules = {repository.module_name(path) for path in PRODUCT}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for item in product_imports():
        target = item.name if item.name in modules else item.name.rpartition(".")[0]
        if not item.deferred and target in modules and target != repository.module_name(item.path):
            graph[repository.module_name(item.path)].add(target)
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The first cycle of a directed graph as the names along it, or an empty list."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if found := walk(target, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
    ],
)
def test_the_search_for_cycles_finds_them(graph: dict[str, set[str]], cycle: list[str]) -> None:
    assert find_cycle(graph) == cycle


def test_relative_imports_are_resolved() -> None:
    names = {item.name for path in PRODUCT for item in repository.imports(path)}
    assert not [name for name in names if name.startswith(".") or not name]
