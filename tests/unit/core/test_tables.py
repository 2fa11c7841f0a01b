"""No table of a node grows with the number of tasks that are over (promise 7: bounded)."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.core.broker.watchers import Watchers
from mesh.core.machine import Machine
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Worker

TABLES = (dict, list, set, deque, array, bytearray)
BATCH = 20
GROWTH_MAX = 4
"""Records by which a table may differ between two calm moments."""
BOUNDED = {"Removed._last", "Removed._before", "Ageing._times", "Ageing._orders"}
"""Tables that fill up to a limit of their own: REMOVED_MAX, SAMPLES_MAX."""


def tables(machine: Machine) -> Counter[str]:
    """Records in all tables that can be reached from a node's core, by ``Class.attribute``."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", machine)]
    while waiting:
        where, value = waiting.pop()
        if id(value) in seen or where in BOUNDED:
            continue
        seen.add(id(value))
        if isinstance(value, TABLES):
            found[where] += len(value)
        waiting += [(name or where, part) for name, part in parts(value)]
    return found


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object or a table refers to; of an object with the name of the attribute."""
    if isinstance(value, dict):
        yield from (("", part) for pair in value.items() for part in pair)
    elif isinstance(value, list | set | tuple | deque):
        yield from (("", part) for part in value)
    elif type(value).__module__.startswith("mesh."):
        kind = type(value)
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)]
        for name in (*getattr(value, "__dict__", {}), *slots):
            yield f"{kind.__qualname__}.{name}", getattr(value, name)


def run_tasks(cluster: Cluster, client: Client, worker: Worker, first: int, batches: int) -> None:
    """Publish, run and forget."""
    for number in range(first, first + batches):
        ids = [f"{number}-{index}" for index in range(BATCH)]
        client.submit(*ids)
        cluster.run(0.1)
        for id in ids:
            worker.finish(id)
        cluster.run(0.3)
    cluster.run(3)


@pytest.mark.parametrize("publisher", ["coordinator", "deputy", "other"])
def test_no_table_of_any_node_grows_with_the_number_of_tasks_that_are_over(publisher: str) -> None:
    cluster = Cluster("abc", result_expires_s=0)
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    deputy = cluster[leader].replication.deputies[0]
    other = next(name for name in "abc" if name not in (leader, deputy))
    client = cluster.client({"coordinator": leader, "deputy": deputy, "other": other}[publisher])
    worker = cluster.worker(other, slots=BATCH)
    run_tasks(cluster, client, worker, 0, 3)
    before = {name: tables(cluster[name]) for name in "abc"}
    run_tasks(cluster, client, worker, 3, 6)
    grown = {name: tables(cluster[name]) - before[name] for name in "abc"}
    assert {(name, table): more for name, of_one in grown.items() for table, more in of_one.items() if more > GROWTH_MAX} == {}


def test_who_watches_is_remembered_once_for_each_node() -> None:
    watchers = Watchers()
    for node in ("a", "a", "b", "b"):
        watchers.add("1", node)
    watchers.add("2", "a")
    assert watchers.pop("1") == {"a", "b"}
    assert watchers.pop("2") == {"a"}
    assert watchers.pop("2") is None
