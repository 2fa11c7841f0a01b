"""What a fresh home sees around it before it founds or joins a mesh."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mesh.cli.admission import Sighting
from mesh.cli.findings import dial
from mesh.discovery.base import Candidate
from mesh.discovery.interfaces import host_port
from mesh.discovery.mdns import Mdns
from mesh.discovery.seeds import Seed, parse_seeds, resolve_seeds

from mesh.errors import NotAllowed
from mesh.transport.base import LobbyReply, Transport
from mesh.transport.doors import DEFAULT_PORT
from mesh.wire.entries import Member
from mesh.wire.frames import decode_lobby, encode
from mesh.wire.messages import Admitted, Knock, Refused

LOOK_S = 0.4
"""How long to listen for others: answers to a first mDNS question come within 120 ms (RFC 6762 section 6), links may lose one."""
OPEN_TIMEOUT_S = 1.0
KNOCK_TIMEOUT_S = 2.5
DIAL_TIMEOUT_S = 0.3
AGAIN_S = 0.3
CANDIDATES_MAX = 16
"""Most addresses that are knocked at: announcements cost a stranger nothing."""


class Browsed(NamedTuple):
    """What mDNS told, and why it could not, for a person; None when it could."""

    candidates: list[Candidate]
    problem: str | None


def browse(interface: str | None, tag_key: bytes | None, patience_s: float = LOOK_S, *, to_the_end: bool = False) -> Browsed:
    """Listen for ``patience_s``; unless ``to_the_end``, only until a member of the mesh with this tag is heard."""
    heard: SimpleQueue[Candidate] = SimpleQueue()
    mdns = Mdns(heard.put, port=None, tag_key=tag_key, interface=interface)
    found: list[Candidate] = []
    try:
        mdns.wait_opened(OPEN_TIMEOUT_S)
        deadline = time.monotonic() + patience_s
        while to_the_end or not any(candidate.ours for candidate in found):
            found.append(heard.get(timeout=max(0.0, deadline - time.monotonic())))
    except Empty:
        pass
    finally:
        mdns.close()
    return Browsed(found, mdns.problem)


def strangers(interface: str | None) -> Sighting:
    """The meshes that are here, for a home without a secret. An announcement at whose address nobody listens is nobody."""
    addresses = dict.fromkeys(candidate.address for candidate in browse(interface, None).candidates)
    return Sighting(foreign=tuple(address for address in list(addresses)[:CANDIDATES_MAX] if dial(address, DIAL_TIMEOUT_S))[:1])


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of knocking: what was seen, and the members of the mesh that let us in."""

    seen: Sighting
    members: tuple[Member, ...] = ()

    @classmethod
    def nothing(cls) -> Visit:
        """Nobody was there, or nobody was looked for."""
        return cls(Sighting())


class Knocker:
    """Knocks through the node's own transport, before the node itself runs."""

    def __init__(self, transport: Transport, me: Member) -> None:
        self._transport = transport
        self._payload = encode(Knock(me))

    def at_seeds(self, texts: Sequence[str], patience_s: float) -> Visit:
        """Knock at all addresses of ``host:port`` texts until one lets us in or refuses, or for ``patience_s`` while all are silent."""
        deadline = time.monotonic() + patience_s
        while True:
            visit = self._at_seeds_once(texts)
            if visit.seen.ours or visit.seen.foreign or time.monotonic() >= deadline:
                return visit
            time.sleep(AGAIN_S)

    def _at_seeds_once(self, texts: Sequence[str]) -> Visit:
        foreign: list[str] = []
        silent: list[str] = []
        for text in texts:
            addresses = seed_addresses([text])
            visit = self.at(addresses)
            if visit.seen.ours:
                return Visit(Sighting(ours=(text,)), visit.members)
            (foreign if visit.seen.foreign else silent).append(text)
        return Visit(Sighting(foreign=tuple(foreign), silent=tuple(silent)))

    def at_candidates(self, candidates: Iterable[Candidate]) -> Visit:
        """Knock at what mDNS told of: at those with our tag, then at the others, as a tag can be replayed and clocks may differ."""
        found = list(candidates)
        seen = Visit.nothing()
        for ours in (True, False):
            addresses = dict.fromkeys(candidate.address for candidate in found if candidate.ours is ours)
            seen = self.at(list(addresses)[:CANDIDATES_MAX]) if addresses else seen
            if seen.seen.ours:
                break
        return seen

    def at(self, addresses: Sequence[str]) -> Visit:
        """Knock at addresses at once; returns when one has let us in or all have answered or were silent for too long.

        Raises NotAllowed when a lobby opened to our secret and refused us all the same.
        """
        for address in addresses:
            self._transport.knock(address, self._payload)
        waiting, closed = set(addresses), []
        deadline = time.monotonic() + KNOCK_TIMEOUT_S
        while waiting and time.monotonic() < deadline:
            self._transport.poll(max(0.0, deadline - time.monotonic()))
            for event in self._transport.drain(64):
                if not isinstance(event, LobbyReply) or event.address not in waiting:
                    continue
                waiting.discard(event.address)
                if not event.payload:
                    closed.append(event.address)
                    continue
                answer = decode_lobby(event.payload)
                if isinstance(answer, Admitted):
                    return Visit(Sighting(ours=(event.address,)), tuple(answer.members))
                if isinstance(answer, Refused):
                    raise NotAllowed(f"the mesh at {event.address} does not let this machine in: {answer.text}")
        closed += waiting
        foreign = tuple(address for address in closed if dial(address, DIAL_TIMEOUT_S))
        return Visit(Sighting(foreign=foreign, silent=tuple(address for address in closed if address not in foreign)))


def seed_addresses(texts: Sequence[str]) -> list[str]:
    """Where to knock for ``host:port`` texts, names resolved: there, and one port below in case the text named a node's door,
    as `mesh status` shows it. Asks the resolver, so it may take some time.
    """
    seeds = parse_seeds(" ".join(texts), DEFAULT_PORT)
    doors = [Seed(seed.host, seed.port - 1) for seed in seeds if seed.port > 1]
    return list(dict.fromkeys(candidate.address for candidate in resolve_seeds([*seeds, *doors])))


def own_addresses(interface: str | None, advertise: str | None, port: int, present: Sequence[str]) -> list[str]:
    """The addresses of our own door: the one to advertise, else the one bound, else all that this machine has."""
    chosen = advertise or interface
    return [host_port(host, port) for host in ([chosen] if chosen else present)]
