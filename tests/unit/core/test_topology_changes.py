"""Any sequence of changes leaves what a plain model of exchanges, queues and bindings says (AMQP 0-9-1 as RabbitMQ reads it)."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.cluster import Cluster

EXCHANGES = ("x", "y", "z")
QUEUES = ("p", "q")
KEYS = ("a", "b")
Binding = tuple[str, str, str, str]


class Refused(Exception):
    """The model's errors; the text is the code."""


class Model:
    """The tables as sets, and nothing goes by an index."""

    def __init__(self) -> None:
        self.exchanges: dict[str, bool] = {}
        """Name to auto_delete."""
        self.queues: dict[str, int] = {}
        """Name to max_length."""
        self.bindings: set[Binding] = set()

    def make(self, change: dict[str, Any]) -> bool:
        return bool(getattr(self, change["do"].replace("-", "_"))(**{name: value for name, value in change.items() if name != "do"}))

    def declare_exchange(self, name: str, auto_delete: bool) -> bool:
        if self.exchanges.setdefault(name, auto_delete) != auto_delete:
            raise Refused("declared-otherwise")
        return False

    def declare_queue(self, name: str, max_length: int) -> bool:
        if self.queues.setdefault(name, max_length) != max_length:
            raise Refused("declared-otherwise")
        return False

    def bind(self, source: str, destination: str, kind: str, routing_key: str) -> bool:
        if source not in self.exchanges or destination not in (self.queues if kind == "queue" else self.exchanges):
            raise Refused("not-found")
        self.bindings.add((source, destination, kind, routing_key))
        return False

    def unbind(self, source: str, destination: str, kind: str, routing_key: str) -> bool:
        self._drop({(source, destination, kind, routing_key)})
        return False

    def delete_exchange(self, name: str, if_unused: bool) -> bool:
        if if_unused and name in self.exchanges and any(binding[0] == name for binding in self.bindings):
            raise Refused("in-use")
        self._drop_exchange(name)
        return False

    def delete_queue(self, name: str) -> bool:
        self.queues.pop(name, None)
        self._drop({binding for binding in self.bindings if binding[1:3] == (name, "queue")})
        return False

    def _drop_exchange(self, name: str) -> None:
        if self.exchanges.pop(name, None) is not None:
            self._drop({binding for binding in self.bindings if binding[0] == name or binding[1:3] == (name, "exchange")})

    def _drop(self, gone: set[Binding]) -> None:
        gone = gone & self.bindings
        self.bindings -= gone
        for source in {binding[0] for binding in gone}:
            if self.exchanges.get(source) and not any(binding[0] == source for binding in self.bindings):
                self._drop_exchange(source)


def ends(kind: str) -> Any:
    return st.sampled_from(QUEUES if kind == "queue" else EXCHANGES)


bindings = st.sampled_from(["queue", "exchange"]).flatmap(
    lambda kind: st.fixed_dictionaries(
        {"source": st.sampled_from(EXCHANGES), "destination": ends(kind), "kind": st.just(kind), "routing_key": st.sampled_from(KEYS)}
    )
)
changes = st.one_of(
    st.fixed_dictionaries({"do": st.just("declare-exchange"), "name": st.sampled_from(EXCHANGES), "auto_delete": st.booleans()}),
    st.fixed_dictionaries({"do": st.just("declare-queue"), "name": st.sampled_from(QUEUES), "max_length": st.sampled_from([0, 0, 5])}),
    bindings.map(lambda fields: {"do": "bind", **fields}),
    bindings.map(lambda fields: {"do": "bind", **fields}),
    bindings.map(lambda fields: {"do": "unbind", **fields}),
    st.fixed_dictionaries({"do": st.just("delete-exchange"), "name": st.sampled_from(EXCHANGES), "if_unused": st.booleans()}),
    st.fixed_dictionaries({"do": st.just("delete-queue"), "name": st.sampled_from(QUEUES)}),
)
BASE = [
    *({"do": "declare-exchange", "name": name, "auto_delete": name != "x"} for name in EXCHANGES),
    *({"do": "declare-queue", "name": name, "max_length": 0} for name in QUEUES),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(changes, min_size=1, max_size=5), min_size=1, max_size=12))
def test_any_changes_leave_what_the_model_says_all_of_a_question_or_nothing(questions: list[list[dict[str, Any]]]) -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    client, model = cluster.client("a"), Model()
    topology = cluster["a"].topology
    for question in [BASE, *questions]:
        draft, code = copy.deepcopy(model), ""
        try:
            for change in question:
                draft.make(change)
            model = draft
        except Refused as refused:
            code = str(refused)
        answer = client.change(*question)
        assert answer.error.partition(":")[0] == code, (question, answer)
        assert {name: it.auto_delete for name, it in topology.routing.exchanges.items() if name in EXCHANGES} == model.exchanges
        assert {name: queue.max_length for name, queue in topology.queues.items()} == model.queues
        assert {(b.source, b.destination, b.kind, b.routing_key) for b in topology.routing.bindings.values()} == model.bindings
        assert not topology.loose
    stored = [entry for journal in cluster["a"].replica.journals.values() for entry in journal.live.values()]
    assert len(stored) == 1 + len(model.exchanges) + len(model.queues) + len(model.bindings), "and nothing is left of what was"
    assert json.loads(client.ask("topology").body)["bindings"] == sorted(
        (
            {"source": source, "destination": destination, "kind": kind, "routing_key": key, "arguments": {}}
            for source, destination, kind, key in model.bindings
        ),
        key=lambda row: [str(value) for value in row.values()],
    )
