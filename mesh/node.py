"""The node: one plain loop that owns the sockets, feeds the core and carries out its effects (DESIGN 12).

Each turn: poll once, drain, step all, send what may leave, commit what is to be kept. Other threads (the disk's writer, discovery,
signal handlers) only append to queues and wake the loop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from mesh.clock import Clock, SystemClock
from mesh.config import Settings
from mesh.core.cluster.alarms import DISK, MEMORY
from mesh.core.cluster.twins import CLONED, LATER
from mesh.core.effects import Batch, Gap, Identity, Read
from mesh.core.machine import Machine
from mesh.errors import DiskFailed, DiskFull, IdentityTaken, RemoteProtocolError, StateDamaged
from mesh.storage.base import Store
from mesh.storage.footprint import Footprint
from mesh.storage.room import Room
from mesh.storage.writer import Rows, Writer
from mesh.transport.base import Knocked, LobbyReply, PeerConnected, PeerFrames, PeerRefused, SessionFrame, Transport, TransportEvent
from mesh.wire import frames
from mesh.wire.entries import Member
from mesh.wire.messages import Admitted, Knock, Refused

DRAIN_LIMIT = 256
"""Most events in one turn: bounds the time until effects leave (measured as the knee of messages per second)."""
TICK_S = 0.05
CALM_TICK_S = 0.1
"""A node with nothing to wait for looks at the clock less often: an idle laptop should sleep."""
KNOCK_AGAIN_S = 15.0
"""A candidate address is tried at most this often."""
KNOCK_SOON_S = 0.5
CANDIDATES_MAX = 1_024
READ_ROWS = 512
"""Reads are put together until there are so many rows to read at once."""
LOOK_AT_ROOM_S = 1.0
ALARMS = {
    DISK: ("the disk is nearly full", "the disk has room again"),
    MEMORY: ("memory is short", "there is memory again"),
}
"""What the log says when an alarm begins and ends."""
LEAVE_TIMEOUT_S = 1.0
"""Longest stay after a polite goodbye was ordered."""
LOG_PAUSE_S = 5.0
"""Malformed frames are counted always and logged this often."""

log = logging.getLogger("mesh.node")


def lobby_of(door: str) -> str:
    """The address of the lobby that belongs to a door (``host:port``): one port below (docs/architecture.md). Empty when it is none."""
    host, _, port = door.rpartition(":")
    return f"{host}:{int(port) - 1}" if port.isdecimal() and int(port) > 1 else ""


class Node:
    """One node process, or one inside a program.

    ``known`` are members that were heard of before (from a lobby's answer or a file); ``room`` watches the store's disk, if it has one, and
    ``footprint`` the process's memory, if that is the node's alone.
    Called from the loop's thread: ``on_members`` with all durable members whenever the roster changes, ``on_ready`` once the first turn is
    done, ``on_recovered`` with how many entries of a damaged state directory were kept and what of it nobody has (R20).
    """

    def __init__(
        self,
        identity: Identity,
        store: Store,
        transport: Transport,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        known: list[Member] | None = None,
        on_members: Callable[[list[Member]], None] | None = None,
        on_ready: Callable[[], None] | None = None,
        room: Room | None = None,
        footprint: Footprint | None = None,
        on_recovered: Callable[[int, list[Gap]], None] | None = None,
    ) -> None:
        self._identity = identity
        self._store = store
        self._transport = transport
        self._clock = clock or SystemClock()
        self._on_members = on_members
        self._on_ready = on_ready
        self._on_recovered = on_recovered
        self._room = room
        self._footprint = footprint
        self._looked_at = float("-inf")
        self._alarms = {DISK: "", MEMORY: ""}
        try:
            self.machine = Machine(identity, settings or Settings(), store.load())
        except StateDamaged:  # noticed when its entries were gone through; a store that heals has done so by now (R20)
            self.machine = Machine(identity, settings or Settings(), store.load())
        self.machine.introduce(known or [])
        self._committed: SimpleQueue[int] = SimpleQueue()
        self._rows: SimpleQueue[list[Rows]] = SimpleQueue()
        self._reads: deque[Read] = deque()
        """What is to be read."""
        self._reading = False
        self._failures: deque[BaseException] = deque()
        self._candidates: SimpleQueue[str] = SimpleQueue()
        self._tried_at: dict[str, float] = {}
        self._due: dict[str, float] = {}
        """Addresses to knock at again, and when: what they answer is about to change."""
        self._sought_at = float("-inf")
        self._writer = Writer(store, self._on_committed, self._on_failed, self._make_room, self._on_read)
        self._stopping = False
        self._tick_at = 0.0
        self._logged_at = float("-inf")
        self._dialled: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        self._coordinator_logged = ""
        self.malformed = 0
        """Frames that were no valid message."""
        self.foreign: dict[str, float] = {}
        """Addresses of meshes that did not open to our secret, with when they were tried."""

    # -- for other threads --------------------

    def stop(self) -> None:
        """Leave politely and end :meth:`run`; safe from any thread and from a signal handler."""
        self._stopping = True
        self._transport.wake()

    def candidate(self, address: str) -> None:
        """An address (``host:port`` of a lobby) where a node may be; safe from any thread."""
        if self._candidates.qsize() < CANDIDATES_MAX:
            self._candidates.put(address)
            self._transport.wake()

    def _on_committed(self, number: int) -> None:
        self._committed.put(number)
        self._transport.wake()

    def _on_read(self, rows: list[Rows]) -> None:
        self._rows.put(rows)
        self._transport.wake()

    def _on_failed(self, error: BaseException) -> None:
        self._failures.append(error)
        self._transport.wake()

    def _make_room(self) -> bool:
        """The disk is full: give up the reserve, so that what is running can be settled (R21)."""
        given = self._room.release() if self._room is not None else 0
        if given:
            log.error("the disk is full: gave up the reserve of %d bytes", given)
        return bool(given)

    # -- the loop --------------------

    def run(self) -> None:
        """Run until :meth:`stop`; closes transport and store.

        Raises DiskFailed when the disk does not keep what is written (R7), IdentityTaken when another process has this node's key (R3).
        """
        try:
            self._turn()
            if self._on_ready is not None:
                self._on_ready()
            while not self._stopping:
                self._turn()
            self._leave()
        finally:
            self._transport.close()
            self._writer.close()
            self._store.close()

    def _turn(self) -> None:
        self._transport.poll(max(0.0, min(CALM_TICK_S, self._tick_at - self._clock.monotonic())))
        machine = self.machine
        now = self._clock.monotonic()
        machine.at(now, self._clock.wall())
        self._take_commits()
        self._take_rows()
        for event in self._transport.drain(DRAIN_LIMIT):
            self._handle(event)
        if now >= self._tick_at:
            machine.tick()
            self._tick_at = now + (CALM_TICK_S if machine.calm else TICK_S)
            self._look_for_members(now)
            self._knock_at_candidates(now)
            self._heed_twins()
            self._log_coordinator()
            self._look_at_room(now)
            self._tell_recovery()
        machine.flush()
        if machine.membership.changed:
            self._roster_changed()
        self._send()
        self._write()

    def _take_commits(self) -> None:
        if self._failures:
            error = self._failures.popleft()
            raise error if isinstance(error, DiskFailed) else DiskFailed(f"the disk failed: {error}")
        try:
            while True:
                self.machine.on_committed(self._committed.get_nowait())
        except Empty:
            return

    def _take_rows(self) -> None:
        while not self._rows.empty():
            self._reading = False
            for number, rows in self._rows.get_nowait():
                self.machine.on_read(number, rows)

    def _write(self) -> None:
        self._reads += self.machine.turn.take_reads()
        if self._reads and not self._reading:
            # A piece at a time: between two of them the writer commits
            self._reading = True
            piece, rows = [self._reads.popleft()], 0
            while self._reads and (rows := rows + len(piece[-1].sequences)) < READ_ROWS:
                piece.append(self._reads.popleft())
            self._writer.read(piece)
        if self._writer.idle:
            batch = self.machine.take_batch()
            if batch is not None and batch.small and self.machine.alone:
                # Two changes of thread cost more than the disk takes; and nobody counts this node's heartbeats
                self._commit_here(batch)
            elif batch is not None:
                self._writer.submit(batch)
            else:
                self._send()  # what waited for the disk although nothing had to be written

    def _commit_here(self, batch: Batch) -> None:
        try:
            self._writer.commit_here(batch)
        except DiskFull:
            self._writer.submit(batch)  # which waits for room
            return
        self.machine.on_committed(batch.number)
        self.machine.flush()
        self._send()

    def _send(self) -> None:
        sends = self.machine.take_sends()
        encode, transport = frames.encode, self._transport
        for session, reply in sends.sessions:
            if not transport.send_session(session, encode(reply)):
                self.machine.on_session_closed(session)
        for peer, envelope, message in sends.peers:
            if not transport.send_peer(peer, encode(envelope), encode(message)):
                self.machine.on_unsent(peer, envelope)

    def _leave(self) -> None:
        """Say goodbye, and stay until it is on the disk and on its way."""
        self.machine.leave()
        deadline = self._clock.monotonic() + LEAVE_TIMEOUT_S
        while self._clock.monotonic() < deadline:
            self._turn()
            if self.machine.settled_to_leave():
                break

    # -- disk and memory --------------------

    def _look_at_room(self, now: float) -> None:
        """Stop taking what is new before the disk is full (R21), or memory."""
        if now - self._looked_at >= LOOK_AT_ROOM_S:
            self._looked_at = now
            settings = self.machine.settings
            if self._room is not None:
                self._room.reserve_bytes, self._room.reserve_fraction = settings.disk_reserve_bytes, settings.disk_reserve_fraction
                self._alarm(DISK, self._room.look() or ("a transaction found no room" if self._writer.full else ""))
            if self._footprint is not None:
                entries = sum(len(journal.live) for journal in self.machine.replica.journals.values())
                self._alarm(MEMORY, self._footprint.look(entries, settings.memory_limit_bytes, settings.memory_limit_fraction))
        for line in self.machine.news:
            log.warning("%s", line)
        self.machine.news.clear()

    def _alarm(self, code: str, why: str) -> None:
        self.machine.alarms.set(code, why)
        before, self._alarms[code] = self._alarms[code], why
        if why and not before:
            log.warning("%s: %s", ALARMS[code][0], why)
        elif before and not why:
            log.warning("%s: publishers are let in", ALARMS[code][1])

    def _tell_recovery(self) -> None:
        recovery = self.machine.recovery
        if recovery.lost is not None and self._on_recovered is not None:
            self._on_recovered(recovery.kept, recovery.lost)
            self._on_recovered = None

    # -- events --------------------

    def _handle(self, event: TransportEvent) -> None:
        machine = self.machine
        try:
            if isinstance(event, SessionFrame):
                machine.on_session(event.session, frames.decode_request(event.payload))
            elif isinstance(event, PeerFrames):
                machine.on_peer(event.peer, frames.decode_envelope(event.envelope), frames.decode_peer(event.payload))
            elif isinstance(event, PeerConnected):
                machine.on_connected(event.peer)
            elif isinstance(event, PeerRefused):
                machine.on_refused(event.peer)
                self._tick_at = 0.0  # a takeover need not wait for the clock
            elif isinstance(event, Knocked):
                self._on_knock(event)
            elif isinstance(event, LobbyReply):
                self._on_lobby_reply(event)
        except RemoteProtocolError as error:
            self.malformed += 1
            now = self._clock.monotonic()
            if now - self._logged_at > LOG_PAUSE_S:
                self._logged_at = now
                log.warning("dropped a malformed message (%d so far): %s", self.malformed, error)

    def _on_knock(self, event: Knocked) -> None:
        knock = frames.decode_lobby(event.payload)
        if not isinstance(knock, Knock):
            raise RemoteProtocolError("only Knock comes through the lobby")
        if knock.member.key != event.key:
            raise RemoteProtocolError("a knock for another key than the one that was proved")
        problem = self.machine.refuses(knock)
        refusal = Refused("protocol", problem) if problem else self.machine.twins.judge(knock)
        if refusal is not None:
            self._transport.send_lobby(event.visitor, frames.encode(refusal))
            return
        members = self.machine.on_knock(knock.member)
        self._roster_changed()
        reply = Admitted(self._identity.mesh, self._identity.mesh_id, members)
        self._transport.send_lobby(event.visitor, frames.encode(reply))

    def _on_lobby_reply(self, event: LobbyReply) -> None:
        if not event.payload:
            if len(self.foreign) < CANDIDATES_MAX:
                self.foreign[event.address] = self._clock.monotonic()
            return
        reply = frames.decode_lobby(event.payload)
        if isinstance(reply, Admitted):
            self.foreign.pop(event.address, None)
            self.machine.introduce(reply.members)
        elif isinstance(reply, Refused) and reply.code == CLONED:
            self.machine.twins.fate = reply.text
        elif isinstance(reply, Refused) and reply.code == LATER:
            self._due[event.address] = self._clock.monotonic() + KNOCK_SOON_S

    # -- discovery and the roster --------------------

    def _knock_at_candidates(self, now: float) -> None:
        """Knock where a node may be that we do not hear yet: it lets us in, or learns where we are now."""
        for address in [address for address, at in self._due.items() if at <= now]:
            del self._due[address]
            self._knock(address, now)
        while True:
            try:
                address = self._candidates.get_nowait()
            except Empty:
                return
            if now - self._tried_at.get(address, float("-inf")) >= KNOCK_AGAIN_S:
                self._knock(address, now)

    def _knock(self, address: str, now: float) -> None:
        if len(self._tried_at) >= CANDIDATES_MAX:
            self._tried_at.clear()
        self._tried_at[address] = now
        member = self._identity.member(self.machine.wall_ms)
        twins = self.machine.twins
        self._transport.knock(address, frames.encode(Knock(member, incarnation=twins.incarnation, standing=twins.standing())))

    def _look_for_members(self, now: float) -> None:
        """Knock at members that are not heard, and where this node itself was: what answers there with its key is its twin (R3)."""
        if now - self._sought_at < KNOCK_AGAIN_S:
            return
        self._sought_at = now
        membership = self.machine.membership
        missing = [peer for peer in membership.members.values() if peer.durable and not membership.is_reachable(peer.id)]
        addresses = [address for peer in missing for address in peer.addresses if peer.id != self._identity.id]
        for address in dict.fromkeys([*self.machine.former_addresses, *addresses]):
            lobby = lobby_of(address)
            if lobby and address not in self._identity.addresses:
                self.candidate(lobby)

    def _heed_twins(self) -> None:
        """Two processes with one key are a matter for a person. Raises IdentityTaken when this is the one to go."""
        for alarm in self.machine.twins.take_alarms():
            log.error("%s", alarm)
        if self.machine.twins.fate:
            raise IdentityTaken(self.machine.twins.fate)

    def _roster_changed(self) -> None:
        membership = self.machine.membership
        membership.changed = False
        members = list(membership.members.values())
        self._transport.admit({member.key: member.id for member in members})
        wanted = {
            member.id: (member.key, tuple(member.addresses))
            for member in members
            if member.durable and member.id != self._identity.id and member.addresses
        }
        for id, (key, addresses) in wanted.items():
            if self._dialled.get(id) != (key, addresses):
                self._transport.dial(id, key, list(addresses))
        for id in self._dialled.keys() - wanted.keys():
            self._transport.hang_up(id)
        self._dialled = wanted
        if self._on_members is not None:
            self._on_members([member for member in members if member.durable])

    def _log_coordinator(self) -> None:
        machine = self.machine
        coordinator = machine.membership.name_of(machine.election.coordinator) if machine.election.coordinator else ""
        if coordinator != self._coordinator_logged:
            self._coordinator_logged = coordinator
            if coordinator:
                log.info("coordinator is %s (term %d)", coordinator, machine.election.term)
            elif not self._stopping:
                log.warning("no coordinator; messages are accepted and kept meanwhile")
