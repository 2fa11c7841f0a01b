"""Clients and workers on virtual time. A worker keeps its tasks in the same Holdings as a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh.client.bodies import BodyReceiver, BodySender, Buffer, Bytes
from mesh.core.broker.bodies import LOST
from mesh.wire.entries import Chunks, Message, Status
from mesh.wire.messages import (
    Attach,
    Attached,
    Confirm,
    Deliver,
    Delivery,
    Fetched,
    Go,
    Grant,
    Leaving,
    NewCoordinator,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    Ping,
    Recall,
    Refused,
    Results,
    Submit,
    Watch,
)
from mesh.wire.topology import Properties
from mesh.worker.holdings import UNSENT, Holdings
from mesh.worker.inputs import large_bodies
from tests.simulation import invariants
from tests.simulation.history import Delayed
from tests.simulation.retrying import STUBBORN
from tests.simulation.steps import i9_a_step_begins_with_what_it_waited_for

if TYPE_CHECKING:
    from tests.simulation.world import World

TICK_S = 0.25
BEAT_S = 0.5
"""A program says this often that it is alive."""
DEAF_S = 2.0
"""A node that has said nothing for so long is given up."""
SUBMIT_AGAIN_S = 3.0
QUEUE = "q"
TASK = "task"
URGENT_EVERY = 5
"""One of so many tasks has a higher priority, or is to run near where it was submitted."""
POISON = "poison"
"""Tasks of this name kill the slot that runs them."""
RUN_S = (0.001, 0.01, 0.05, 0.3, 1.5)
BIG_BODY = b"\xab" * (1 << 20)


def large_body(id: str) -> bytes:
    """The arguments of a task that travel in chunks; its value is the same from the end."""
    return f"large {id} ".encode() * 40


def is_large(body: bytes) -> bool:
    """Whether it is one of these."""
    return body[:6] == b"large "


class Program:
    """A client or worker: attached to one node by a session, and to another when that one is gone."""

    kind = "client"

    def __init__(self, world: World, name: str, home: str) -> None:
        self.world = world
        self.name = name
        self.home = home
        self.node = ""
        self.session = b""
        self.sessions = 0
        self.attached = False
        self.alive = True
        self.heard_at = 0.0
        self.beat_at = 0.0
        self.paused_until = 0.0
        self._backlog: list[object] = []
        self._bodies = 0
        self.sender = BodySender(world.settings.chunk_bytes, self._new_body)
        self.receiver = BodyReceiver()

    def _new_body(self) -> bytes:
        self._bodies += 1
        return f"{self.name}/{self._bodies}".encode().ljust(16)

    def move_bodies(self) -> None:
        """Go on with large bodies."""
        if not self.attached:
            return
        self.sender.send(self._try, self.world.now)
        for key, chunks in self.sender.take_finished():
            self.on_sent(key, chunks)
        self.receiver.send(self._try, self.world.now)
        for key, error in self.receiver.take_finished():
            self.on_fetched(key, error)

    def _try(self, request: object) -> bool:
        self.send(request)
        return True

    def on_sent(self, key: str, chunks: Chunks) -> None:
        """The last chunk of a body has left."""

    def on_fetched(self, key: str, error: str) -> None:
        """A body is here, or lost."""

    def attach(self) -> None:
        """Attach to the node on the own host when it runs, else to any that does."""
        running = self.world.running_for(self.home)
        if not running:
            return
        self.node = self.home if self.home in running else self.world.rng.choice(running)
        self.sessions += 1
        self.session = f"{self.name}/{self.sessions}".encode()
        self.attached = False
        self.heard_at = self.world.now
        self.world.programs[self.session] = self
        self.send(Attach(self.kind, self.name, 1))

    def send(self, request: object) -> None:
        """Send to the node that this program is attached to."""
        self.beat_at = self.world.now
        self.world.send_request(self.home, self.node, self.session, request)

    def tick(self) -> None:
        """Called every TICK_S of virtual time."""
        now = self.world.now
        if not self.alive or self.paused_until > now:
            return
        if not self.node or not self.world.is_up(self.node) or now - self.heard_at > DEAF_S:
            self.attach()
        elif self.attached and now - self.beat_at >= BEAT_S:
            self.send(Ping())
        self.move_bodies()

    def pause(self, seconds: float) -> None:
        """SIGSTOP, then SIGCONT: what comes in waits."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)
        self.world.after(seconds, self.resume)

    def resume(self) -> None:
        """Take what came in meanwhile; the node is not to blame for the silence."""
        if self.paused_until > self.world.now:
            return
        backlog, self._backlog = self._backlog, []
        self.heard_at = self.world.now
        for reply in backlog:
            self.receive(reply)

    def receive(self, reply: object) -> None:
        """A message from the node."""
        if self.paused_until > self.world.now:
            self._backlog.append(reply)
            return
        self.heard_at = self.world.now
        if isinstance(reply, Attached):
            self.attached = True
            self.on_attached()
        elif isinstance(reply, Refused | Leaving):
            self.node = ""
            self.attached = False
        elif isinstance(reply, Grant):
            self.sender.on_grant(reply, self.world.now)
        elif isinstance(reply, Fetched):
            self.receiver.on_fetched(reply)
        else:
            if isinstance(reply, NewCoordinator):
                self.receiver.again()
            self.on_reply(reply)
        self.move_bodies()

    def on_attached(self) -> None:
        """A session stands."""

    def on_reply(self, reply: object) -> None:
        """Any other message."""


class Client(Program):
    """Publishes, retries the same ids until confirmed, and waits for results."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self.unconfirmed: dict[int, tuple[list[Message], float]] = {}
        self.waiting: dict[str, None] = {}
        """Ids that are confirmed and have no result yet."""
        self.number = 0
        self.made = 0
        self.granted: dict[int, int] = {}
        """Of submits with a large body, under which number they were let in."""
        self.values: dict[str, Buffer] = {}
        """Large values that come, by the task's id."""

    def publish(self, count: int) -> None:
        """Submit new messages."""
        self._submit([self._new_message() for _ in range(count)])

    def _new_message(self) -> Message:
        message = self._new_plain_message()
        if self.made % URGENT_EVERY == 0:
            near = f"near:{self.world.hosts[self.home].id}" if self.made % 2 else ""
            message.properties = Properties(priority=self.made % 3, target=near)
        return message

    def _new_plain_message(self) -> Message:
        self.made += 1
        id = f"{self.name}-{self.made:05d}"
        self.world.history.published.add(id)
        draw = self.world.rng.random()
        load = self.world.load
        if draw < load.poison:
            return Message(id, QUEUE, POISON, id.encode())
        if draw < load.poison + load.stubborn:
            return Message(id, QUEUE, STUBBORN, id.encode())
        if draw > 1.0 - load.big:
            return Message(id, QUEUE, TASK, BIG_BODY)
        if draw > 1.0 - load.big - load.delayed:
            countdown_s = self.world.rng.uniform(0.1, 4.0)
            self.world.history.delayed[id] = Delayed(self.world.now, self.world.now + countdown_s)
            eta_s = self.world.hosts[self.home].wall_s() + countdown_s
            return Message(id, QUEUE, TASK, id.encode(), eta_ms=int(eta_s * 1000))
        if draw > 1.0 - load.big - load.delayed - load.large:
            return Message(id, QUEUE, TASK, large_body(id))
        return Message(id, QUEUE, TASK, id.encode())

    def _submit(self, messages: list[Message], granted: int = 0) -> None:
        large = [message for message in messages if is_large(message.body)]
        for message in large:
            self.number += 1
            self.unconfirmed[self.number] = ([message], self.world.now)
            self.granted[self.number] = granted
            self.sender.add(str(self.number), Bytes(message.body))
        messages = [message for message in messages if not is_large(message.body)]
        self.move_bodies()
        if messages:
            self._submit_small(messages, granted)

    def on_sent(self, key: str, chunks: Chunks) -> None:
        if int(key) in self.unconfirmed:
            (message,), _ = self.unconfirmed[int(key)]
            message = replace(message, body=b"", chunks=chunks)
            self.send(Submit(int(key), [message], self._deadline_ms(), self.granted.pop(int(key))))

    def on_fetched(self, key: str, error: str) -> None:
        value = self.values.pop(key).body
        if not error and value != large_body(key)[::-1]:
            self.world.violate(f"the value of {key} is not what its task returned")
        if not error:
            self.world.history.results.add(key)
            self.waiting.pop(key, None)

    def _submit_small(self, messages: list[Message], granted: int) -> None:
        self.number += 1
        self.unconfirmed[self.number] = (messages, self.world.now)
        if self.attached:
            self.send(Submit(self.number, messages, self._deadline_ms(), granted))
            for message in messages:
                if message.eta_ms:
                    delayed = self.world.history.delayed[message.id]
                    delayed.local = delayed.local and self.node == self.home
                    delayed.by = self.world.hosts[self.node].id if self.node else delayed.by

    def _deadline_ms(self) -> int:
        """How long a submit stands in line where queues are limited."""
        return int(SUBMIT_AGAIN_S * 1000) if self.world.settings.max_length else 0

    def tick(self) -> None:
        super().tick()
        self._submit_again(self.world.now - SUBMIT_AGAIN_S)

    def _submit_again(self, before: float) -> None:
        for number, (messages, since) in list(self.unconfirmed.items()):
            if since <= before:
                del self.unconfirmed[number]
                self.sender.drop(str(number))
                self._submit(messages)

    def on_attached(self) -> None:
        self.sender = BodySender(self.world.settings.chunk_bytes, self._new_body)
        self.receiver.again()
        self._submit_again(self.world.now)
        self._watch()

    def _watch(self) -> None:
        if self.waiting:
            self.send(Watch(list(self.waiting)))

    def _go(self, go: Go) -> None:
        """The node has room: for all that was held, or for a part of it."""
        messages, _ = self.unconfirmed.pop(go.number, ([], 0.0))
        if messages:
            self._submit(messages[: go.count], go.number)
        if messages[go.count :]:
            self._submit(messages[go.count :])

    def on_reply(self, reply: object) -> None:
        history = self.world.history
        if isinstance(reply, Go):
            self._go(reply)
        elif isinstance(reply, Confirm) and not reply.error:  # what was refused is sent again later
            messages, _ = self.unconfirmed.pop(reply.number, ([], 0.0))
            for message in messages:
                history.confirmed[message.id] = max(history.confirmed.get(message.id, 0), reply.copies)
                if message.id not in history.results:
                    self.waiting[message.id] = None
        elif isinstance(reply, Results):
            for result in reply.results:
                if result.failure is not None and result.failure.type_name == LOST:
                    history.bodies_lost.add(result.id)
                if result.chunks is None:
                    history.results.add(result.id)
                    self.waiting.pop(result.id, None)
                elif result.id not in history.results and not self.receiver.brings(result.id, result.chunks):
                    self.values[result.id] = Buffer()
                    self.receiver.add(result.id, result.chunks, self.values[result.id])
        elif isinstance(reply, NewCoordinator):
            self._watch()


class Worker(Program):
    """Runs tasks of random length in its slots; keeps outcomes until they are safe."""

    kind = "worker"

    def __init__(self, world: World, name: str, home: str, slots: int = 2) -> None:
        super().__init__(world, name, home)
        self.slots = slots
        self.id = f"w-{name}"
        self.lives = 0
        self.holdings = Holdings()
        self.running: set[str] = set()
        self._greeted = False
        self.arguments: dict[str, tuple[Delivery, Buffer]] = {}
        """Large arguments that come, by the task's id."""

    def crash(self) -> None:
        """The process is killed, its tasks with it."""
        self.alive = False
        self.lives += 1
        self.holdings, self.running, self.arguments = Holdings(), set(), {}
        self.sender = BodySender(self.world.settings.chunk_bytes, self._new_body)
        self.receiver = BodyReceiver()
        self.node = ""
        self.attached = False
        self._backlog = []
        self.paused_until = 0.0

    def restart(self) -> None:
        """A new worker process."""
        if not self.alive:
            self.alive = True
            self.id = f"w-{self.name}.{self.lives}"

    def tick(self) -> None:
        super().tick()
        if self.alive and self.paused_until <= self.world.now and self.holdings.ready and self.world.rng.random() < 0.3:
            self.holdings.give_back_ready()  # every slot is busy
            self._tell()

    def on_attached(self) -> None:
        self._greeted = False
        self.receiver.again()
        self.sender = BodySender(self.world.settings.chunk_bytes, self._new_body)
        for outcome in self.holdings.outbox.values():
            if outcome.chunks is not None:
                self._send_value(outcome)
        self._tell()

    def _send_value(self, outcome: Outcome) -> None:
        outcome.chunks = UNSENT
        self.sender.add(outcome.id, Bytes(large_body(outcome.id)[::-1]))

    def on_sent(self, key: str, chunks: Chunks) -> None:
        outcome = self.holdings.outbox.get(key)
        if outcome is not None:
            outcome.chunks = chunks
            self.holdings.leaving.append(outcome)
            self._tell()

    def on_fetched(self, key: str, error: str) -> None:
        delivery, buffer = self.arguments.pop(key)
        given = delivery.input if key != delivery.id else None
        if given is not None:
            given.body = bytes(buffer.body)
        elif not error and buffer.body != large_body(key):
            self.world.violate(f"the arguments of {key} are not what was published")
        if error:
            self.holdings.settle(Outcome(delivery.id, OutcomeKind.RETURNED))
            self._tell()
        elif delivery.id in self.holdings.held:
            self.holdings.ready.append(delivery)
            self._run_what_fits()

    def _tell(self) -> None:
        if not self.attached:
            return
        if not self._greeted:
            self._greeted = True
            self.send(
                Offer(
                    self.id,
                    self.name,
                    [QUEUE],
                    [TASK, POISON, STUBBORN],
                    self.slots,
                    self.slots + 2,
                    self.holdings.active(),
                    1,
                    self.sessions,
                )
            )
            self.holdings.say_all_again()
        if self.holdings.leaving:
            leaving, self.holdings.leaving = self.holdings.leaving, []
            self.send(Outcomes(self.id, self.slots + 2, leaving))

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, NewCoordinator):
            self._greeted = False
        elif isinstance(reply, Deliver):
            for delivery in self.holdings.accept(reply.deliveries):
                for key, chunks in large_bodies(delivery).items():
                    buffer = Buffer()
                    self.arguments[key] = delivery, buffer
                    self.receiver.add(key, chunks, buffer)
            self._run_what_fits()
        elif isinstance(reply, OutcomesKept):
            before = dict(self.holdings.outbox)
            self.holdings.kept(reply.ids, reply.kinds)
            forgotten = [outcome for id, outcome in before.items() if id not in self.holdings.outbox]
            invariants.r7_what_a_worker_forgets_is_kept(self.world, forgotten)
        elif isinstance(reply, Recall):
            self.holdings.recall(reply.ids, reply.count)
        self._tell()

    def _run_what_fits(self) -> None:
        while self.holdings.ready and len(self.running) < self.slots:
            delivery = self.holdings.ready.popleft()
            self.running.add(delivery.id)
            self.world.history.start(delivery.id, self.world.now, self.id)
            if delivery.id in self.world.workflows.steps:
                i9_a_step_begins_with_what_it_waited_for(self.world, delivery)
                outcome = self.world.workflows.outcome(delivery)
                self.world.after(self.world.rng.choice(RUN_S), self._end, outcome, self.lives)
            elif delivery.task == POISON:
                self.world.after(0.01, self._end, Outcome(delivery.id, OutcomeKind.LOST, Status.PENDING), self.lives)
            elif delivery.task == STUBBORN:
                self.world.after(0.05, self._end, self.world.asked.end_of(delivery), self.lives)
            else:
                run_s = self.world.rng.choice(RUN_S)
                large = delivery.chunks is not None and self.world.rng.random() < 0.5
                self.world.after(
                    run_s, self._end, Outcome(delivery.id, body=b"" if large else b"r", chunks=UNSENT if large else None), self.lives
                )

    def _end(self, outcome: Outcome, life: int) -> None:
        if life != self.lives:
            return
        if self.paused_until > self.world.now:
            self.world.after(self.paused_until - self.world.now, self._end, outcome, life)
            return
        self.running.discard(outcome.id)
        if outcome.kind == OutcomeKind.RETRY and outcome.id in self.holdings.held:
            self.world.asked.ended(self.holdings.held[outcome.id], outcome)
        if outcome.kind == OutcomeKind.DONE:
            self.world.history.finished[outcome.id] = self.world.history.finished.get(outcome.id, 0) + 1
        if self.holdings.settle(outcome) is not None and outcome.chunks is UNSENT:
            self._send_value(outcome)
            self.move_bodies()
        self._run_what_fits()
        self._tell()
