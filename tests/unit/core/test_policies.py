"""Settings of the whole mesh: one value for each, on every node, whoever set it (R22)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import Settings, mesh_wide
from mesh.core.cluster.policies import Policies
from mesh.core.cluster.replica import Replica
from mesh.core.turn import Turn
from mesh.errors import InvalidSetting
from mesh.wire.entries import Scope, Setting
from mesh.wire.messages import Answer, Append, Query
from tests.unit.core.cluster import Cluster


class Holder:
    def __init__(self, name: str = "a", **started_with: Any) -> None:
        own = name.encode()
        self.settings = Settings(**started_with)
        self.replica = Replica(Turn(), name, own.ljust(16), own.ljust(15) + b"s")
        self.policies = Policies(self.replica, self.settings)

    def live(self) -> list[tuple[bytes, int]]:
        return sorted((journal.name, sequence) for journal in self.replica.journals.values() for sequence in journal.live)


values = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(values, st.data())
def test_r22_the_highest_term_stands_on_every_node_in_whatever_order_it_is_heard(
    items: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    appends = [
        Append(f"j{number}".encode().ljust(16), "w", Scope.SHARED, 0, 1, 0, [Setting("copies", str(copies), term, revision)])
        for number, (term, revision, copies) in enumerate(items)
    ]
    one, other = Holder("a"), Holder("b")
    for append in appends:
        one.replica.apply(append)
    for append in data.draw(st.permutations(appends)):
        other.replica.apply(append)
    assert one.settings == other.settings
    assert one.live() == other.live()
    assert len(one.live()) == 1
    assert one.settings.copies == max((term, revision, number, copies) for number, (term, revision, copies) in enumerate(items))[3]


def test_an_empty_value_goes_back_to_what_the_node_was_started_with() -> None:
    holder = Holder(copies=3)
    holder.policies.set("copies", "5", 1)
    assert holder.settings.copies == 5
    holder.policies.set("copies", "", 1)
    assert holder.settings.copies == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("copies", "many"),
        ("copies", "0"),
        ("partition", "maybe"),
        ("heartbeat_interval_s", "1"),
        ("colour", "red"),
        ("queue:q:copies", "2"),
        ("queue::max_deliveries", "2"),
        ("colour", ""),
    ],
)
def test_a_bad_setting_is_refused_and_nothing_is_written(key: str, value: str) -> None:
    holder = Holder()
    with pytest.raises(InvalidSetting):
        holder.policies.set(key, value, 1)
    assert holder.live() == []
    assert holder.settings == Settings()


def test_a_value_of_a_newer_version_stands_and_is_not_applied() -> None:
    holder = Holder()
    holder.replica.apply(Append(b"j".ljust(16), "w", Scope.SHARED, 0, 1, 0, [Setting("copies", "a quorum", 1, 1)]))
    assert holder.settings == Settings()
    assert len(holder.live()) == 1


def test_the_report_says_where_each_value_comes_from() -> None:
    holder = Holder(max_deliveries=9)
    holder.policies.set("copies", "3", 1)
    holder.policies.set("queue:slow:max_deliveries", "2", 1)
    report = holder.policies.report()
    assert {name: report[name]["origin"] for name in ("copies", "max_deliveries", "durability")} == {
        "copies": "mesh",
        "max_deliveries": "node",
        "durability": "default",
    }
    assert report["queue:slow:max_deliveries"]["value"] == 2
    assert set(report) == {*mesh_wide(), "queue:slow:max_deliveries"}
    assert (holder.policies.own("slow", "max_deliveries"), holder.policies.own("q", "max_deliveries")) == (2, None)
    assert holder.policies.of_mesh("max_deliveries") == 9


def test_a_setting_reaches_every_node_and_survives_all_of_them() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    client = cluster.client("c")
    client.send(Query(1, "config-set", "copies=3"))
    cluster.run(0.2)
    assert json.loads(client.got(Answer)[0].body)["copies"]["value"] == 3
    assert [cluster[name].settings.copies for name in "abc"] == [3, 3, 3]
    for name in "abc":
        cluster.crash(name, vanish=True)
    cluster.start("b")
    assert cluster["b"].settings.copies == 3
