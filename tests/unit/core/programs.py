"""Clients and workers of the in-memory cluster: they do what the test says, and what the protocol demands of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mesh.wire.entries import Failure, Message, Result, Status
from mesh.wire.messages import (
    Attach,
    Confirm,
    Deliver,
    Delivery,
    Detach,
    NewCoordinator,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    Ping,
    Results,
    Submit,
    Watch,
)
from mesh.worker.holdings import Holdings

if TYPE_CHECKING:
    from tests.unit.core.cluster import Cluster

PING_TICKS = 10


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

    def attach(self, node: str) -> None:
        """Attach to a node, with a new session."""
        self.cluster.programs.pop(self.session, None)
        self.node = node
        self.attachments += 1
        self.session = f"{self.name}/{self.attachments}".encode()
        self.cluster.programs[self.session] = self
        self.send(Attach(self.kind, self.name, 1))

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

    def receive(self, reply: Any) -> None:
        """A message from the node."""
        self.inbox.append(reply)

    def got(self, kind: type) -> list[Any]:
        """What has come of one type."""
        return [reply for reply in self.inbox if isinstance(reply, kind)]


class Client(Program):
    """Submits and watches."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster, name)
        self.number = 0

    def submit(self, *ids: str, queue: str = "q", task: str = "work", body: bytes = b"", eta_ms: int = 0) -> int:
        """Submit tasks in one request and let it arrive; returns the number of the request."""
        self.number += 1
        self.send(Submit(self.number, [Message(id, queue, task, body, eta_ms=eta_ms) for id in ids]))
        self.cluster.calm()
        return self.number

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
            self.holdings.accept(reply.deliveries)
            self._say()
        elif isinstance(reply, OutcomesKept):
            self.holdings.kept(reply.ids, reply.kinds)

    def finish(self, *ids: str, body: bytes = b"done") -> None:
        """Tasks return; all that it holds unless told otherwise."""
        self._end(*(Outcome(id, OutcomeKind.DONE, Status.SUCCESS, body) for id in ids or list(self.held)))

    def fail(self, id: str) -> None:
        """A task raises."""
        self._end(Outcome(id, OutcomeKind.DONE, Status.FAILURE, b"", Failure("builtins.ValueError", "no")))

    def give_back(self, *ids: str) -> None:
        """Tasks were not started."""
        self._end(*(Outcome(id, OutcomeKind.RETURNED) for id in ids))

    def lose(self, *ids: str) -> None:
        """The slots of tasks died."""
        self._end(*(Outcome(id, OutcomeKind.LOST) for id in ids))

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
