"""What must hold, each invariant as a function that quotes it (docs/rules.md): what is checked on the way, then what of the calm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.ranges import expand, intersection, subtract
from mesh.core.cluster.replica import Journal
from mesh.core.kinds import kind_of
from mesh.core.machine import Machine
from mesh.core.states import RecordState, Role
from mesh.wire.entries import Dot, Member, Message
from mesh.wire.messages import Deliver, Outcome, OutcomeKind
from tests.simulation import steps

if TYPE_CHECKING:
    from tests.simulation.history import Delayed
    from tests.simulation.host import Host
    from tests.simulation.parts import Disk
    from tests.simulation.world import World

DAMAGE_NOTICED_S = 1.5
"""A disk that was lost so recently may still be counted as a copy: its node's silence is noticed after heartbeat_timeout_s."""
EARLY_S = 2.0
SKEW_KNOWN_S = 0.5
"""A clock that was changed so recently is taken for what it was before: skew is measured with each heartbeat."""
LOOK_S = 0.2
"""How often the simulation looks at nodes from outside, at least."""
JOURNALS_OF_A_PROCESS = 2

# -- on the way --------------------


def i4_a_confirm_counts_fsynced_copies(world: World, host: Host, ids: list[str], copies: int) -> None:
    """I4: confirm(copies=n) implies n fsynced prefixes at that instant.

    A disk counts when it holds the very entry, or its context covers it and somebody has settled it. What has ended before its message
    came to a disk is there as its result; of what was submitted twice one entry stands. The disk of a clone counts, too: it is the
    node's as long as the original is not heard.
    """
    if not copies:
        return
    assert host.machine is not None
    journal = host.machine.me.bulk_journal
    disks = [other.disk for other in (*world.hosts.values(), *world.clones, *world.former_clones)]
    for id in ids:
        dots = world.history.dots.get(id, [])
        own = [dot for dot in dots if dot[0] == journal and dot in world.history.submits]
        counted = own if len(own) == 1 else dots + world.history.ended.get(id, [])
        found = max((sum(_kept(world, disk, dot) for disk in disks) for dot in counted), default=0)
        if found < copies:
            world.violate(f"I4: {id} confirmed by {host.name} with {copies} copies, {found} exist")


def r6_fewer_copies_only_when_fewer_are_reachable(world: World, host: Host, machine: Machine, copies: int) -> None:
    """R6: `copies` is a target over admitted durable members, not over live ones.

    So nobody gets a confirm with fewer until they could not be reached for a while (``short_copies_after_s``).
    """
    wanted = min(world.settings.copies, len(machine.membership.admitted()))
    if machine.election.is_coordinator and 0 < copies < wanted and world.now - host.whole_at < world.settings.short_copies_after_s - LOOK_S:
        world.violate(
            f"R6: {host.name} confirmed with {copies} of {wanted} copies, and {world.now - host.whole_at:.2f} s ago had all disks"
        )


def note_wholeness(world: World, host: Host, machine: Machine) -> None:
    """For R6: whether the coordinator has as many disks as it wants now."""
    replication = machine.replication
    disks = 1 + sum(stream.complete and stream.everything and not stream.lags(world.now) for stream in replication.streams.values())
    if disks >= min(world.settings.copies, len(machine.membership.admitted())):
        host.whole_at = world.now


def note_lengths(world: World, machine: Machine) -> None:
    """How much waited at most that was never with a worker, as far as the coordinator knows."""
    if world.settings.max_length:
        waiting = sum(queue.length for queue in machine.broker.queues.values())
        back = sum(
            bool(record.delivered_ms or record.message.attempts) and record.state in (RecordState.READY, RecordState.DELAYED)
            for record in machine.broker.records.values()
        )
        world.history.longest = max(world.history.longest, waiting - back)


def a_queue_keeps_its_limit(world: World) -> None:
    """Without faults no queue is ever longer than its ``max_length``, whichever nodes accept; tasks that come back do not count."""
    limit = world.settings.max_length
    if limit and world.history.longest > limit:
        world.violate(f"a queue of at most {limit} tasks had {world.history.longest}")


def _kept(world: World, disk: Disk, dot: Dot) -> bool:
    if dot in disk.entries:
        return all(_kept(world, disk, chunk) for chunk in world.history.chunks.get(world.history.large.get(dot, b""), ()))
    if dot in world.history.settled and disk.covers(*dot):
        return True
    recently = world.now - disk.damaged_at <= DAMAGE_NOTICED_S
    return recently and disk.before_damage is not None and _kept(world, disk.before_damage, dot)


def i5_one_content(world: World, dot: Dot, known: int, content: int) -> None:
    """I5: no dot has two contents."""
    if known != content:
        world.violate(f"I5: two contents for {_name(dot[0])}:{dot[1]}")


def check_delivery(world: World, host: Host, machine: Machine, deliver: Deliver) -> None:
    """All that must hold whenever a coordinator hands out tasks."""
    i6_nothing_finished_runs_again(world, host, machine, deliver)
    i7_strict_has_one_dispatcher(world, host, machine)
    i13_nothing_early(world, host, deliver)
    r24_attempts_are_on_the_disk_before_the_next(world, host, machine, deliver)


def i6_nothing_finished_runs_again(world: World, host: Host, machine: Machine, deliver: Deliver) -> None:
    """I6: nothing finished runs again once all cover it."""
    for delivery in deliver.deliveries:
        id = delivery.id
        if id in machine.broker.results:
            world.violate(f"I6: {id} handed out although its result is here")
        if id not in world.history.finished:
            continue
        dots = world.history.dots.get(id, [])
        settled_here = [dot for dot in dots if host.disk.covers(*dot) and dot not in host.disk.entries]
        record = machine.broker.records.get(id)
        if record is not None and (record.journal.name, record.sequence) in settled_here:
            world.violate(f"I6: {id} handed out although {host.name}'s own disk says that it is settled")


def i7_strict_has_one_dispatcher(world: World, host: Host, machine: Machine) -> None:
    """I7: `strict`: never two dispatchers. While one hands out no other one holds a lease of a majority, not even a stopped process.

    A node that lost its disk, or has none yet, and meets nobody founds a mesh of its own, which merges later.
    """
    if world.settings.partition != "strict" or len(machine.membership.admitted()) == 1:
        return
    for name, other in world.machines().items():
        if other is not machine and other.election.role == Role.REIGNING and _holds_lease(world, other):
            world.violate(f"I7: {host.name} hands out in term {machine.election.term} while {name} may in term {other.election.term}")


def _holds_lease(world: World, machine: Machine) -> bool:
    admitted = [member.id for member in machine.membership.admitted()]
    peers = [machine.membership.peers[id] for id in admitted if id in machine.membership.peers]
    promised = sum(world.now - peer.lease_from < world.settings.authority_timeout_s for peer in peers)
    return len(admitted) > 1 and 2 * (1 + promised) > len(admitted)


def i13_nothing_early(world: World, host: Host, deliver: Deliver) -> None:
    """I13: nothing early by more than 2 s, in true time: wall clocks may differ, but not change meanwhile (R23)."""
    for delivery in deliver.deliveries:
        delayed = world.history.delayed.get(delivery.id)
        if delayed is not None and world.now < delayed.due_s - EARLY_S and not _by_a_wrong_clock(world, delayed, [host]):
            world.violate(f"I13: {delivery.id} handed out {delayed.due_s - world.now:.1f} s early")


def _by_a_wrong_clock(world: World, delayed: Delayed, coordinators: Iterable[Host]) -> bool:
    """Whether a clock that it goes by was changed while it waited or just before, or it goes by another clock than it was made by.

    It does when another node accepted it, or wrote it anew after its disk was damaged, or when the one that did will never be heard again.
    A coordinator that has not heard that node since its clock was changed, as it is cut off from it, takes it for what it was.
    """
    if world.clock_changed_at is None:
        return False
    by = world.by_id.get(delayed.by)
    if by is None or delayed.salvaged or not delayed.local:
        return True
    if any(_is_unheard_since(host, by) for host in coordinators):
        return True
    return any(host.clock_changed_at >= delayed.made_at_s - SKEW_KNOWN_S for host in (by, *coordinators))


def _is_unheard_since(host: Host, by: Host) -> bool:
    """Whether a node has not heard another one since that one's clock was changed."""
    peer = host.machine.membership.peers.get(by.id) if host.machine is not None else None
    return peer is not None and peer.heard_at < by.clock_changed_at + SKEW_KNOWN_S


def r24_attempts_are_on_the_disk_before_the_next(world: World, host: Host, machine: Machine, deliver: Deliver) -> None:
    """R24: the number of attempts is durable before the next one."""
    for delivery in deliver.deliveries:
        record = machine.broker.records.get(delivery.id)
        if record is None or not record.is_counted or delivery.attempt != record.message.attempts + 1:
            continue
        if (record.journal.name, record.sequence) not in host.disk.entries:
            world.violate(f"R24: attempt {delivery.attempt} of {delivery.id} begins, and those before it are on no disk")


def watch_order(world: World, machine: Machine) -> None:
    """Have I15 checked whenever a worker is given something: a moment later more may be ready."""
    dispatcher = machine.dispatcher
    hand = dispatcher._hand

    def checked(worker: WorkerState, taken: list[Record]) -> None:
        i18_nothing_after_its_time(world, taken)
        i15_the_urgent_first(world, machine, worker, taken)
        hand(worker, taken)

    dispatcher._hand = checked  # type: ignore[method-assign]


def i15_the_urgent_first(world: World, machine: Machine, worker: WorkerState, taken: list[Record]) -> None:
    """I15: what is handed out passes nothing of a higher priority that is ready and that the worker can run, unless it has aged."""
    if world.now >= world.settings.priority_ageing_s:
        return
    lowest = min(kind_of(record.message)[1] for record in taken)
    for record in machine.broker.records.values():
        task, priority, target = kind_of(record.message)
        if target:  # it may be left to the workers of its node
            continue
        if priority > lowest and record.state is RecordState.READY and task in worker.tasks and record.message.queue in worker.queues:
            world.violate(f"I15: {record.message.id} of priority {priority} waits, and one of {lowest} goes to {worker.id}")
            return


def i18_nothing_after_its_time(world: World, taken: Iterable[Record]) -> None:
    """I18: nothing is handed out more than 2 s after it has expired, while no clock is changed."""
    for record in taken:
        expiring = world.topology.expiring.get(record.message.id)
        if expiring is not None and world.now > expiring.due_s + EARLY_S and world.clock_changed_at is None:
            world.violate(f"I18: {record.message.id} handed out {world.now - expiring.due_s:.1f} s after it had expired")


def excused(world: World) -> set[str]:
    """Ids that need not come to an end: lost with the disk that had their only copy, or counted down by a clock that was changed.

    With ``copies`` of 1 that goes for results, too.
    """
    results = world.history.results_wiped if world.settings.copies == 1 else set()
    kept = world.topology.queues  # nobody consumes them
    delayed = {id for id, delayed in world.history.delayed.items() if _by_a_wrong_clock(world, delayed, world.hosts.values())}
    return {*world.history.wiped, *results, *kept, *delayed, *world.asked.by_a_changed_clock(), *steps.excused(world)}


def r7_what_a_worker_forgets_is_kept(world: World, outcomes: Iterable[Outcome]) -> None:
    """R7: a settlement is passed on (to the worker's outbox) only when the transaction it belongs to has its copies."""
    for outcome in outcomes:
        kept = outcome.id in world.history.ended or outcome.id in world.fleeting.tasks
        if outcome.kind == OutcomeKind.DONE and not kept:
            world.violate(f"R7: a worker may forget the outcome of {outcome.id}, whose result is on no disk")


def heard_where(machine: Machine) -> dict[str, list[str]]:
    """For R3: where a node looks for those that it hears."""
    return {member.id: member.addresses for member in machine.membership.members.values() if machine.membership.is_heard(member.id)}


def r3_nobody_is_sent_to_the_twin_of_a_node_that_is_heard(world: World, host: Host, before: dict[str, list[str]]) -> None:
    """R3: of two processes with one key the one that is heard stands. What a knock tells of others does not move it."""
    if host.machine is not None and host.paused_until <= world.now:
        for id, addresses in heard_where(host.machine).items():
            if before.get(id, addresses) != addresses:
                world.violate(f"R3: {host.name} was sent to {addresses[0]} for {id}, which it hears at {before[id][0]}")


def r9_one_vote_in_a_term(world: World, host: Host, candidate: str, term: int) -> None:
    """R9: raise the term durably. So a node gives its vote once in a term, whatever happened to its process; a lost disk excuses it."""
    host.voted_in_term = max(host.voted_in_term, term)
    voted = world.history.votes.setdefault((host.id, term), candidate)
    if voted != candidate and host.disk.damaged_at == float("-inf"):
        world.violate(f"R9: {host.name} voted for {voted} and {candidate} in term {term}")


def r9_terms_only_rise(world: World, host: Host, machine: Machine) -> None:
    """R9: raise the term durably. A new process knows the term of every vote that a former one has asked for or given."""
    if machine.election.term < host.voted_in_term and host.disk.damaged_at == float("-inf"):
        world.violate(f"R9: {host.name} voted in term {host.voted_in_term} and came back with term {machine.election.term}")


# -- in the calm --------------------


def unfinished(world: World) -> str:
    """I3: after healing everything finishes in bounded time. What is not yet so, or nothing."""
    return disagreement(world) or _unfinished_work(world) or next(differences(world), "")


def disagreement(world: World) -> str:
    """Why there is not one coordinator that reigns and has a stream to everybody, or nothing."""
    coordinators = world.coordinators()
    if len(coordinators) != 1:
        return f"coordinators: {[host.name for host in coordinators]}"
    leader = coordinators[0]
    assert leader.machine is not None
    if leader.machine.election.role != Role.REIGNING:
        return f"{leader.name} still reconciles"
    for name, machine in world.machines().items():
        if machine is leader.machine:
            continue
        if (machine.election.coordinator, machine.election.term) != (leader.id, leader.machine.election.term):
            return f"{name} follows {machine.election.coordinator or 'nobody'} in term {machine.election.term}, not {leader.name}"
        stream = leader.machine.replication.streams.get(machine.me.id)
        if stream is None or not stream.complete or not leader.machine.replication.reconciled_with(machine.me.id):
            return f"{leader.name} and {name} are not reconciled"
    return ""


def is_full_of_what_is_excused(world: World) -> bool:
    """Whether a limited queue takes nothing more, as what waits there is not due for as long as a clock says."""
    held = [len((machine.broker.records.keys() | _paged(machine)) & excused(world)) for machine in world.machines().values()]
    return 0 < world.settings.max_length <= max(held)


def _unfinished_work(world: World) -> str:
    (leader,) = world.coordinators()
    assert leader.machine is not None
    excuses = excused(world)
    unsettled = sorted((leader.machine.broker.records.keys() | _paged(leader.machine)) - excuses)
    if unsettled:
        return f"unsettled: {unsettled[:5]}"
    for client in world.clients:
        waiting = [id for id in client.waiting if id not in excuses]
        if client.unconfirmed:
            return f"{client.name} has no confirm of {len(client.unconfirmed)} submits"
        if waiting:
            return f"{client.name} has no result of {waiting[:5]}"
    for worker in world.workers:
        known = leader.machine.broker.workers.get(worker.id)
        if known is None or not known.synced:
            return f"{leader.name} does not know what {worker.name} holds"
        held = {*worker.holdings.held, *worker.holdings.outbox} - excuses
        if held:
            return f"{worker.name} holds {sorted(held)[:5]}"
    return ""


def _paged(machine: Machine) -> set[str]:
    """Ids of the messages that a node has on its disk only."""
    pages, journals = machine.replica.pages, machine.replica.journals.values()
    places = [journal.paged.get(sequence) for journal in journals for sequence in journal.paged.sequences(1, journal.upto)]
    return {pages.header(place.lane, place.key).id for place in places if place is not None}


def differences(world: World) -> Iterator[str]:
    """I2: after healing all states equal, on all holders, in memory and on disk."""
    (leader,) = world.coordinators()
    assert leader.machine is not None
    whole = {leader.id, *leader.machine.replication.deputies}
    names = set().union(*(machine.replica.journals for machine in world.machines().values()))
    for name, machine in world.machines().items():
        yield from _disk_differences(world.hosts[name], machine)
        for journal_name in sorted(names):
            theirs = machine.replica.journals.get(journal_name)
            ours = leader.machine.replica.journals.get(journal_name)
            known = theirs or ours
            must_be_whole = machine.me.id in whole or (known is not None and known.shared)
            problem = _journal_difference(ours, theirs, must_be_whole=must_be_whole)
            if problem:
                yield f"{name} and coordinator {leader.name} differ in {_name(journal_name)}: {problem}"
            if theirs is not None and not theirs.shared and theirs.owner != machine.me.id and machine.me.id not in whole:
                yield f"{name} still holds {_name(journal_name)} of {theirs.owner} although it is no deputy (R18b)"


def _journal_difference(ours: Journal | None, theirs: Journal | None, *, must_be_whole: bool) -> str:
    if ours is None:
        return "the coordinator lacks it" if theirs is not None and theirs.upto else ""
    if theirs is None:
        return "lacks it" if must_be_whole and (ours.upto or ours.count) else ""
    if (must_be_whole or theirs.upto > ours.upto) and theirs.upto != ours.upto:
        return f"it goes to {theirs.upto} there and to {ours.upto} here"
    here, there = intersection(ours.ranges(), [1, theirs.upto]), theirs.ranges()
    if here != there:
        return f"only there {subtract(there, here)[:6]}, only here {subtract(here, there)[:6]}"
    changed = [sequence for sequence in theirs.live if ours.live.get(sequence, theirs.live[sequence]) != theirs.live[sequence]]
    return f"different contents of {changed[:5]}" if changed else ""


def _disk_differences(host: Host, machine: Machine) -> Iterator[str]:
    journals = {name: journal for name, journal in machine.replica.journals.items() if not journal.fleeting}
    in_memory = {(name, sequence) for name, journal in journals.items() for sequence in expand(journal.ranges())}
    if in_memory != host.disk.entries.keys():
        yield f"{host.name}'s disk has {len(host.disk.entries)} entries, its memory {len(in_memory)}"
    for name, journal in journals.items():
        head = host.disk.heads.get(name)
        if journal.upto and (head is None or head.upto != journal.upto):
            yield f"{host.name}'s disk has {_name(name)} up to {head.upto if head else 0}, its memory up to {journal.upto}"
    if machine.replica.forks:
        yield f"{host.name} sees forks of {[_name(name) for name in machine.replica.forks]}"


def i1_confirmed_is_kept(world: World) -> None:
    """I1: confirmed implies settled-by-a-run or live somewhere (within the stated disk losses).

    Those are: what had one copy, on a disk that was wiped or set back. Whatever else is lost is a violation. With ``copies`` of 1 that goes
    for everything, however many disks an entry happened to be on when it was confirmed.
    """
    history = world.history
    alive = set().union(*(host.disk.live_ids(Message) for host in world.hosts.values()))
    for id in sorted(history.bodies_lost & history.confirmed.keys() - history.wiped.keys()):
        world.violate(f"I1: {id} was confirmed with {history.confirmed[id]} copies and its body is lost, and no disk was")
    for id in sorted(history.confirmed):
        if id in history.finished or id in alive or id in history.ended:
            continue
        if id not in history.wiped:
            world.violate(f"I1: {id} was confirmed with {history.confirmed[id]} copies and is lost, and no disk was")
        elif history.confirmed[id] > 1 and world.settings.copies > 1:
            world.violate(f"I1: {id} was confirmed with {history.confirmed[id]} copies and is lost with one disk")


def i8_attempts_are_limited(world: World, weight: int, sides: int) -> None:
    """I8: attempts <= limit + faults. Without a death of its slot a task has one attempt; ``weight`` counts the faults.

    Each of the ``sides`` of a split counts for itself, and a disk that was set back anew, where it is the only one that has counted. A run
    that a task has asked for is none of these.
    """
    history = world.history
    only_disk = world.settings.copies == 1 or len(world.hosts) == 1
    rounds = sides + (history.set_back if only_disk else 0)
    for id, starts in history.starts.items():
        limit = 1 if id in history.finished else rounds * world.settings.max_deliveries
        if len(starts) > limit + weight + world.asked.times(id):
            world.violate(f"I8: {id} was started {len(starts)} times; the limit is {limit}, faults {weight}")


def i12_everything_is_bounded(world: World) -> None:
    """I12: memory, queues, context bounded. When all is done nothing waits, and what is kept is in proportion to what exists."""
    nodes = len(world.identities)
    excuses = excused(world)
    for name, machine in world.machines().items():
        replication, broker = machine.replication, machine.broker
        transient = sum(len(journal.live) for journal in machine.replica.journals.values() if journal.fleeting)
        figures = {
            "waits for copies": (len(replication.copies.waits) + len(replication.copies.settlements) + len(replication.copies.keeps), 0),
            "results that clients wait for": (0 if machine.edge.waiting.telling else len(set(machine.edge.waiting.ids()) - excuses), 0),
            "streams": (len(replication.streams), nodes - 1 if machine.election.is_coordinator else 1),
            "inbound streams": (len(replication.inbound), nodes - 1 if machine.election.is_coordinator else 1),
            "watchers": (len(broker.watchers.keys() - excuses - world.fleeting.tasks), 0),
            "leases known to deputies": (len(replication.leases.soft.keys() - excuses), 0),
            "queues": (len(broker.queues), len((broker.records.keys() | _paged(machine)) & excuses)),
            "workers": (sum(worker.orphaned_at is None for worker in broker.workers.values()), len(world.workers) + len(world.talkers)),
            "workers at a node that is no coordinator": (0 if broker.active else len(broker.workers), 0),
            "silent sessions": (sum(_is_silent(world, session.heard_at) for session in machine.edge.sessions.values()), 0),
            "peers": (len(machine.membership.peers), nodes - 1),
            "members": (sum(isinstance(e, Member) for j in machine.replica.journals.values() for e in j.live.values()), nodes),
            "tasks to be read from the disk": (len(machine.replica.reads), 0),
            "bytes of tasks in memory": (machine.replica.pages.resident_bytes, 1000 * len(excuses)),
            "bytes of transient messages": (machine.replica.pages.fleeting_bytes, 1000 * transient),
            "journals in the context": (len(machine.replica.journals), world.history.journals),
        }
        for what, (count, limit) in figures.items():
            if count > limit:
                world.violate(f"I12: {name} has {count} {what}, at most {limit} are needed")


def _is_silent(world: World, heard_at: float) -> bool:
    return world.now - heard_at > world.settings.session_timeout_s + 1.0


def i14_without_faults_nothing_runs_twice(world: World) -> None:
    """I14: no fault-free run executes anything twice, but for what asks to be run again: that as often as it asks."""
    twice = world.asked.without_those_asked_for(world.history)
    if twice:
        world.violate(f"I14: {len(twice)} tasks ran twice, such as {twice[0]}")


def _name(journal: bytes) -> str:
    return journal.hex()[:6]
