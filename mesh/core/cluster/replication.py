"""Replication as a star: members stream what they write to the coordinator; it streams everything to the deputies, what all need to
all, and settlements back to the writers (DESIGN 4). On every (re)connect two nodes reconcile by context, then stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mesh.config import Settings
from mesh.core.cluster.copies import Copies
from mesh.core.cluster.leases import Leases
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.scopes import is_shared
from mesh.core.cluster.streams import Stream
from mesh.core.effects import Identity
from mesh.core.turn import Turn
from mesh.errors import RemoteProtocolError
from mesh.wire.entries import Chunk, Entry, Message, Result, Scope
from mesh.wire.messages import LeasesHeard, Reign, Release, Replicate, Replicated, Report, Welcome


class Inbound:
    """What has come of a peer's stream."""

    __slots__ = ("complete", "heavy", "number", "stream", "term")

    def __init__(self, term: int, stream: int) -> None:
        self.term = term
        self.stream = stream
        self.number = 0
        self.complete = False
        self.heavy = False
        """The last batch had a chunk of a large body."""


class Replication:
    """Both ends of this node's streams, as a member (to the coordinator) and as the coordinator (to all)."""

    def __init__(self, me: Identity, replica: Replica, membership: Membership, turn: Turn, settings: Settings) -> None:
        self._me = me
        self._replica = replica
        self._membership = membership
        self._turn = turn
        self._settings = settings
        self.streams: dict[str, Stream] = {}
        """As a member: one stream, to the coordinator. As the coordinator: one to each member that has reported."""
        self.inbound: dict[str, Inbound] = {}
        self.copies = Copies(membership, turn, settings, self.streams)
        self.leading = False
        self.deputies: list[str] = []
        self._full: set[str] = set()
        self.leases = Leases(self, replica, membership, turn, settings)
        self._reports = int.from_bytes(me.bulk_journal[:4], "big")
        """Number of the last report, and so of its two streams; what is still said to a former process must not fit those of this one."""
        self._awaited_welcome = 0
        self._settled_unheard: list[tuple[Journal, int]] = []
        """What was settled after the last report, which called it live, and before its Welcome opened the stream."""
        self.welcomed: dict[bytes, int] = {}
        """As a member: the coordinator's context as its last Welcome told it, of the journals that this node asked for."""
        self._source = ""
        """The peer whose batch is being applied: what it settles is not told back to it."""
        self._holds_foreign: set[str] = set()
        """Members that reported bulk journals of others: released once deputies cover those (R18b)."""
        self._acks: dict[str, Replicated] = {}
        self._settled_back: dict[str, dict[bytes, list[int]]] = {}
        replica.on_added.append(self._on_added)
        replica.on_passed.append(self._on_grown)
        replica.on_settled.append(self._on_settled)

    # -- changes of the replica --------------------

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        self._on_grown(journal)
        if self.leases.soft and isinstance(entry, Result):
            self.leases.settled(entry.id)  # this node may have seen its message settled before the coordinator handed it out

    def _on_grown(self, journal: Journal, *_: object) -> None:
        for stream in self.streams.values():
            stream.changed(journal)

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        id = entry.id if isinstance(entry, Message) else ""
        elsewhere = bool(id) and self.leases.is_present(id)  # not by an outcome that this coordinator was told
        if id:
            self.leases.settled(id)
        if self._awaited_welcome:
            self._settled_unheard.append((journal, sequence))
        for stream in self.streams.values():
            if id:
                stream.message_settled(id, elsewhere=elsewhere)
            if stream.peer == self._source:
                continue
            if stream.is_copied_to(journal):
                stream.settle(journal, sequence, id)
            elif journal.name in stream.cursors:
                # R7: the writer, or who else holds it, keeps the entry until the transaction that settles it has its copies
                self._settled_back.setdefault(stream.peer, {}).setdefault(journal.name, []).append(sequence)

    # -- roles --------------------

    def lead(self) -> None:
        """This node was elected: forget the streams of the last reign; reports will open new ones."""
        self._reset()
        self.leading = True

    def follow(self, coordinator: str, term: int, workers: list[str], also: list[bytes]) -> None:
        """Follow a coordinator: report what this node holds; its Welcome opens the stream, and tells of the journals ``also``."""
        self._reset()
        self.leading = False
        journals = list(self._replica.journals.values())
        self._reports = self._awaited_welcome = self._reports + 1
        heads, live = [journal.head() for journal in journals], [journal.live_dots() for journal in journals if journal.count]
        report = Report(term, heads, live, workers, self._reports, also, self.leases.report(), sorted(self._replica.written()))
        # At once: offers of workers that follow it must not overtake it
        self._turn.to_peer(coordinator, report)

    def _reset(self) -> None:
        self.streams.clear()
        self.inbound.clear()
        self._acks.clear()
        self._settled_back.clear()
        self._awaited_welcome = 0
        self._settled_unheard.clear()
        self._holds_foreign.clear()
        self.deputies = []
        self._full = set()
        self.leases.begin()

    def forget_peer(self, peer: str) -> None:
        """The channel to a peer broke: its next report opens new streams."""
        self.streams.pop(peer, None)
        self.inbound.pop(peer, None)
        self._acks.pop(peer, None)

    # -- reconciliation --------------------

    def on_report(self, sender: str, report: Report) -> None:
        """A member reports what it holds: settle what it saw settled, tell it what was settled here, and open the stream to it."""
        live = {dots.journal: dots for dots in report.live}
        cursors: dict[bytes, int] = {}
        settled_here: dict[bytes, list[int]] = {}
        foreign = False
        for head in report.heads:
            journal = self._replica.journals.get(head.journal)
            foreign = foreign or (head.owner != sender and not is_shared(head.scope))
            there, here = self._replica.compare(head, live.get(head.journal))
            for sequence in there:
                assert journal is not None
                self._replica.settle(journal, sequence)
            if here:
                settled_here[head.journal] = here
            cursors[head.journal] = head.upto
        self.inbound[sender] = Inbound(report.term, report.number)
        stream = self.streams[sender] = Stream(sender, report.term, cursors, everything=sender in self.deputies, id=report.number)
        stream.start(self._replica.journals.values())
        if sender in self.deputies:
            stream.lease(self.leases.present())
        if foreign:
            self._holds_foreign.add(sender)
        if settled_here:
            self._settled_back.setdefault(sender, {}).update(settled_here)
        wanted = {head.journal for head in report.heads} | set(report.also)
        self._turn.to_peer(sender, Welcome(report.term, [h for h in self._replica.heads() if h.journal in wanted], report.number))

    def on_welcome(self, sender: str, welcome: Welcome) -> None:
        """The coordinator's context: stream to it what it lacks."""
        if welcome.number != self._awaited_welcome:
            return  # the answer to an earlier report
        self._awaited_welcome = 0
        self.welcomed = {head.journal: head.upto for head in welcome.heads}
        cursors = {name: upto for name, upto in self.welcomed.items() if name in self._replica.journals}
        self.inbound[sender] = Inbound(welcome.term, welcome.number)
        stream = self.streams[sender] = Stream(sender, welcome.term, cursors, everything=True, id=welcome.number)
        stream.start(self._replica.journals.values())
        for journal, sequence in self._settled_unheard:
            stream.settle(journal, sequence)
        self._settled_unheard.clear()

    def on_replicate(self, sender: str, message: Replicate) -> bool:
        """Take over a batch of a peer's stream. False when it does not join on and the peers have to reconcile again."""
        inbound = self.inbound.get(sender)
        if inbound is None or inbound.stream != message.stream:
            return True  # of a stream from before the last report
        if inbound.term != message.term or message.number != inbound.number + 1:
            return False
        stream = self.streams.get(sender)
        try:
            for append in message.appends:
                if stream is not None:
                    stream.heard(append)
                stale = self._replica.apply(append)
                if stale:
                    self._settled_back.setdefault(sender, {}).setdefault(append.journal, []).extend(stale)
                self._pass_on(append.journal)
        except RemoteProtocolError:
            return False
        self._source = sender
        for dots in message.settled:
            self._replica.settle_dots(dots)
        self._source = ""
        self.leases.learn(message.leases)  # after what is settled: of a message that was written anew the lease stands
        self.forget_journals(message.pruned)
        inbound.number, was_complete = message.number, inbound.complete
        inbound.complete = message.complete
        inbound.heavy = any(type(entry) is Chunk for append in message.appends for entry in (*append.entries[:1], *append.entries[-1:]))
        if not self.leading:
            deputy = self._me.id in message.deputies
            # a deputy that has everything: leases of messages that never came, because they were over before that
            if (message.complete and not was_complete) if deputy else (message.number == 1 or self._me.id in self.deputies):
                self.leases.forget_of_others()
            self.deputies = message.deputies
        self._acks[sender] = Replicated(message.term, message.number, message.stream)
        if message.leases:  # at once: deliveries wait for it
            self._turn.to_peer(sender, LeasesHeard(message.term, message.number, message.stream))
        return True

    def forget_journals(self, names: Sequence[bytes]) -> None:
        """Nobody needs these journals any more (R19)."""
        self._replica.prune(names)
        for stream in self.streams.values():
            for name in names:
                stream.cursors.pop(name, None)

    def _pass_on(self, name: bytes) -> None:
        """Others have to hear of a stretch of which nothing is live, too: only their context says that it is settled."""
        journal = self._replica.journals.get(name)
        if journal is not None:
            for stream in self.streams.values():
                stream.changed(journal)

    def on_replicated(self, sender: str, message: Replicated) -> None:
        """A peer has fsynced a batch."""
        stream = self.streams.get(sender)
        if stream is not None and (stream.term, stream.id) == (message.term, message.stream):
            stream.acknowledge(message.number, message.copies)

    def on_leases_heard(self, sender: str, message: LeasesHeard) -> None:
        """A peer knows the leases of a batch."""
        stream = self.streams.get(sender)
        if stream is not None and (stream.term, stream.id) == (message.term, message.stream):
            stream.hear(message.number)

    @property
    def awaits_welcome(self) -> bool:
        """As a member: whether the last report has no answer yet."""
        return self._awaited_welcome != 0

    def reconciled_with(self, peer: str) -> bool:
        """Whether a member's stream has brought all that it held."""
        inbound = self.inbound.get(peer)
        return inbound is not None and inbound.complete

    def has_heard_all_here(self) -> bool:
        """As the coordinator: whether all who can be reached have told all that they hold."""
        return all(self.reconciled_with(peer.id) for peer in self._membership.reachable())

    def is_being_told(self) -> bool:
        """As the coordinator: whether who is heard has begun to tell what he holds, and not ended. He may not hear this node yet."""
        return any(not inbound.complete and self._membership.is_heard(peer) for peer, inbound in self.inbound.items())

    def has_heard_everybody(self) -> bool:
        """As the coordinator: whether all members are here, and have told all that they hold."""
        others = [member.id for member in self._membership.admitted() if member.id != self._me.id]
        return all(self.has_heard_all_of(id) for id in others)

    def has_heard_all_of(self, peer: str) -> bool:
        """As the coordinator: whether a member is here, and has told all that it holds."""
        return self._membership.is_reachable(peer) and self.reconciled_with(peer)

    # -- deputies --------------------

    def is_complete(self) -> bool:
        """Whether this node holds a full copy: it coordinates, or is a deputy that has got everything."""
        if self.leading:
            return True
        return self._me.id in self.deputies and any(inbound.complete for inbound in self.inbound.values())

    def appoint(self) -> None:
        """As the coordinator: keep as many deputies as copies are wanted beside this one, and relieve the others."""
        wanted = self._settings.copies - 1
        alive = [peer for peer in self.streams if self._membership.is_reachable(peer)]
        kept = [peer for peer in self.deputies if peer in alive and not self._membership.peers[peer].alarm][:wanted]
        if len(kept) < wanted:
            kept += sorted((peer for peer in alive if peer not in kept), key=self._fitness)[: wanted - len(kept)]
        if kept != self.deputies:
            if any(peer not in kept and not self._membership.gone_for_sure(peer) for peer in self._full):
                self.leases.expose()
            for peer in kept:
                if not self.streams[peer].everything:
                    self.streams[peer].widen(self._replica.journals.values())
                    self.streams[peer].lease(self.leases.present())
            for peer in self.deputies:
                if peer not in kept and peer in self.streams:
                    for name, sequences in self.streams[peer].narrow(self._replica.journals.values()).items():
                        self._settled_back.setdefault(peer, {}).setdefault(name, []).extend(sequences)
                    self._holds_foreign.add(peer)
            self.deputies = kept
            for stream in self.streams.values():
                stream.told_complete = False  # tells every follower the new deputies with the next batch
        self._full = {peer for peer in self.deputies if self.streams[peer].complete}
        self._relieve()

    def _fitness(self, peer: str) -> tuple[bool, bool, bool, int, int, str]:
        """The least is the fittest. One whose disk or memory is short would have all publishers wait, unless nobody else is there."""
        member = self._membership.members.get(peer)
        beat = self._membership.peers[peer].beat
        never = member.never_coordinate if member is not None else False
        short = bool(self._membership.peers[peer].alarm)
        return (
            short,
            never,
            peer not in self._holds_foreign and peer not in self.deputies,
            -(member.weight if member else 0),
            -(beat.up_ms // 5_000 if beat else 0),
            peer,
        )

    def _relieve(self) -> None:
        """R18b: who holds others' entries without being a deputy drops them once coordinator and deputies cover all of them."""
        if not self._holds_foreign or not all(self.streams[peer].complete for peer in self.deputies):
            return
        if len(self.deputies) < self._settings.copies - 1:
            return
        for peer in sorted(self._holds_foreign):
            if peer not in self.deputies and peer in self.streams and self.reconciled_with(peer):
                self._holds_foreign.discard(peer)
                stream = self.streams[peer]
                # from now on the peer covers only its own bulk journals: settlements of others must not be sent to it
                stream.cursors = {
                    name: upto
                    for name, upto in stream.cursors.items()
                    if (j := self._replica.journals.get(name)) is None or j.shared or j.owner == peer
                }
                self._turn.to_peer(peer, Release(stream.term))

    def on_release(self) -> None:
        """The coordinator says that others cover what this node holds for them."""
        self._replica.drop_foreign()
        self.leases.forget_of_others()

    # -- flow --------------------

    def flush(self, now: float) -> None:
        """Send acknowledgements and the next batches; let go what has its copies."""
        for peer, ack in self._acks.items():
            if self.leading and (self._settings.copies > 2 or self._is_heavy(peer)):
                self.copies.when_copied(partial(self._acknowledge, peer, ack))
            else:
                self._turn.to_peer_after_commit(peer, ack)
        self._acks.clear()
        if self._settled_back:
            self._send_settled_back()
        sent = False
        for stream in self.streams.values():
            while not stream.idle:
                batch = stream.pump(
                    self._replica,
                    self._turn.mark,
                    now,
                    window_bytes=self._settings.link_window_bytes,
                    batch_bytes=self._settings.replicate_batch_bytes,
                    deputies=self.deputies,
                )
                if batch is None:
                    break
                sent = True
                self._turn.to_peer(stream.peer, batch)
        if sent:
            self._turn.mark += 1
        self.copies.release(now, leading=self.leading)

    def _is_heavy(self, peer: str) -> bool:
        """Large bodies come no faster than the deputies take them: the writer's window moves when all have them."""
        inbound = self.inbound.get(peer)
        return inbound is not None and inbound.heavy

    def _acknowledge(self, peer: str, ack: Replicated, copies: int) -> None:
        """Tell a member on how many disks beside its own its entries are, the deputies' included.

        A deputy that lags does not count itself, so that what is left of the copies may be this disk alone.
        """
        ack.copies = max(1, copies - (peer in self.deputies))
        self._turn.to_peer(peer, ack)

    def _send_settled_back(self) -> None:
        pending, self._settled_back = self._settled_back, {}
        for peer, dots in pending.items():
            self.copies.when_settled(partial(self._queue_settled, peer, dots))

    def _queue_settled(self, peer: str, dots: dict[bytes, list[int]], copies: int) -> None:
        stream = self.streams.get(peer)
        if stream is not None:
            for name, sequences in dots.items():
                stream.settled.setdefault(name, []).extend(sequences)

    # -- pruning --------------------

    def settlements_sent(self, mark: int) -> bool:
        """Whether all that was settled up to ``mark`` has its copies, and is on its way to who holds the entries."""
        return not self._settled_back and self.copies.settlements.covered(mark)

    # -- figures --------------------

    def under_replicated(self) -> int:
        """Live entries of the bulk journals that, as far as the coordinator knows, only one disk holds."""
        if self.copies.needed() < 2 or any(self.streams[peer].complete for peer in self.deputies if peer in self.streams):
            return 0
        count = 0
        for journal in self._replica.journals.values():
            if journal.scope == Scope.BULK and (journal.owner == self._me.id or not self._membership.is_reachable(journal.owner)):
                count += journal.count
        return count

    def reign_to(self, peer: str, reign: Reign) -> None:
        """Ask a peer to report to this coordinator."""
        self.forget_peer(peer)
        self._turn.to_peer_after_commit(peer, reign)
