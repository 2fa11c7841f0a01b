"""Clients and workers of the in-memory cluster: they do what the test says, and what the protocol demands of them at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mesh.client.bodies import BodyReceiver, BodySender, Buffer, Bytes
from mesh.wire.entries import Chunks, Failure, Message, Result, Status
from mesh.wire.messages import (
    Answer,
    Attach,
    Confirm,
    Consume,
    Deliver,
    Delivery,
    Detach,
    Fetched,
    Grant,
    NewCoordinator,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    Ping,
    Query,
    Recall,
    Results,
    Submit,
    Take,
    Taken,
    Watch,
    WorkerGone,
)
from mesh.wire.topology import Properties
from mesh.worker.holdings import Holdings

if TYPE_CHECKING:
    from tests.unit.core.cluster import Cluster

PING_TICKS = 10
CHUNK_BYTES = 64 << 10


class Program:
    """An attached program; ``inbox`` is all that came."""

    kind = "client"

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.node = ""
        self.session = b""
        self.attachments = 0
        self.silent = False
        self.inbox: list[Any] = []
        self._ticks = 0
        self._bodies = 0
        self.sender = BodySender(CHUNK_BYTES, self._new_body)
        self.receiver = BodyReceiver()
        self.buffers: dict[str, Buffer] = {}
        """Large bodies that come, or have come, by the task's id."""
        self.fetched: dict[str, str] = {}
        """... and what became of those that are over: why one is lost, or nothing."""

    def _new_body(self) -> bytes:
        self._bodies += 1
        return f"{self.name}/{self._bodies}".encode().ljust(16)

    def attach(self, node: str) -> None:
        """Attach to a node, with a new session."""
        self.cluster.programs.pop(self.session, None)
        self.node = node
        self.attachments += 1
        self.session = f"{self.name}/{self.attachments}".encode()
        self.cluster.programs[self.session] = self
        self.send(Attach(self.kind, self.name, 1))
        self.sender.again()
        self.receiver.again()
        self.move_bodies()

    def detach(self) -> None:
        """Leave politely."""
        self.send(Detach())
        self.cluster.calm()
        self.silent = True

    def send(self, request: Any) -> None:
        """Send to the node; the cluster delivers it when it is told to."""
        self.cluster.request(self, request)

    def tick(self) -> None:
        """Stay attached."""
        self._ticks += 1
        if not self.silent and self._ticks % PING_TICKS == 0:
            self.send(Ping())
        if not self.silent:
            self.move_bodies()

    def fetch(self, id: str, chunks: Chunks) -> None:
        """Get a large body."""
        self.buffers[id] = Buffer()
        self.receiver.add(id, chunks, self.buffers[id])
        self.move_bodies()

    def move_bodies(self) -> None:
        """Go on with large bodies."""
        self.sender.send(self._try, self.cluster.now)
        for id, chunks in self.sender.take_finished():
            self.body_sent(id, chunks)
        self.receiver.send(self._try, self.cluster.now)
        self.fetched.update(self.receiver.take_finished())

    def _try(self, request: Any) -> bool:
        self.send(request)
        return True

    def body_sent(self, id: str, chunks: Chunks) -> None:
        """The last chunk of a body has left."""

    def receive(self, reply: Any) -> None:
        """A message from the node."""
        self.inbox.append(reply)
        if isinstance(reply, Grant):
            self.sender.on_grant(reply, self.cluster.now)
        elif isinstance(reply, Fetched):
            self.receiver.on_fetched(reply)
        elif isinstance(reply, NewCoordinator):
            self.receiver.again()
        self.move_bodies()

    def got(self, kind: type) -> list[Any]:
        """What has come of one type."""
        return [reply for reply in self.inbox if isinstance(reply, kind)]


class Client(Program):
    """Submits and watches."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster, name)
        self.number = 0
        self.numbers: dict[str, int] = {}
        """Of the requests with large bodies, by the task's id."""

    def submit(
        self, *ids: str, queue: str = "q", task: str = "work", body: bytes = b"", eta_ms: int = 0, priority: int = 0, target: str = ""
    ) -> int:
        """Submit tasks in one request and let it arrive; returns the number of the request."""
        self.number += 1
        properties = Properties(priority=priority, target=target) if priority or target else None
        self.send(Submit(self.number, [Message(id, queue, task, body, eta_ms=eta_ms, properties=properties) for id in ids]))
        self.cluster.calm()
        return self.number

    def send_messages(self, *messages: Message) -> None:
        """Submit these in one request."""
        self.number += 1
        self.send(Submit(self.number, list(messages)))
        self.cluster.calm()

    def publish(self, *ids: str, exchange: str = "", key: str = "", queue: str = "", task: str = "", body: bytes = b"", **more: Any) -> int:
        """Publish to an exchange, or with ``more`` properties to a queue by name; returns the number of the request."""
        self.number += 1
        properties = Properties(exchange=exchange, routing_key=key, **more)
        self.send(Submit(self.number, [Message(id, queue, task, body, properties=properties) for id in ids]))
        self.cluster.calm()
        return self.number

    def ask(self, what: str, argument: str = "") -> Answer:
        """Ask the mesh, and wait for the answer as long as a lagging node may hold it up."""
        self.number += 1
        number = self.number
        self.send(Query(number, what, argument))
        self.cluster.until(lambda: any(answer.number == number for answer in self.got(Answer)))
        return next(answer for answer in self.got(Answer) if answer.number == number)

    def change(self, *changes: dict[str, Any], owner: str = "", dry: bool = False) -> Answer:
        """Change the routing tables; returns the answer, which may be an error."""
        return self.ask("topology-change", json.dumps({"changes": changes, "owner": owner, "dry": dry}))

    def submit_large(self, id: str, body: bytes) -> None:
        """Send a body in chunks; its message follows."""
        self.sender.add(id, Bytes(body))
        self.move_bodies()

    def body_sent(self, id: str, chunks: Chunks) -> None:
        self.number += 1
        self.numbers[id] = self.number
        self.send(Submit(self.number, [Message(id, "q", "work", b"", chunks=chunks)]))

    def receive(self, reply: Any) -> None:
        super().receive(reply)
        if isinstance(reply, Results):
            for result in reply.results:
                if result.chunks is not None:
                    self.fetch(result.id, result.chunks)

    def watch(self, *ids: str) -> None:
        """Ask for results."""
        self.send(Watch(list(ids)))
        self.cluster.calm()

    def confirm(self, number: int) -> Confirm | None:
        """The answer to a submit, or None so far."""
        return next((reply for reply in self.got(Confirm) if reply.number == number), None)

    def copies(self, number: int) -> int:
        """How many copies a submit was confirmed with, 0 so far."""
        confirm = self.confirm(number)
        return confirm.copies if confirm is not None else 0

    def results(self) -> dict[str, Result]:
        """The results that came."""
        return {result.id: result for reply in self.got(Results) for result in reply.results}

    def states(self) -> dict[str, Status]:
        """The last state that was told of each id."""
        return {id: Status(status) for reply in self.got(Results) for id, status in reply.states}


class Worker(Program):
    """Holds what it is given until the test says how it ended; its books are those of the real worker."""

    kind = "worker"

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        *,
        queues: list[str] | None = None,
        tasks: list[str] | None = None,
        slots: int = 1,
        capacity: int | None = None,
    ) -> None:
        super().__init__(cluster, name)
        self.queues = ["q"] if queues is None else queues
        self.tasks = ["work"] if tasks is None else tasks
        self.slots = slots
        self.capacity = slots if capacity is None else capacity
        self.holdings = Holdings()
        self.deliveries: list[Delivery] = []

    @property
    def held(self) -> dict[str, Delivery]:
        """What it runs, by id."""
        return self.holdings.held

    @property
    def outbox(self) -> dict[str, Outcome]:
        """Outcomes that the mesh has not confirmed."""
        return self.holdings.outbox

    def attach(self, node: str) -> None:
        super().attach(node)
        self.report()

    def report(self) -> None:
        """A full offer, and the outbox."""
        active = self.holdings.active()
        self.send(Offer(self.name, self.name, self.queues, self.tasks, self.slots, self.capacity, active, 1, self.attachments))
        self.holdings.say_all_again()
        self._say()

    def receive(self, reply: Any) -> None:
        super().receive(reply)
        if isinstance(reply, NewCoordinator):
            self.report()
        elif isinstance(reply, Deliver):
            self.deliveries += reply.deliveries
            for delivery in self.holdings.accept(reply.deliveries):
                if delivery.chunks is not None:
                    self.fetch(delivery.id, delivery.chunks)
            self._say()
        elif isinstance(reply, OutcomesKept):
            self.holdings.kept(reply.ids, reply.kinds)
        elif isinstance(reply, Recall):
            self.holdings.recall([id for id in reply.ids if id not in self.begun], reply.count)
            self._say()
        elif isinstance(reply, Consume):
            self.queues = [queue for queue in dict.fromkeys([*self.queues, *reply.add]) if queue not in reply.cancel]
            self.report()

    @property
    def begun(self) -> list[str]:
        """What its slots run: the oldest of what it holds."""
        return list(self.held)[: self.slots]

    def finish(self, *ids: str, body: bytes = b"done") -> None:
        """Tasks return; all that it holds unless told otherwise."""
        self._end(*(Outcome(id, OutcomeKind.DONE, Status.SUCCESS, body) for id in ids or list(self.held)))

    def finish_large(self, id: str, body: bytes) -> None:
        """A task returns a large value."""
        self.sender.add(id, Bytes(body))
        self.move_bodies()

    def body_sent(self, id: str, chunks: Chunks) -> None:
        outcome = Outcome(id, OutcomeKind.DONE, Status.SUCCESS, b"", chunks=chunks)
        self.holdings.settle(outcome)
        self._say()

    def fail(self, id: str) -> None:
        """A task raises."""
        self._end(Outcome(id, OutcomeKind.DONE, Status.FAILURE, b"", Failure("builtins.ValueError", "no")))

    def give_back(self, *ids: str) -> None:
        """Tasks were not started."""
        self._end(*(Outcome(id, OutcomeKind.RETURNED) for id in ids))

    def lose(self, *ids: str) -> None:
        """The slots of tasks died."""
        self._end(*(Outcome(id, OutcomeKind.LOST) for id in ids))

    def retry(self, id: str, *, delay_ms: int = 0, message: Message | None = None) -> None:
        """A task asks to be run again."""
        failure = Failure("builtins.OSError", "not now")
        self.end(Outcome(id, OutcomeKind.RETRY, failure=failure, delay_ms=delay_ms, messages=[message] if message is not None else []))

    def end(self, outcome: Outcome) -> None:
        """A task ends in some other way."""
        self._end(outcome)

    def die(self) -> None:
        """kill -9: what it held is gone with it."""
        self.silent = True
        self.cluster.programs.pop(self.session, None)
        node = self.cluster.nodes[self.node]
        if node.process is not None:
            self.cluster.turn(node, node.process.on_session_closed, self.session)
        self.cluster.calm()

    def _end(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            if self.holdings.settle(outcome) is None:
                self.holdings.leaving.append(outcome)  # of a delivery that it does not hold: the test wants it said all the same
        self._say()
        self.cluster.calm()

    def _say(self) -> None:
        leaving, self.holdings.leaving = self.holdings.leaving, []
        if leaving:
            self.send(Outcomes(self.name, self.capacity, leaving))


class Consumer(Worker):
    """One consumer of plain messages, in a client's session of its own."""

    kind = "client"

    def __init__(self, cluster: Cluster, name: str, *, queues: list[str] | None = None, prefetch: int = 1) -> None:
        super().__init__(cluster, name, queues=queues, tasks=[""], slots=1, capacity=prefetch)
        self.takes = 0

    def ack(self, *ids: str) -> None:
        """Messages were dealt with; all that it holds unless told otherwise."""
        self._end(*(Outcome(id, OutcomeKind.ACKED) for id in ids or list(self.held)))

    def requeue(self, *ids: str) -> None:
        """Somebody shall try again."""
        self._end(*(Outcome(id, OutcomeKind.REQUEUED) for id in ids))

    def reject(self, *ids: str) -> None:
        """Nobody shall."""
        self._end(*(Outcome(id, OutcomeKind.REJECTED) for id in ids))

    def take(self, queue: str = "q", count: int = 1) -> Taken | None:
        """What is ready now; None while there is no answer."""
        self.takes += 1
        self.send(Take(self.takes, self.name, queue, count))
        self.cluster.calm()
        return next((reply for reply in self.got(Taken) if reply.number == self.takes), None)

    def cancel(self) -> None:
        """It consumes no longer; the session stays."""
        self.send(WorkerGone(self.name))
        self.cluster.calm()
