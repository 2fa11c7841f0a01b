"""The large bodies of a worker: arguments that are fetched before a slot gets the task, values that are sent before the outcome is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mesh.client.bodies import DAMAGED, BodyReceiver, BodySender, Send
from mesh.ids import body_id
from mesh.wire.entries import Failure, Status
from mesh.wire.messages import Delivery, Fetched, Grant, Outcome, OutcomeKind
from mesh.worker.holdings import UNSENT
from mesh.worker.inputs import large_bodies
from mesh.worker.spool import Arrival, Departure, Spool

TOGETHER = 4
"""Arguments that are fetched at once; further ones wait for these."""
BODY_LOST = "mesh.errors.BodyLost"
TOO_LARGE = "mesh.errors.BodyTooLarge"


class Fetching:
    """The large bodies of one delivery."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.arrivals: dict[str, Arrival] = {}
        """By name (large_bodies)."""
        self.left = 0
        self.error = ""


class Transfers:
    """What is on its way, and the files of what is here."""

    def __init__(self, chunk_bytes: int) -> None:
        self._sender = BodySender(chunk_bytes, body_id)
        self._receiver = BodyReceiver(TOGETHER)
        self._fetchings: dict[str, Fetching] = {}
        self._by_name: dict[str, Fetching] = {}
        self._departures: dict[str, tuple[Outcome, Departure]] = {}

    def __bool__(self) -> bool:
        return bool(self._fetchings or self._departures or self._sender)

    def fetching(self) -> list[str]:
        """Tasks whose arguments are not here yet."""
        return [id for id, fetching in self._fetchings.items() if fetching.left]

    def fetch(self, spool: Spool, deliveries: Iterable[Delivery]) -> None:
        """Get the arguments of these; ``take_fetched`` tells when they are here."""
        for delivery in deliveries:
            bodies = large_bodies(delivery)
            if bodies and delivery.id not in self._fetchings:
                fetching = self._fetchings[delivery.id] = Fetching(delivery)
                fetching.left = len(bodies)
                for name, chunks in bodies.items():
                    fetching.arrivals[name] = spool.new()
                    self._by_name[name] = fetching
                    self._receiver.add(name, chunks, fetching.arrivals[name])

    def paths(self, deliveries: Iterable[Delivery]) -> dict[str, str]:
        """Where the large bodies of deliveries are, by name."""
        return {
            name: str(arrival.path)
            for delivery in deliveries
            if delivery.id in self._fetchings
            for name, arrival in self._fetchings[delivery.id].arrivals.items()
        }

    def upload(self, outcome: Outcome, path: str) -> None:
        """Send the value of an outcome, which a slot has written; ``take_sent`` tells when it has gone."""
        departure = Departure(Path(path), Path(path).stat().st_size)
        self._departures[outcome.id] = outcome, departure
        self._sender.add(outcome.id, departure)

    def send(self, send: Send, now_s: float) -> None:
        """Go on with all of it."""
        self._sender.send(send, now_s)
        self._receiver.send(send, now_s)

    def ask_again(self) -> None:
        """Another coordinator reigns."""
        self._receiver.again()

    def begin_again(self) -> None:
        """The node is another one: it has nothing of what was sent."""
        self._receiver.again()
        self._sender.again()
        for id, (outcome, departure) in self._departures.items():
            if outcome.chunks is not UNSENT:
                outcome.chunks = UNSENT
                self._sender.add(id, departure)

    def on_fetched(self, fetched: Fetched) -> None:
        """A chunk has come."""
        self._receiver.on_fetched(fetched)

    def on_grant(self, grant: Grant, now_s: float) -> Outcome | None:
        """The node takes chunks; or it refuses a value: the outcome that its task has instead."""
        refused = self._sender.on_grant(grant, now_s)
        if refused is None:
            return None
        outcome = self._departures[refused[0]][0]
        outcome.status, outcome.chunks = Status.FAILURE, None
        outcome.failure = Failure(TOO_LARGE, f"the result was refused by the node: {refused[1]}")
        return outcome

    def take_fetched(self) -> list[tuple[Delivery, Outcome | None]]:
        """Deliveries whose arguments are here, or the outcome of one whose arguments can't be had.

        Lost arguments may be those of an earlier submission: the task goes back, and the coordinator says what it knows of it.
        """
        taken: list[tuple[Delivery, Outcome | None]] = []
        for name, error in self._receiver.take_finished():
            fetching = self._by_name[name]
            fetching.arrivals[name].finish()
            fetching.left -= 1
            fetching.error = fetching.error or error
            if not fetching.left:
                lost = self._without_arguments(fetching.delivery, fetching.error) if fetching.error else None
                taken.append((fetching.delivery, lost))
        return taken

    @staticmethod
    def _without_arguments(delivery: Delivery, error: str) -> Outcome:
        if error != DAMAGED:
            return Outcome(id=delivery.id, kind=OutcomeKind.RETURNED)
        failure = Failure(BODY_LOST, f"the arguments of {delivery.task}[{delivery.id}]: {error}: publish it again")
        return Outcome(id=delivery.id, status=Status.FAILURE, failure=failure)

    def take_sent(self) -> list[Outcome]:
        """Outcomes whose value has gone to the node: they can follow it."""
        sent: list[Outcome] = []
        for id, chunks in self._sender.take_finished():
            outcome = self._departures[id][0]
            outcome.chunks = chunks
            sent.append(outcome)
        return sent

    def close(self) -> None:
        """Remove all files."""
        self.sweep({}, {})

    def sweep(self, held: Mapping[str, object], outbox: Mapping[str, object]) -> None:
        """Remove arguments of tasks that are not held any more, and values of outcomes that are kept."""
        for id in [id for id in self._fetchings if id not in held]:
            for name, arrival in self._fetchings.pop(id).arrivals.items():
                self._receiver.drop(name)
                del self._by_name[name]
                arrival.remove()
        for id in [id for id in self._departures if id not in outbox]:
            outcome, departure = self._departures.pop(id)
            self._sender.drop(id)
            if outcome.chunks is not None and outcome.chunks is not UNSENT:
                self._sender.forget(outcome.chunks)
            departure.remove()
