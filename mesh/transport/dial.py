"""Our connections to other nodes' doors: one link to each, whichever of its addresses proves its key first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import zmq

from mesh.transport.base import PeerConnected, PeerRefused
from mesh.transport.curve import KeyPair
from mesh.transport.notices import Counters
from mesh.transport.probe import Probes
from mesh.transport.reactor import Reactor
from mesh.transport.sockets import CLAIM, OUTGOING, OVER, Context, Monitor, Socket, connect_tcp, open_dealer, speak_curve

RETRY_S = 0.05
RETRY_MAX_S = 1.0
NOT_ADMITTED_RETRY_S = 0.2
"""A peer that does not know our key yet is about to hear of it; that is quicker than any other repair."""
NOT_ADMITTED_RETRIES = 300
"""After a minute of that our key has probably been revoked there."""
STEADY_S = 1.0
"""A link that lived shorter is not redialled at once: a door that accepts and drops must not make us spin."""
FIRST_PROBE_S = 0.1
"""A peer that runs has let us in by then, and is spared a connection that only looks."""
PROBE_PAUSES_S = (0.05, 0.2, 1.0)
"""While a process dies its listening socket may outlive its connections by a moment, so the first look is repeated soon."""
ADDRESSES_MAX = 16
UNSENT_MESSAGES_MAX = 65_536
"""Replication and deliveries are bounded by credit; this bounds what a peer that stopped reading costs until its heartbeat ends."""
NONCE_BYTES = 8

Emit = Callable[[PeerConnected | PeerRefused], None]


@dataclass(slots=True, eq=False)
class Attempt:
    """One connection to one address, from before its handshake to its end."""

    address: str
    failures: int
    socket: Socket | None = None
    monitor: Monitor | None = None
    not_admitted: bool = False
    linked_s: float = 0.0
    """Monotonic instant of the handshake."""


@dataclass(slots=True, eq=False)
class Peer:
    """A node that we keep a connection to."""

    id: str
    key: bytes
    addresses: list[str]
    attempts: dict[str, Attempt] = field(default_factory=dict)
    """Under way, or failed and waiting for its next turn."""
    link: Attempt | None = None
    last_good: str = ""
    outage: int = 0
    """Counts the losses of the link, so that a probe of an earlier one is not taken for this one's."""
    down: bool = False
    refused: bool = False
    """This outage has been reported as PeerRefused."""


class Dialler:
    """Dials, redials and tells refused from silent. ``links`` has the socket of each peer that is connected now."""

    def __init__(
        self, context: Context, reactor: Reactor, keys: KeyPair, my_id: str, frame_bytes_max: int, counters: Counters, emit: Emit
    ) -> None:
        self.links: dict[str, Socket] = {}
        self._context = context
        self._reactor = reactor
        self._keys = keys
        self._claim = CLAIM + my_id.encode()
        self._frame_bytes_max = frame_bytes_max
        self._counters = counters
        self._emit = emit
        self._peers: dict[str, Peer] = {}
        self._probes = Probes(reactor)

    def dial(self, peer_id: str, key: bytes, addresses: list[str]) -> None:
        """Keep a link to a peer. Nothing changes for the same key and addresses; a living link survives new addresses.

        A link at an address that is no longer listed is replaced as soon as a listed one has proved the same key.
        """
        addresses = list(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        peer = self._peers.get(peer_id)
        if peer is not None and peer.key != key:
            self.hang_up(peer_id)
            peer = None
        if peer is None:
            # Never linked by this process, but perhaps refused where its member was seen: after a restart that proves it gone
            peer = self._peers[peer_id] = Peer(peer_id, key, addresses, down=True)
            self._reactor.after(FIRST_PROBE_S, partial(self._probe, peer, peer.outage, 0))
        elif set(addresses) == set(peer.addresses):
            return
        else:
            peer.addresses = addresses
            for address in peer.attempts.keys() - set(addresses):
                self._end(peer.attempts.pop(address))
            if peer.last_good not in addresses:
                peer.last_good = ""
        if peer.link is None or peer.link.address not in addresses:
            self._try_all(peer)

    def hang_up(self, peer_id: str) -> None:
        """Close the link and stop trying. What is queued has a moment to leave."""
        peer = self._peers.pop(peer_id, None)
        if peer is None:
            return
        self._forget_attempts(peer)
        peer.down = False
        if peer.link is not None:
            del self.links[peer_id]
            self._end(peer.link)
            peer.link = None

    def close(self) -> None:
        """Give up the looks at silent peers; the links end with the context."""
        for peer in self._peers.values():
            peer.down = False
        self._probes.close()

    # -- attempts ------------------------------------------------------------------------------------------------------

    def _try_all(self, peer: Peer, failures: int = 0) -> None:
        for address in peer.addresses:
            if address not in peer.attempts:
                self._try(peer, address, failures)

    def _try(self, peer: Peer, address: str, failures: int) -> None:
        routing_id = self._claim + secrets.token_bytes(NONCE_BYTES)
        socket = open_dealer(self._context, self._frame_bytes_max, routing_id)
        # Nothing may be queued for a connection that does not exist: the core would take it for sent.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, UNSENT_MESSAGES_MAX)
        speak_curve(socket, self._keys, peer.key)
        monitor = Monitor(self._context, socket, OUTGOING)
        attempt = peer.attempts[address] = Attempt(address, failures, socket, monitor)
        self._reactor.register(monitor.socket, lambda: self._heard(peer, attempt))
        try:
            connect_tcp(socket, address)
        except zmq.ZMQError:  # not an address; it stays listed until better ones are dialled
            attempt.failures = NOT_ADMITTED_RETRIES
            self._failed(peer, attempt)

    def _heard(self, peer: Peer, attempt: Attempt) -> None:
        monitor = attempt.monitor
        if monitor is None:
            return
        for event in monitor.read():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._linked(peer, attempt)
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                attempt.not_admitted = True
            elif event & OVER:
                if peer.link is attempt:
                    self._lost(peer, attempt)
                else:
                    self._failed(peer, attempt)
                return

    def _failed(self, peer: Peer, attempt: Attempt) -> None:
        self._end(attempt)
        attempt.failures += 1
        if attempt.not_admitted and attempt.failures <= NOT_ADMITTED_RETRIES:
            pause_s = NOT_ADMITTED_RETRY_S
        else:
            pause_s = min(RETRY_MAX_S, RETRY_S * 2 ** min(attempt.failures - 1, 10))
        self._try_later(peer, attempt, pause_s)

    def _try_later(self, peer: Peer, attempt: Attempt, pause_s: float) -> None:
        def again() -> None:
            if peer.attempts.get(attempt.address) is attempt:
                self._try(peer, attempt.address, attempt.failures)

        peer.attempts[attempt.address] = attempt
        self._reactor.after(pause_s, again)

    def _forget_attempts(self, peer: Peer) -> None:
        for attempt in peer.attempts.values():
            self._end(attempt)
        peer.attempts.clear()

    def _end(self, attempt: Attempt) -> None:
        if attempt.monitor is not None:
            self._reactor.forget(attempt.monitor.socket)
            attempt.monitor.close()
            attempt.monitor = None
        if attempt.socket is not None:
            attempt.socket.close()
            attempt.socket = None

    # -- the link --------------------------------------------------------------------------------------------------------

    def _linked(self, peer: Peer, attempt: Attempt) -> None:
        if attempt.socket is None:
            return
        del peer.attempts[attempt.address]
        self._forget_attempts(peer)
        if peer.link is not None:
            self._end(peer.link)
        attempt.failures = 0
        attempt.linked_s = time.monotonic()
        peer.link = attempt
        peer.last_good = attempt.address
        peer.down = peer.refused = False
        self.links[peer.id] = attempt.socket
        self._counters.connects += 1
        self._emit(PeerConnected(peer.id))

    def _lost(self, peer: Peer, attempt: Attempt) -> None:
        peer.link = None
        del self.links[peer.id]
        self._end(attempt)
        self._counters.disconnects += 1
        peer.down = True
        peer.outage += 1
        steady = time.monotonic() - attempt.linked_s >= STEADY_S
        if not steady:
            self._try_later(peer, attempt, NOT_ADMITTED_RETRY_S)
        self._probe(peer, peer.outage, 0)
        self._try_all(peer)

    def _probe(self, peer: Peer, outage: int, count: int) -> None:
        """Look again and again while the outage lasts; its first refusal is the event.

        Where the last link was counts; of a peer that was never linked, all addresses have to refuse.
        """
        if not peer.down or peer.outage != outage or peer.refused:
            return
        silent = {peer.last_good} if peer.last_good else set(peer.addresses)

        def refused(address: str) -> None:
            silent.discard(address)
            if not silent and peer.down and peer.outage == outage and not peer.refused:
                peer.refused = True
                self._emit(PeerRefused(peer.id))

        for address in list(silent):
            self._probes.probe(address, partial(refused, address))
        pause_s = PROBE_PAUSES_S[min(count, len(PROBE_PAUSES_S) - 1)]
        self._reactor.after(pause_s, lambda: self._probe(peer, outage, count + 1))
