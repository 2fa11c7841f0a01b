"""What attached programs may ask the mesh, and what they may have it do: one function for each ``Query.what``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from mesh.core.broker.dead_letters import as_row
from mesh.core.broker.explaining import explain
from mesh.core.broker.revocations import Revocation
from mesh.core.broker.why import Why
from mesh.core.broker.workflow import show
from mesh.core.report import status_report
from mesh.errors import DeclaredOtherwise, InUse, InvalidSetting, InvalidTopology, MeshError, NotFound
from mesh.wire.consuming import Consume
from mesh.wire.topology_changes import QueueName

if TYPE_CHECKING:
    from mesh.core.machine import Machine

TOPOLOGY_CHANGE = "topology-change"
CODES: dict[type[MeshError], str] = {
    InvalidSetting: "invalid",
    NotFound: "not-found",
    InvalidTopology: "invalid-topology",
    InUse: "in-use",
}
NO_COORDINATOR = "no-coordinator: the mesh has no coordinator right now; try again in a moment"
Then = Callable[[bytes, str], None]
"""Gets the JSON and the error."""
_encode = msgspec.json.Encoder().encode


def answer(machine: Machine, what: str, argument: str) -> tuple[bytes, str]:
    """(JSON, error) for a question; the error is ``code: text`` as in docs/protocol.md, and the JSON is null then."""
    question = QUESTIONS.get(what)
    if question is None:
        return b"null", f"unknown: this mesh does not know the question {what!r}; is its version older than yours?"
    try:
        return question(machine, argument), ""
    except MeshError as error:
        return _failed(error)


def answer_later(machine: Machine, what: str, argument: str, then: Then) -> None:
    """The same for all questions, also those of ``LATER``: ``then`` gets the answer, now or in a later turn."""
    question = LATER.get(what)
    if question is None:
        then(*answer(machine, what, argument))
        return
    try:
        question(machine, argument, then)
    except MeshError as error:
        then(*_failed(error))


def _failed(error: MeshError) -> tuple[bytes, str]:
    if isinstance(error, DeclaredOtherwise):
        return _encode({"mine": error.mine, "theirs": error.theirs}), f"declared-otherwise: {error}"
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "failed")
    return b"null", f"{code}: {error}"


def _config(machine: Machine, argument: str) -> bytes:
    """All mesh-wide settings."""
    return _encode(machine.policies.report())


def _config_set(machine: Machine, argument: str) -> bytes:
    """``KEY=VALUE``; an empty value goes back to the default, a text is JSON. Answers the setting's row."""
    quote = '"' if argument.endswith('"') else ""
    key, _, value = argument.rpartition(f"={quote}")  # a queue's name may have one too, a number never, and a text no bare quote
    value = quote + value
    machine.policies.set(key, value, machine.election.term)
    row: dict[str, Any] = machine.policies.report().get(key, {"value": None})
    return _encode({key: row})


def _dead_letters(machine: Machine, argument: str) -> bytes:
    """The dead letters of a queue."""
    return _encode([as_row(letter) for letter in machine.broker.dead_letters.of_queue(argument)])


def _requeue(machine: Machine, argument: str) -> bytes:
    """``QUEUE`` for all its dead letters, or ``QUEUE=ID`` for one; answers the ids that are live again."""
    dead = machine.broker.dead_letters
    letters = dead.of_queue(argument)
    if not letters and "=" in argument:  # names and ids may have one too, so it is compared and not taken apart
        letters = [letter for queue in dead.queues() for letter in dead.of_queue(queue) if f"{queue}={letter.message.id}" == argument]
        if not letters:
            queue, _, id = argument.partition("=")
            raise NotFound(f"the queue {queue!r} has no dead letter {id}; mesh queue dead-letters {queue} lists them")
    for letter in letters:
        machine.broker.dead_lettering.revive(letter)
    return _encode([letter.message.id for letter in letters])


def _forget(machine: Machine, argument: str) -> bytes:
    """A node, by name or id, that shall no longer count for majorities and copies; when it comes back it is a member again (R6, R17)."""
    membership = machine.membership
    found = [member for member in membership.members.values() if member.durable and argument in (member.name, member.id)]
    if not found:
        raise NotFound(f"the mesh has no node {argument!r}; mesh status lists them")
    if len(found) > 1:
        raise InvalidSetting(f"{len(found)} nodes are named {argument!r}; say which by its id, as mesh status --json shows it")
    member = found[0]
    if member.id == machine.me.id or membership.is_reachable(member.id):
        raise InvalidSetting(f"the node {member.name} is alive; stop it there with: mesh down")
    membership.mark_left(member.id)
    return _encode({"name": member.name, "id": member.id})


def _topology(machine: Machine, argument: str) -> bytes:
    """All exchanges, queues and bindings."""
    return _encode(machine.broker.declarations.report())


def _topology_change(machine: Machine, argument: str) -> bytes:
    """Changes of the routing tables (mesh/wire/topology_changes.py); answers what became of each, when every node that is here has them."""
    term = machine.election.term
    return _encode({"changes": machine.broker.declarations.change(argument, term), "term": term})


def _purges(machine: Machine, argument: str) -> bytes:
    """Queues of which a purge or a deletion has not dropped all yet; with another term than that of its answer it was broken off."""
    return _encode({"term": machine.election.term, "queues": machine.broker.purge.left()})


class ChunkAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``chunk``."""

    body: str
    """Its id, in hexadecimal digits."""
    index: int


def _chunk(machine: Machine, argument: str, then: Then) -> None:
    """A piece of a large body, as base64."""
    try:
        asked = msgspec.json.decode(argument, type=ChunkAsked)
        body = bytes.fromhex(asked.body)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidTopology(f"a question that is not possible: {error}") from None
    gone = f"not-found: chunk {asked.index} of the body {asked.body} is not here: its message has ended, or it is lost"
    if not machine.bodies.read(body, asked.index, lambda data: then(_encode({"data": data}), "" if data is not None else gone)):
        raise NotFound(gone.removeprefix("not-found: "))


class Consumption(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``consumers``."""

    worker: str = ""
    """A name or an id; empty: all workers."""
    add: list[QueueName] = []
    cancel: list[QueueName] = []


def _consumers(machine: Machine, argument: str) -> bytes:
    """Queues that workers shall consume from now on, or no longer; answers the workers that were told."""
    try:
        wanted = msgspec.json.decode(argument, type=Consumption)
    except msgspec.MsgspecError as error:
        raise InvalidSetting(f"not a change of consumers: {error}") from None
    workers = [worker for worker in machine.broker.workers.values() if worker.synced and not worker.is_consumer]
    found = [worker for worker in workers if wanted.worker in ("", worker.name, worker.id)]
    if wanted.worker and not found:
        raise NotFound(f"the mesh has no worker {wanted.worker!r}; mesh status lists them")
    rows = []
    for worker in found:
        machine.relay.to_edge(worker.node, Consume(worker.id, wanted.add, wanted.cancel), False)
        queues = [queue for queue in dict.fromkeys([*worker.queues, *wanted.add]) if queue not in wanted.cancel]
        rows.append({"name": worker.name, "id": worker.id, "node": machine.membership.name_of(worker.node), "queues": queues})
    return _encode(rows)


def _unique(machine: Machine, argument: str) -> bytes:
    """For each ``[key, id]`` of a task that is about to be submitted the id of the live task that has the key: its own when nobody has."""
    try:
        wanted = msgspec.json.decode(argument, type=list[tuple[str, str]])
    except msgspec.MsgspecError as error:
        raise InvalidSetting(f"not keys of tasks: {error}") from None
    return _encode([machine.broker.unique.reserve(key, id) for key, id in wanted])


def _route(machine: Machine, argument: str) -> bytes:
    """The way of a message through exchanges and bindings (mesh/core/broker/explaining.py)."""
    return _encode(explain(machine.broker, machine.topology, machine.membership, argument))


def _why(machine: Machine, argument: str) -> bytes:
    """Where a task is, and why it does not run (mesh/core/broker/why.py)."""
    return _encode(Why(machine.broker, machine.replica.pages, machine.membership, machine.reign.has_authority).explain(argument))


def _workflow(machine: Machine, argument: str) -> bytes:
    """All that waits for each other around a task (mesh/core/broker/workflow.py)."""
    return _encode(show(machine.broker, argument))


def _messages(machine: Machine, argument: str, then: Then) -> None:
    """A page of what waits in a queue (mesh/core/broker/inspection.py)."""
    machine.inspection.messages(argument, lambda answer: then(_encode(answer), "" if answer is not None else NO_COORDINATOR))


def _move(machine: Machine, argument: str, then: Then) -> None:
    """Put what waits in a queue at the end of another."""
    machine.inspection.move(argument, lambda answer: then(_encode(answer), "" if answer is not None else NO_COORDINATOR))


def _revoke(machine: Machine, argument: str) -> bytes:
    """Tasks that are not to run any more (mesh/core/broker/revocations.py); answers what became of each."""
    try:
        wanted = msgspec.json.decode(argument, type=Revocation)
    except msgspec.MsgspecError as error:
        raise InvalidSetting(f"not a revocation: {error}") from None
    return _encode(machine.broker.revocations.revoke(wanted))


QUESTIONS: dict[str, Callable[[Machine, str], bytes]] = {
    "status": lambda machine, argument: status_report(machine),
    "config": _config,
    "config-set": _config_set,
    "dead-letters": _dead_letters,
    "requeue": _requeue,
    "forget": _forget,
    "topology": _topology,
    TOPOLOGY_CHANGE: _topology_change,
    "purges": _purges,
    "consumers": _consumers,
    "route": _route,
    "revoke": _revoke,
    "why": _why,
    "workflow": _workflow,
    "unique": _unique,
}
LATER: dict[str, Callable[[Machine, str, Then], None]] = {
    "messages": _messages,
    "move": _move,
    "chunk": _chunk,
}
"""Questions whose answer may have to be read from the disk first."""
