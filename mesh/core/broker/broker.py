"""The coordinator's work: queues, leases, results. It exists only during a reign and is rebuilt from the replica at its start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mesh.config import Settings
from mesh.core.broker.admission import Admission
from mesh.core.broker.arguments import QueueArguments
from mesh.core.broker.attempts import Attempts
from mesh.core.broker.bodies import LargeBodies
from mesh.core.broker.dead_lettering import DeadLettering, dropped
from mesh.core.broker.dead_letters import DeadLetters
from mesh.core.broker.declarations import Declarations
from mesh.core.broker.delayed import Delayed
from mesh.core.broker.early import Early
from mesh.core.broker.early_offers import EarlyOffers
from mesh.core.broker.expiry import Expiry
from mesh.core.broker.flows import Flows
from mesh.core.broker.gathering import Gathering
from mesh.core.broker.incomplete import Incomplete
from mesh.core.broker.line import Line
from mesh.core.broker.lost_and_found import LostAndFound
from mesh.core.broker.overflow import Overflow
from mesh.core.broker.paging import Paging
from mesh.core.broker.placement import Placement
from mesh.core.broker.plain import TERMINAL, Ended, is_of_earlier, is_plain
from mesh.core.broker.purge import Purge
from mesh.core.broker.pushes import Pushes
from mesh.core.broker.queues import Queue, Record, rank
from mesh.core.broker.results import Results
from mesh.core.broker.retries import GOES_ON, Retries
from mesh.core.broker.revocations import Revocations
from mesh.core.broker.selection import Ageing
from mesh.core.broker.states import TaskStates
from mesh.core.broker.takeover import Takeover
from mesh.core.broker.takes import Takes
from mesh.core.broker.unique import Unique
from mesh.core.broker.watchers import Watchers
from mesh.core.broker.workers import WorkerState
from mesh.core.broker.workforce import Workforce
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.paged import Header
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.replication import Replication
from mesh.core.cluster.topology import Topology
from mesh.core.effects import Identity
from mesh.core.states import RecordEvent, RecordState
from mesh.wire.entries import DeadLetter, Entry, Message, Result, Scope
from mesh.wire.messages import Outcome, OutcomeKind, Outcomes, OutcomesKept, PeerMessage

Post = Callable[[str, PeerMessage, bool], None]
"""(node, message, after commit): hand a message to a node's edge, this one's included."""


class Broker:
    """Who runs what."""

    def __init__(
        self,
        me: Identity,
        replica: Replica,
        membership: Membership,
        replication: Replication,
        topology: Topology,
        arguments: QueueArguments,
        bodies: LargeBodies,
        gathering: Gathering,
        settings: Settings,
        post: Post,
        tell: Callable[[str], None],
    ) -> None:
        self._me = me
        self._replica = replica
        self._membership = membership
        self._replication = replication
        self._topology = topology
        self.arguments = arguments
        self.bodies = bodies
        self._settings = settings
        self._post = post
        self.active = False
        self.wall_ms = 0
        self.dirty = False
        """Something became ready, or a worker has room: dispatching may do something."""
        self.queues: dict[str, Queue] = {}
        self.records: dict[str, Record] = {}
        self.workers: dict[str, WorkerState] = {}
        self.early_offers = EarlyOffers()
        self.flows = Flows(self, replica, gathering, Incomplete(self, settings, replication.has_heard_everybody))
        self.results = Results(self._settings, self._replica.settle, self.flows.holds)
        self.unique = Unique(self, replica)
        self.ended = Ended()
        self.dead_letters = DeadLetters()
        self.watchers = Watchers()
        self.takes = Takes()
        self.pushes = Pushes(self, replica, post)
        self.admission = Admission(arguments, lambda: self.queues, lambda node, answer: post(node, answer, False), tell)
        self.ageing = Ageing(settings)
        self.dead_lettering = DeadLettering(self, replica, topology, arguments, self._give_back)
        self.overflow = Overflow(arguments, self.ageing, self.dead_lettering, tell)
        self.expiry = Expiry(self, replica, membership, settings)
        self.placement = Placement(self, membership, topology)
        self.paging = Paging(self, replica)
        self._attempts = Attempts(self, membership, self._give_back)
        self.workforce = Workforce(
            self, membership, replication, settings, lease=self._lease, give_back=self._give_back, lose=self._attempts.lose, post=post
        )
        self.takeover = Takeover(self, replica, replication, add=self._on_added, lease=self._lease, give_back=self._give_back)
        self.purge = Purge(self, replica)
        self.declarations = Declarations(self, topology, settings, replication.has_heard_everybody)
        self.states = TaskStates(self, post)
        self.early = Early(self)
        self.revocations = Revocations(self, post)
        self.retries = Retries(self, replica, topology)
        self.lost_and_found = LostAndFound(self, replica, topology, replication.has_heard_all_here)
        self.placement.is_withheld = lambda queue: queue in self.lost_and_found.unjudged or queue in self.purge.under_way
        self.redelivered = self.finished = 0
        self.next_order = 0
        """Place in the line of the next message that comes."""
        self.line = Line(self, Delayed(membership, settings))
        self._original_order: int | None = None
        self.now = 0.0
        self._reigns = 0
        replication.leases.present = self._leases
        replication.leases.is_present = self._is_leased
        replica.on_added.append(self._on_added)
        replica.on_settled.append(self._on_settled)

    # -- the reign --------------------

    def begin(self, now: float) -> None:
        """Build queues and results from all live entries; what deputies knew to be running stays leased (DESIGN 5)."""
        self.active, self.now = True, now
        self.bodies.begin(now)
        self.ageing.reset()
        self.placement.reset()
        self.takeover.index()
        self.workforce.judge_synced()
        self.takeover.restore_leases()
        self.lost_and_found.begin()
        self.expiry.begin()
        self.dirty = True

    def end(self) -> None:
        """The reign is over: forget everything but the replica."""
        self.active = False
        self.bodies.end()
        self._reigns += 1
        self._replication.leases.soft = self._leases()
        self.queues, self.records, self.workers, self.watchers = {}, {}, {}, Watchers()
        self.early_offers.clear()  # judged under the next coordinator they would be workers of this one, orphaned long ago
        self.paging.reset()
        self.results = Results(self._settings, self._replica.settle, self.flows.holds)
        self.flows.reset()
        self.unique.reset()
        self.ended = Ended()
        self.dead_letters = DeadLetters()
        self.takes = Takes()
        self.line.reset()
        self.retries.reset()
        self.early.reset()
        self.states.reset()
        self.admission.reset()
        self.overflow.reset()
        self.declarations.reset()
        self.purge.reset()
        self.lost_and_found.reset()
        self.expiry.reset()

    def _leases(self) -> dict[str, tuple[str, str]]:
        return {id: (worker.id, worker.node) for worker in self.workers.values() for id in worker.leases}

    def _is_leased(self, id: str) -> bool:
        record = self.records.get(id)
        return record is not None and record.state is RecordState.LEASED

    # -- entries come and go --------------------

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if not self.active:
            return
        if isinstance(entry, Message):
            self._enqueue(journal, sequence, entry)
        elif isinstance(entry, Result):
            known = self.results.get(entry.id)
            self.results.add(entry, journal, sequence)
            self.flows.ended(entry)
            if known is not None:
                self.flows.give_place(entry.id, known.task or entry.task, known.flow or entry.flow)
            self.unique.ended(entry)
            self._replication.leases.soft.pop(entry.id, None)
            record = self.records.get(entry.id)
            place = (record.journal, record.sequence) if record is not None else self.paging.find(entry.id)
            if record is not None:
                self.flows.give_place(entry.id, record.message.task, record.message.flow)
            if place is not None:  # done anywhere is done everywhere (R16)
                self._replica.settle(*place)
            if entry.id in self.watchers:
                self.pushes.push(self._me.id, entry)
            held = self.dead_letters.held(entry.id)
            if held is not None:  # in quarantine, and run elsewhere after all
                self._replica.settle(*held)
        elif isinstance(entry, DeadLetter):
            if entry.held_in and (entry.message.id in self.results or self.is_live(entry.message.id)):
                self._replica.settle(journal, sequence)
            else:
                self.dead_letters.add(entry, journal, sequence)

    def _enqueue(self, journal: Journal, sequence: int, message: Message) -> None:
        id = message.id
        known = self.records.get(id)
        if known is not None and rank(message, journal, sequence) > rank(known.message, known.journal, known.sequence):
            self._supersede(known, journal, sequence, message)
            return
        paged = self.paging.find(id)
        if paged is not None and rank(message, journal, sequence) > (0, 0, 0, paged[0].name, paged[1]):
            self._replica.settle(*paged)
            paged = None
        if known is not None or paged is not None or id in self.results or id in self.ended:
            self._drop_duplicate(journal, sequence, message)
            return
        if self.unique.refuses(journal, sequence, message):
            return
        record = self.records[id] = Record(message, journal, sequence, self.line.next_place())
        if record.is_counted:
            self._replication.leases.count()
        if message.flow is not None and self.flows.came(record):
            self.queue(message.queue).push_waiting(record)
        else:
            self.line.take_in(record, self._original_order)
        if id in self._replication.leases.soft:
            self.takeover.restore_lease(id)
        if self.dead_letters and (held_at := self.dead_letters.held(id)) is not None:
            self._replica.settle(*held_at)  # published again, or brought by a merge: it is live after all

    def is_live(self, id: str) -> bool:
        """Whether this message is to be handed out, or was."""
        return id in self.records or self.paging.find(id) is not None

    def record(self, id: str) -> Record | None:
        """The record of a live message that is about to be leased or settled, if need be one without its body."""
        return self.records.get(id) or self.paging.take_out(id)

    def queue(self, name: str) -> Queue:
        """The queue of that name, which begins with its first message."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name, self._replica.pages.lane_number)
        return queue

    def _supersede(self, known: Record, journal: Journal, sequence: int, message: Message) -> None:
        """Of two entries for one id the higher stands, on every side of a split: so a merge can never settle both."""
        worker = self.workers.get(known.worker) if known.state is RecordState.LEASED and known.held is None else None
        self._remove(known)
        self._replica.settle(known.journal, known.sequence)
        self.expect_result(message, known.journal)
        self._original_order = known.order
        self._enqueue(journal, sequence, message)
        self._original_order = None
        if worker is not None:
            self._lease(self.records[message.id], worker)
            worker.reported.add(message.id)  # what it holds is the delivery of the other entry, and what it will say is of that

    def expect_result(self, message: Message, journal: Journal) -> None:
        """The node that accepted it is told its result when that comes, though the entry is no longer its own."""
        if not is_plain(message):
            self.watchers.add(message.id, journal.owner)

    def _drop_duplicate(self, journal: Journal, sequence: int, message: Message) -> None:
        """A retry of a publish that the mesh has already (R8): the first one stands, and its result goes to both publishers."""
        self._replica.settle(journal, sequence)
        if not is_plain(message):
            self.pushes.on_duplicate(message.id, journal.owner)
            self.flows.give_place(message.id, message.task, message.flow)

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if not self.active:
            return
        if isinstance(entry, Result):
            self.results.lost(journal, sequence, entry.id)
            if entry.id not in self.results:
                self.flows.taken_back(entry.id)
        elif isinstance(entry, DeadLetter):
            self.dead_letters.lost(journal, sequence, entry)
        elif isinstance(entry, Message):
            record = self.records.get(entry.id)
            if record is not None and record.journal is journal and record.sequence == sequence:
                self._remove(record)
                self.expect_result(entry, journal)  # settled elsewhere: its result is on the way
            elif type(entry) is Header:
                self.expect_result(entry, journal)

    def _remove(self, record: Record) -> None:
        del self.records[record.message.id]
        self._leave_state(record)
        record.move(RecordEvent.ENDED)
        if record.message.flow is not None:
            self.flows.left(record)

    def _leave_state(self, record: Record) -> None:
        """Take a record out of the counts of its state; its place in a lane or heap is skipped when it comes up."""
        queue = self.queues[record.message.queue]
        queue.leave(record)
        if record.state is RecordState.LEASED:
            worker = self.workers.get(record.worker)
            if worker is not None:
                worker.leases.pop(record.message.id, None)
        if queue.empty:
            del self.queues[queue.name]

    # -- leases --------------------

    def _lease(self, record: Record, worker: WorkerState) -> None:
        """A worker holds this message, as it or a deputy's knowledge says."""
        queue = self.queues[record.message.queue]
        queue.leave(record)
        record.move(RecordEvent.DELIVERED)
        queue.leased += 1
        record.worker, record.presumed = worker.id, True
        record.delivered_ms = self.wall_ms
        worker.leases[record.message.id] = record
        self._replication.leases.note(worker.id, worker.node, {record.message.id: record.journal.owner})

    def _give_back(self, record: Record) -> None:
        """The worker did not start it: ready again, in its old place."""
        queue = self.queues[record.message.queue]
        worker = self.workers.get(record.worker)
        if worker is not None:
            worker.leases.pop(record.message.id, None)
        queue.leased -= 1
        self.dirty = True
        self.expiry.came(record.message)
        if self.paging.put_back(record):
            return
        record.move(RecordEvent.GIVEN_BACK)
        record.worker = ""
        self.early.given_back(record)
        self.line.put_back(record)
        self.flows.given_back(record)

    def rewrite(self, record: Record, message: Message) -> None:
        """One transaction: settle a message, and write it anew with the same id, in its old place."""
        self._original_order = record.order
        self._remove(record)
        self._replica.settle(record.journal, record.sequence)
        self._replica.write(message)
        self._original_order = None
        self.expect_result(message, record.journal)

    def skew_ms(self, journal: Journal) -> int:
        """How far the clock by which the instants of a journal were named is ahead of this one."""
        return self._membership.skew_ms(journal.owner)

    def drop(self, record: Record, why: str) -> None:
        """It will not run, and nobody shall have it instead: a task fails."""
        self.finish(record, dropped(record.message.id, why), None)

    def fail(self, id: str, why: str, owner: str) -> None:
        """The task of a message that was dropped has a result all the same: somebody may wait for it (decision 067)."""
        self._write_result(self._result(dropped(id, why), None), owner)

    def withdraw(self, record: Record, *, patient: bool = False) -> None:
        """Settle a message, without more."""
        self._remove(record)
        self._replica.settle(record.journal, record.sequence, patient=patient)

    def finish(self, record: Record, outcome: Outcome, worker: WorkerState | None) -> None:
        """One transaction: settle the message, and write the result of a task."""
        if is_plain(record.message):
            self.withdraw(record, patient=True)
            self.ended.add(record.message.id)
            self.finished += 1
        else:
            self.conclude(record, self._result(outcome, worker))

    def conclude_unseen(self, outcome: Outcome) -> None:
        """A task whose message has not come has ended: when it comes it is a duplicate of what is over."""
        self._write_result(self._result(outcome, None), self._me.id)

    def conclude(self, record: Record, result: Result) -> None:
        """One transaction: settle the message of a task or a gather, and write its result."""
        result = self.flows.place(result, record.message)
        self.withdraw(record)
        self._write_result(result, record.journal.owner, transient=record.journal.fleeting)

    def _result(self, outcome: Outcome, worker: WorkerState | None) -> Result:
        node = self._membership.name_of(worker.node) if worker is not None else ""
        name = worker.name if worker is not None else ""
        return Result(
            outcome.id,
            int(outcome.status),
            outcome.body,
            outcome.failure,
            node,
            name,
            self.wall_ms,
            outcome.chunks,
            children=outcome.children,
        )

    def _write_result(self, result: Result, owner: str, *, transient: bool = False) -> None:
        self.finished += 1
        self.pushes.push(owner, result)  # before it is written, as that would push it to the watchers once more
        self._replica.write(result, Scope.FLEETING if transient else Scope.BULK)

    # -- messages from the nodes' edges --------------------

    def on_outcomes(self, node: str, message: Outcomes) -> None:
        """How deliveries ended. An outcome counts whoever holds the lease by now: the first terminal one stands (R28)."""
        worker = self.workers.get(message.worker)
        if worker is not None:
            worker.capacity = message.capacity
        message = self.bodies.whole_ones(node, message, self.records)
        self.early_offers.ended(message.worker, [outcome.id for outcome in message.outcomes])
        for outcome in message.outcomes:
            record = self.record(outcome.id) if outcome.kind in TERMINAL else self.records.get(outcome.id)
            self._replication.leases.soft.pop(outcome.id, None)
            presumed = worker is not None and outcome.id in worker.reported
            if worker is not None:
                worker.reported.discard(outcome.id)  # it holds it no longer, whatever others may still report
            if record is not None and is_of_earlier(outcome, record.message):
                if presumed and record.state is RecordState.LEASED and record.worker == message.worker:
                    self._give_back(record)  # what it had reported was that outcome
            elif record is not None:
                self._end_delivery(record, outcome, worker, message.worker)
            elif outcome.kind in TERMINAL and outcome.id not in self.results and outcome.id not in self.ended:
                # its message is on a disk that is away: when it comes it is done already (R16)
                self._write_result(self._result(outcome, worker), self._me.id)
            if outcome.chunks is not None:
                self.bodies.release(outcome.chunks)  # of a second outcome nothing refers to
        self.dirty = True
        self._replication.copies.when_kept(partial(self._tell_kept, self._reigns, node, message))

    def _tell_kept(self, reign: int, node: str, message: Outcomes, copies: int) -> None:
        """The worker may forget these outcomes; one of an earlier reign has told them to the next coordinator, too, and waits for that."""
        if reign == self._reigns:
            kept = OutcomesKept(message.worker, [one.id for one in message.outcomes], [one.kind for one in message.outcomes])
            self._post(node, kept, False)

    def _end_delivery(self, record: Record, outcome: Outcome, worker: WorkerState | None, worker_id: str) -> None:
        if outcome.kind in TERMINAL:
            if outcome.messages:
                self.retries.write_more(record, outcome.messages)
            self.finish(record, outcome, worker)
        elif record.state is RecordState.LEASED and record.worker == worker_id:
            if outcome.kind == OutcomeKind.RETURNED:
                self._give_back(record)
            elif outcome.kind in GOES_ON:
                self.retries.go_on(record, outcome, worker_id)
            elif outcome.kind == OutcomeKind.REJECTED:
                self.dead_lettering.give_up(record, "rejected", "its consumer rejected it")
            elif outcome.kind == OutcomeKind.REQUEUED:
                self._attempts.lose(record, "its consumer gave it back")
            else:
                self._attempts.lose(record, "who had it was lost" if is_plain(record.message) else "the slot that ran it died")

    def node_lost(self, node: str, now: float) -> None:
        """A node is no longer reachable: its workers may come back through another, so their leases stay valid for a while."""
        self.admission.forget(node)
        self.workforce.on_attached(node, set(), now)

    # -- time --------------------

    def flush(self) -> None:
        """Hand the results of this turn to the nodes whose clients wait, after the commit that holds them; read what is needed next."""
        self.paging.refill()
        self.bodies.flush()
        self.pushes.flush()

    def tick(self, now: float) -> None:
        """What is due becomes ready; leases of workers that did not come back are void; old results go."""
        self.now = now
        self.ageing.came(self.next_order, now)
        for node, message in self.bodies.take_early():
            self.on_outcomes(node, message)
        self.line.tick()
        self.retries.tick()
        self.states.tick()
        self.workforce.tick(now)
        if self.purge.under_way:
            self.purge.go_on()
        self.flows.tick()
        self.lost_and_found.tick()
        self.results.expire(self.wall_ms)
