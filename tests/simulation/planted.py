"""Known bugs to plant: each breaks one rule of the core from outside, and the simulation must notice.

A name says what is broken, with its rule. ``BUGS[name]()`` is a context within which every core has the bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from mesh.core.broker.attempts import Attempts
from mesh.core.broker.broker import Broker
from mesh.core.broker.dead_lettering import DeadLettering
from mesh.core.broker.expiry import Expiry
from mesh.core.broker.flows import Flows, Gather
from mesh.core.broker.lost_and_found import LostAndFound
from mesh.core.broker.plain import is_plain
from mesh.core.broker.queues import Record
from mesh.core.broker.selection import Ageing, Rank
from mesh.core.broker.takeover import Takeover
from mesh.core.cluster.copies import Copies
from mesh.core.cluster.election import Election
from mesh.core.cluster.leases import Leases, Told
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.policies import Policies
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.cluster.topology import Topology, name_of
from mesh.core.coordinator import Coordinator
from mesh.core.effects import Batch, Identity, Restored
from mesh.core.turn import Turn
from mesh.wire.entries import Member, Message, Result, Scope
from mesh.wire.messages import Heartbeat, OutcomeKind, Outcomes, Release, Report, WorkerGone
from mesh.wire.topology import Binding, Exchange, QueueDeclaration
from tests.simulation.host import Host

Bug = Callable[[], AbstractContextManager[None]]
BUGS: dict[str, Bug] = {}


def replaces(owner: type, method: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated function takes the place of a method; it gets the original one first. Its name is the bug's."""

    def register(broken: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(owner, method)

        @contextmanager
        def plant() -> Iterator[None]:
            with patch.object(owner, method, lambda *arguments, **named: broken(original, *arguments, **named)):
                yield

        BUGS[broken.__name__] = plant
        return broken

    return register


# -- order --------------------


@replaces(Ageing, "rank")
def priorities_ignored(rank: Callable[[Ageing, int, int], Rank], ageing: Ageing, priority: int, order: int) -> Rank:
    """I15: what is handed out passes nothing of a higher priority."""
    return rank(ageing, 0, order)


# -- disk and copies --------------------


@replaces(Turn, "take_batch")
def lazy_fsync(take_batch: Callable[[Turn], Batch | None], turn: Turn) -> Batch | None:
    """R7: a copy counts only after fsync. What waits for the disk is let go when the transaction begins."""
    batch = take_batch(turn)
    if turn._in_flight is not None:
        number, mark, peers, sessions = turn._in_flight
        turn._release(peers, sessions)
        turn._in_flight = (number, mark, [], [])
        turn.durable_mark = mark
    return batch


@replaces(Copies, "needed")
def copies_over_live_nodes(needed: Callable[[Copies], int], copies: Copies) -> int:
    """R6: `copies` is a target over admitted durable members, not over live ones."""
    return min(needed(copies), 1 + len(copies._membership.reachable()))


@replaces(Replication, "_send_settled_back")
def settlement_passed_on_early(send: Callable[[Replication], None], replication: Replication) -> None:
    """R7: a settlement is passed on only when the transaction that it belongs to has its copies."""
    pending, replication._settled_back = replication._settled_back, {}
    for peer, dots in pending.items():
        replication._queue_settled(peer, dots, 0)


@replaces(Replication, "_relieve")
def dropped_before_another_is_complete(relieve: Callable[[Replication], None], replication: Replication) -> None:
    """R18b: who ceases to be a deputy keeps what it holds until the present coordinator and deputy cover all of it."""
    for peer in sorted(replication._holds_foreign):
        if peer not in replication.deputies and peer in replication.streams:
            replication._holds_foreign.discard(peer)
            replication._turn.to_peer(peer, Release(replication.streams[peer].term))


@replaces(Replica, "drop_foreign")
def context_kept_when_entries_are_dropped(drop: Callable[[Replica], None], replica: Replica) -> None:
    """R18b: a context without its entries claims that they are settled, and erases them everywhere."""
    own = replica._own[Scope.BULK].owner
    for journal in replica.journals.values():
        if journal.scope == Scope.BULK and journal.owner != own:
            for sequence in list(journal.live):
                del journal.live[sequence]
                replica._turn.settle(journal.name, sequence)


def _plant_reopened_journals() -> AbstractContextManager[None]:
    """R1: a journal is named afresh at each process start, and never written again after that process ends."""

    @contextmanager
    def plant() -> Iterator[None]:
        identity, restore = Host._identity, Replica.restore

        def always_the_same(host: Host) -> Identity:
            me = identity(host)
            me.bulk_journal, me.shared_journal = host.id.encode().ljust(16, b"b"), host.id.encode().ljust(16, b"s")
            return me

        def go_on(replica: Replica, restored: Restored) -> None:
            restore(replica, restored)
            for scope, journal in replica._own.items():
                replica._own[scope] = replica.journals[journal.name]

        with patch.object(Host, "_identity", always_the_same), patch.object(Replica, "restore", go_on):
            yield

    return plant()


BUGS["journal_reopened_after_restart"] = _plant_reopened_journals


# -- election and authority --------------------


@replaces(Turn, "vote")
def votes_not_kept(vote: Callable[..., None], turn: Turn, term: int, voted_for: str) -> None:
    """R9: raise the term durably."""


@replaces(Election, "on_heartbeat")
def silent_step_down(hear: Callable[..., None], election: Election, sender: str, beat: Heartbeat) -> None:
    """R12: a process that stalled steps down and announces it; here nobody hears the announcement."""
    if sender != election.coordinator or beat.coordinator == sender:
        hear(election, sender, beat)


def _plant_early_dispatch() -> AbstractContextManager[None]:
    """R9: reconcile with every reachable member, then dispatch."""

    @contextmanager
    def plant() -> Iterator[None]:
        reconcile = Coordinator._reconcile

        def at_once(reign: Coordinator) -> None:
            reign._awaited.clear()
            reign._awaited_workers.clear()
            reconcile(reign)

        with patch.object(Coordinator, "_reconcile", at_once), patch.object(Coordinator, "_meets_the_others", lambda _: False):
            yield

    return plant()


BUGS["dispatch_before_reconciliation"] = _plant_early_dispatch


@replaces(Coordinator, "has_authority")
def authority_ignored(has_authority: Callable[..., bool], reign: Coordinator) -> bool:
    """R10: only with a majority, or proof that the missing are gone, or after patience."""
    return True


@replaces(Coordinator, "_meets_the_others")
def authority_regained_at_once(meets: Callable[..., bool], reign: Coordinator) -> bool:
    """R9: authority that comes back begins with hearing the others."""
    return False


# -- merging --------------------


@replaces(Replica, "_merge_overlap")
def overlap_of_appends_not_merged(merge: Callable[..., list[int]], replica: Replica, *arguments: Any) -> list[int]:
    """DESIGN 4: where a stretch overlaps with what is known, an entry that only one side has live was settled by the other."""
    return []


@replaces(Replication, "_pass_on")
def stretch_without_live_entries_not_passed_on(pass_on: Callable[..., None], replication: Replication, name: bytes) -> None:
    """I2: contexts are equal, too."""


@replaces(Replication, "on_replicate")
def settlement_by_an_own_append_not_told(on_replicate: Callable[..., bool], replication: Replication, sender: str, message: Any) -> bool:
    """I2: what a peer's own append has settled here is told to that peer, as it does not know."""
    replication._source = sender
    try:
        return on_replicate(replication, sender, message)
    finally:
        replication._source = ""


@replaces(Replication, "_on_settled")
def settlement_told_to_the_writer_only(on_settled: Callable[..., None], replication: Replication, journal: Any, *arguments: Any) -> None:
    """I2: whoever holds an entry hears of its settlement, be it its writer or not."""
    hidden = {
        peer: stream
        for peer, stream in replication.streams.items()
        if not stream.is_copied_to(journal) and journal.owner != peer and replication.leading
    }
    cursors = {peer: stream.cursors.pop(journal.name, None) for peer, stream in hidden.items()}
    on_settled(replication, journal, *arguments)
    for peer, cursor in cursors.items():
        if cursor is not None:
            hidden[peer].cursors[journal.name] = cursor


# -- expiry and dead letters --------------------


@replaces(Expiry, "put_aside")
def expired_messages_handed_out(put_aside: Callable[..., bool], expiry: Expiry, record: Record) -> bool:
    """I18: nothing is handed out after it has expired."""
    return False


@replaces(DeadLettering, "_copies")
def copies_named_by_who_makes_them(copies: Callable[..., Any], dead_lettering: DeadLettering, *arguments: Any) -> Any:
    """R8: both sides of a split give the copies of a dead letter the same ids."""
    found, trouble = copies(dead_lettering, *arguments)
    for copy in found[1:]:
        copy.id += f"/{dead_lettering._broker._me.id}"
    return found, trouble


@replaces(DeadLettering, "_republish")
def dead_letter_settled_before_it_is_written(republish: Callable[..., None], letters: DeadLettering, record: Record, copies: Any) -> None:
    """I17: the old entry is settled in the transaction that writes the new ones; here they come with the next message that dies."""
    early = vars(letters).get("early", [])
    vars(letters)["early"] = copies
    republish(letters, record, early)


# -- what is in memory only --------------------


@replaces(Replica, "write_transient")
def transient_messages_on_the_disk(write: Callable[..., None], replica: Replica, messages: Any) -> None:
    """I19: what is transient is on no disk."""
    replica.write_many(messages)


@replaces(Replica, "write")
def context_kept_of_what_is_not(write: Callable[..., Any], replica: Replica, *arguments: Any) -> Any:
    """I19: a context on the disk of entries that are on none claims, after a restart, that they are settled."""
    journal, sequence = write(replica, *arguments)
    replica._turn.move_head(journal.head())
    return journal, sequence


# -- workflows --------------------


@replaces(Flows, "_may_run")
def steps_run_before_what_they_wait_for(may_run: Callable[..., bool], flows: Flows, message: Message) -> bool:
    """I9: a step begins when what it waits for has ended."""
    return True


@replaces(Gather, "take")
def gather_counts_what_it_hears(take: Callable[..., None], gather: Gather, place: int, id: str) -> None:
    """R25: a chord counts a set of members, not how often one is heard of."""
    place = gather.parts.index(None) if None in gather.parts else place
    take(gather, place, id)


@replaces(Flows, "holds")
def results_that_are_waited_for_expire(holds: Callable[..., bool], flows: Flows, result: Result) -> bool:
    """I9: what something waits for is not removed before that has ended."""
    return False


@replaces(Flows, "_skip")
def failure_ends_nothing(skip: Callable[..., None], flows: Flows, record: Record, result: Result) -> None:
    """I3: what can't run any more ends."""


@replaces(Flows, "_member_ended")
def values_forgotten_at_takeover(member_ended: Callable[..., None], flows: Flows, into: str, place: int, result: Result) -> None:
    """R25: a new coordinator has the results before it has the gathers."""
    if into in flows._gathers:
        member_ended(flows, into, place, result)


# -- topology --------------------


@replaces(Topology, "_on_added")
def the_last_declaration_heard_stands(on_added: Callable[..., None], topology: Topology, journal: Any, sequence: int, entry: Any) -> None:
    """R22: the highest (term, revision, dot) stands."""
    places = topology._standing._places
    known = places.get(name_of(entry)) if isinstance(entry, Exchange | QueueDeclaration | Binding) else None
    if known is not None:
        places[name_of(known.entry)] = known._replace(rank=(-1, 0, b"", 0))
    on_added(topology, journal, sequence, entry)


@replaces(Topology, "remove")
def deletion_forgotten_with_the_process(remove: Callable[..., None], topology: Topology, name: Any) -> None:
    """R22: what is deleted is settled, for everybody and for good."""
    known = topology._standing._places.pop(name, None)
    if known is not None:
        topology._is_gone(known.entry)


@replaces(LostAndFound, "_keep")
def messages_of_deleted_queues_dropped(keep: Callable[..., None], lost_and_found: LostAndFound, message: Message) -> None:
    """R22: messages for a queue that the other side deleted go to lost+found."""


@replaces(LostAndFound, "_suspect")
def messages_of_deleted_queues_stay_in_them(suspect: Callable[..., None], lost_and_found: LostAndFound, queue: str) -> None:
    """R22: ... and not into a queue of that name."""


# -- what runs --------------------


@replaces(Broker, "on_outcomes")
def outcomes_of_unknown_ids_thrown_away(on_outcomes: Callable[..., None], broker: Broker, node: str, message: Outcomes) -> None:
    """R16: an outcome whose message is on a disk that is away is kept, so that it is done when the message comes."""
    for outcome in message.outcomes:
        if outcome.kind == OutcomeKind.DONE and outcome.id not in broker.records:
            outcome.kind = OutcomeKind.RETURNED
    on_outcomes(broker, node, message)


def _plant_untold_leases() -> AbstractContextManager[None]:
    """DESIGN 5: deputies know what is running, so that a successor does not hand it out again."""

    @contextmanager
    def plant() -> Iterator[None]:
        with patch.object(Leases, "note", lambda *_, **__: Told(0, "", frozenset(), 0.0, 0)), patch.object(Broker, "_leases", lambda _: {}):
            yield

    return plant()


BUGS["soft_leases_not_told"] = _plant_untold_leases


@replaces(Leases, "note")
def attempts_not_on_the_disk(note: Callable[..., Told], leases: Leases, *lease: Any, again: bool) -> Told:
    """R24: the number of attempts is durable before the next one."""
    return note(leases, *lease, again=False)


@replaces(Leases, "are_known")
def delivery_does_not_wait_for_the_deputies(are_known: Callable[..., bool], leases: Leases, *arguments: Any) -> bool:
    """R10: a delivery leaves when the deputies know its lease, so that a cut shorter than patience runs nothing twice."""
    return True


@replaces(Leases, "_has_heard")
def delivery_does_not_wait_for_a_deputy_that_catches_up(has_heard: Callable[..., bool], leases: Leases, peer: str, mark: int) -> bool:
    """R10: nor is a deputy that lacks part of the copy left out."""
    stream = leases._replication.streams.get(peer)
    return has_heard(leases, peer, mark) or (stream is not None and not stream.complete)


@replaces(Leases, "_deputies_suffice")
def delivery_leaves_without_a_deputy(deputies_suffice: Callable[..., bool], leases: Leases) -> bool:
    """R10: while there is none, and others could be a majority, nothing is handed out."""
    return True


@replaces(Copies, "when_kept")
def outbox_cleared_with_what_there_is(when_kept: Callable[..., None], copies: Copies, action: Callable[[int], None]) -> None:
    """R7: a worker clears its outbox when the mesh has the outcome, not when one node has it that others can do without."""
    copies.when_copied(action)


@replaces(Takeover, "restore_lease")
def reported_lease_gives_way_to_a_delivery_that_got_lost(
    restore: Callable[..., None], takeover: Takeover, id: str, *denied_by: str
) -> None:
    """R9: a worker that got nothing says so; who has the task by the word of another stays known until then."""
    restore(takeover, id, *denied_by)
    takeover._replication.leases.soft.pop(id, None)


@replaces(Coordinator, "on_report")
def leases_not_reported(on_report: Callable[..., None], reign: Coordinator, sender: str, report: Report) -> None:
    """A successor that was no deputy learns from the reports what is running."""
    report.leases = []
    on_report(reign, sender, report)


@replaces(Replication, "_on_settled")
def leases_outlive_their_messages(on_settled: Callable[..., None], replication: Replication, *arguments: Any) -> None:
    """I12: a deputy forgets a lease with its message."""
    leases = dict(replication.leases.soft)
    on_settled(replication, *arguments)
    replication.leases.soft = leases


@replaces(Takeover, "index")
def offers_during_reconciliation_forgotten(index: Callable[..., None], takeover: Takeover) -> None:
    """R9: workers report what they hold; it counts although it was said before the reign had its records."""
    broker = takeover._broker
    for worker in broker.workers.values():
        for id in worker.reported:
            broker._replication.leases.soft.pop(id, None)
        worker.reported = set()
    index(takeover)


@replaces(Coordinator, "on_broker_message")
def end_of_a_worker_reordered_behind_its_return(on_message: Callable[..., None], reign: Coordinator, sender: str, message: Any) -> None:
    """R24: while it reconciles the coordinator takes the end of a worker and its next offer in their order."""
    if isinstance(message, WorkerGone) and reign._election.is_coordinator and not reign._broker.active:
        reign._deferred.append((sender, message))
    else:
        on_message(reign, sender, message)


def _plant_crossing_offers() -> AbstractContextManager[None]:
    """R9: a full offer and the delivery that crosses it make no second run."""

    @contextmanager
    def plant() -> Iterator[None]:
        with patch.object(Replication, "awaits_welcome", False):
            yield

    return plant()


BUGS["delivery_crosses_an_offer"] = _plant_crossing_offers


@replaces(Broker, "_on_settled")
def message_settled_elsewhere_stays_queued(
    on_settled: Callable[..., None], broker: Broker, journal: Any, sequence: int, entry: Any
) -> None:
    """R16: done anywhere is done everywhere."""
    if not isinstance(entry, Message):
        on_settled(broker, journal, sequence, entry)


@replaces(Attempts, "lose")
def message_dies_with_its_consumer(lose: Callable[..., None], attempts: Attempts, record: Record, how: str) -> None:
    """I20: what nobody acknowledged is handed to another consumer."""
    if is_plain(record.message):
        attempts._broker.withdraw(record)
    else:
        lose(attempts, record, how)


@replaces(Policies, "of_mesh")
def limit_of_deliveries_exceeded(of_mesh: Callable[..., int], policies: Policies, name: str) -> int:
    """R24: at max_deliveries the task fails."""
    limit = of_mesh(policies, name)
    return 10 * limit if name == "max_deliveries" else limit


@replaces(Membership, "introduce")
def the_twin_of_a_node_that_is_heard_is_believed(introduce: Callable[..., None], membership: Membership, member: Member) -> None:
    """R3: of a node that is heard its own entry alone says where it is."""
    with patch.object(membership, "is_heard", lambda id: False):
        introduce(membership, member)


@replaces(Membership, "skew_ms")
def skews_ignored(skew_ms: Callable[..., int], membership: Membership, id: str) -> int:
    """R23: an instant was named by the clock of another machine."""
    return 0
